"""Durable event queue. An event is committed here before it is used anywhere else.

One SQLite file in WAL mode. Guarantees:

- `Outbox.commit` is one transaction for events, the app's progress and the source's position, synced to disk
  when it returns. A crash at any moment leaves all of it or nothing. Progress is the app's whole state, or
  the readings since it was last written (`common.edge.processing.journal`), which is far less to write.
- ``seq`` grows by one without holes. Only `Outbox.acked` (the cloud has committed) deletes; a few events are
  deleted with the next commit, because a transaction of their own would cost the disk more than they do.
- The events stay under the disk budget (`common.edge.delivery.disk_budget`). Over it the lowest priority is
  evicted first, its oldest first, and gap rows in the stream stand for them. Alarms are never evicted: when
  they (and gaps) alone fill the budget, `commit` raises `OutboxFull` and has kept nothing.
- An event that cannot travel keeps its place (`common.edge.delivery.event_rows`).
- A damaged file is moved aside as ``<name>.corrupt-<time>`` and its readable events go on in a new one
  (`common.edge.delivery.recovery`). Where a new epoch begins, events whose ack the node did not receive may
  arrive twice. `Outbox.recovery` has the outcome.

One thread commits; another may read, ack and refuse.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.clock import Clock
from common.edge.delivery.disk_budget import DiskBudget
from common.edge.delivery.event_commit import EventCommit
from common.edge.delivery.event_rows import EventEncoder
from common.edge.delivery.event_table import EventTable, Progress
from common.edge.delivery.outbox_file import OutboxFile
from common.edge.delivery.recent_rows import Pending, RecentRows
from common.edge.delivery.recovery import Recoverer, Recovery
from common.errors import OutboxError
from common.messages import Event, TimeQuality


class Outbox:
    """The outbox in the file ``path``.

    ``source`` is ``/<site>/<node>``; events that were kept under another name are renamed when the file is
    opened. ``stream`` names the source of readings; `position` is None when it is another one than before.
    """

    def __init__(self, path: Path, source: str, budget_bytes: int, clock: Clock, *, stream: str = "") -> None:
        self._lock = threading.RLock()
        self._file = OutboxFile(path, source, stream, clock)
        self._table = EventTable(self._file, clock)
        self._budget = DiskBudget(self._table, budget_bytes, clock)
        self._encoder = EventEncoder(source, clock)
        self._recent = RecentRows()
        self._recoverer = Recoverer(self._table, clock)
        self._event_commit = EventCommit(self._table, self._budget, self._recent, self._recoverer)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._recoverer.open()

    # ----------------------------------------------------------------------------------------- any thread

    @property
    def epoch(self) -> str:
        """Identity of this file's stream."""
        return self._file.state.epoch

    @property
    def last_seq(self) -> int:
        """The newest seq; 0 before the first event."""
        return self._file.state.next_seq - 1

    @property
    def acked_seq(self) -> int:
        """The last seq that the cloud is known to have; the file learns it with the next commit."""
        return self._file.state.acked

    @property
    def events(self) -> int:
        """Rows that wait for the cloud; acked ones do not, even while the file still holds them."""
        return sum(self._file.state.rows.values())

    @property
    def size_bytes(self) -> int:
        """Their share of the budget."""
        return self._budget.used_bytes

    @property
    def room_bytes(self) -> int:
        """The rest of the budget, which is to stay free on the disk."""
        return self._budget.room_bytes

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events dropped since the start, by priority."""
        return dict(self._file.state.dropped)

    @property
    def recovery(self) -> Recovery | None:
        """The recovery of a damaged file; None if there was none, or after `recovery_reported`."""
        return self._recoverer.outcome

    def recovery_reported(self) -> None:
        self._recoverer.outcome = None

    def saved_state(self) -> bytes | None:
        """The app's state as of the last commit that had one."""
        return self._file.one("SELECT content FROM app_state")

    def journal(self) -> list[bytes]:
        """The journal rows since then, in order."""
        with self._file.reading() as reader:
            rows = reader.execute("SELECT content FROM journal ORDER BY id").fetchall()
        return [content for (content,) in rows]

    def position(self) -> int | None:
        """The source's position as of the last commit that had one."""
        return self._file.one("SELECT position FROM meta")

    def oldest(self) -> int:
        """The lowest seq that is kept; the next one where nothing is."""
        return self._table.oldest()

    def latest_time_ns(self) -> int:
        """The latest time of a kept event without a mark of doubt; 0 where there is none."""
        return self._table.latest_time_ns()

    # --------------------------------------------------------------------------------- the process thread

    def commit(
        self,
        events: Sequence[Event],
        state: bytes | None = None,
        position: int | None = None,
        *,
        journal: bytes | None = None,
    ) -> int:
        """Keep ``events`` with the app's progress and the source's ``position`` (None leaves them).

        Progress is the app's whole ``state``, or in ``journal`` the readings behind what was kept before.

        Returns the last seq. Raises `OutboxFull` if only alarms are left and there is no room for more, and
        `OutboxError` when the disk refuses; nothing is kept then and the same call may be tried again.
        """
        progress = Progress(state, position, journal)
        while True:
            with self._lock:
                first, epoch = self.last_seq + 1, self.epoch
            rows = self._encoder.rows(events, first, epoch)
            with self._lock:
                # The uplink may have begun another epoch meanwhile, and a damaged file is replaced first.
                if epoch == self.epoch and self._event_commit.write(rows, progress):
                    return self.last_seq

    # ---------------------------------------------------------------------------------- the uplink thread

    def pending(self, after_seq: int, limit: int, max_bytes: int) -> list[Pending]:
        """Rows above ``after_seq`` in order: at most ``limit``, and ``max_bytes`` unless the first is larger.

        Of a gap that reaches across ``after_seq`` the part above it.
        """
        recent = self._recent.rows(after_seq + 1, limit, max_bytes)
        return recent or self._table.pending(after_seq, limit, max_bytes)

    def acked(self, high_water_mark: int, *, wait: bool = True) -> bool:
        """The cloud has committed everything up to ``high_water_mark``: forget it. Raises `OutboxError`.

        Without ``wait`` it does nothing while a commit runs, and returns False. Not synced by itself: after
        a power cut some of it may be sent again, which the cloud recognises.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            if high_water_mark > self._file.state.acked:
                self._recent.forget(high_water_mark)
                self._table.acknowledge(high_water_mark)
        finally:
            self._lock.release()
        return True

    def refused(self, seq: int, reason: str = "refused") -> bool:
        """The cloud cannot take the event ``seq``: it becomes a gap. False if it is one already, or gone.

        Raises `OutboxError`.
        """
        file = self._file
        with self._lock, file.reader_lock, file.transaction(file.reader):
            self._recent.clear()
            return self._table.refuse(seq, reason)

    def begin_epoch(self) -> None:
        """Go on in a new epoch with all that is kept, numbered from 1.

        For when the cloud knows more of this epoch than the node does: the node was put back to an earlier
        day, and its new events would be taken for old ones. What the cloud has as this node has it is acked
        before, so it does not arrive twice.
        """
        file = self._file
        with self._lock, file.reader_lock, file.transaction(file.writer):
            self._recent.clear()
            shift = self.oldest() - 1
            self._table.delete_acked(file.writer)
            file.state.epoch = file.new_epoch()
            self._table.restamp(shift)
            file.state.next_seq -= shift
            file.state.acked = file.state.deleted = 0
            file.writer.execute("UPDATE meta SET acked = 0")

    def correct_times(
        self,
        quality: TimeQuality,
        *,
        shift_ns: int = 0,
        first_seq: int = 1,
        between_ns: tuple[int, int] = (0, 0),
    ) -> int:
        """Correct the times of what is kept from ``first_seq`` on, now that more is known of the clock.

        Affected are times marked as unsynchronised, and, where the clock was wrong without anyone knowing,
        those ``between_ns``. They move by ``shift_ns``, as do the times in the data, and are
        marked with ``quality``. Returns how many.
        """
        file = self._file
        with self._lock, file.reader_lock, file.transaction(file.writer):
            self._recent.clear()
            return self._table.correct_times(quality, shift_ns, first_seq, between_ns)

    def close(self) -> None:
        """Close the file; the WAL is folded into it."""
        file = self._file
        with self._lock, file.reader_lock:
            if file.is_open and file.state.deleted < file.state.acked:
                with suppress(OutboxError), file.transaction(file.reader):
                    self._table.delete_acked(file.reader)
            file.close()

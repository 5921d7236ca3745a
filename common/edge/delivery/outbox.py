"""The durable queue of events on the node: committed here before anything else happens with them.

One SQLite file in WAL mode. What it promises:

- `Outbox.commit` is one transaction for events, the app's progress and the source's position, synced to disk
  when it returns. A crash at any moment leaves all of it or nothing. Progress is the app's whole state, or
  the readings since it was last written (`common.edge.processing.journal`), which is far less to write.
- ``seq`` grows by one without holes. Only `Outbox.acked` (the cloud has committed) deletes; a few events are
  deleted with the next commit, because a transaction of their own would cost the disk more than they do.
- The events stay under the disk budget. Over it the lowest priority goes first, its oldest first, and what
  went stands in the stream as gap rows; neighbouring gaps merge. Alarms are never given up: when they
  (and gaps) alone fill the budget, `commit` raises `OutboxFull` and has kept nothing.
- An event that cannot travel (too large, not JSON) keeps its place, type, subject and priority; its data
  then says what was left out and why.
- A damaged file is moved aside as ``<name>.corrupt-<time>``. Every event that can still be read of it
  (`common.edge.delivery.salvage`) goes on in a new file, and a gap stands for what is lost. The epoch stays
  if it is certain which seqs were given; else a new one begins, and what the cloud had taken without the node
  having heard of it may arrive twice. ``Outbox.replaced`` and ``Outbox.salvaged`` say so.

One thread commits; another may read, ack and refuse.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common import durable
from common.clock import Clock, is_plausible
from common.edge.delivery.gaps import GAP, GapRow, Run, cut, encode_gap, merge
from common.edge.delivery.salvage import Row, Salvaged, is_orphaned, log_is_damaged, salvage
from common.errors import MessageError, OutboxError, OutboxFull
from common.messages import (
    AHEAD_LIMIT_NS,
    LARGEST_NUMBER,
    Event,
    Priority,
    TimeQuality,
    decode_event,
    encode_event,
    format_time,
    moved_stamps,
    parse_time,
)

log = logging.getLogger(__name__)

ROW_COST_BYTES = 32
"""What a row takes on disk beside its body."""
SLACK_SHARE = 0.05
"""Share of the budget that is freed at once, so that eviction is rare."""
LEAST_BUDGET_BYTES = 4096
RECENT_BYTES = 4 * 1024 * 1024
"""Most bytes of events that are kept in memory too."""
WARNING_EVERY_NS = 60_000_000_000
FORGET_AT_ONCE_ROWS = 256
"""Acked rows from which they are deleted at once; fewer go with the next commit."""
PAGE_BYTES = 2048
"""Of a new file. A commit writes whole pages, and a node at rest has little to write each time."""
WAL_BYTES = 4 * 1024 * 1024
"""Size of the log at which it is folded into the file."""
_DAY_NS = 86_400_000_000_000
VERSION = 2
_SCHEMA = """
CREATE TABLE events(
    seq INTEGER PRIMARY KEY, last INTEGER NOT NULL, priority INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL,
    next_seq INTEGER NOT NULL, position INTEGER, acked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE app_state(
    id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB, journal INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE journal(id INTEGER PRIMARY KEY, content BLOB NOT NULL);
INSERT INTO app_state VALUES (1, NULL, 0);
PRAGMA user_version = 2;
"""
_FROM_1 = """
ALTER TABLE meta ADD COLUMN acked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_state ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;
CREATE TABLE journal(id INTEGER PRIMARY KEY, content BLOB NOT NULL);
PRAGMA user_version = 2;
"""


_WIDTH = 4
_STEP = 50 * _WIDTH
"""Values in one INSERT: enough rows to spread the cost of a statement."""


@lru_cache(maxsize=64)
def _insert(rows: int) -> str:
    return f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?)'] * rows)}"  # noqa: S608  no input


class Pending(NamedTuple):
    """A row to send: an event (``seq == last_seq``) or a gap from ``seq`` to ``last_seq``."""

    seq: int
    last_seq: int
    body: bytes


class _Rows:
    """Rows to keep, one behind another in ``values``; their bodies; count and size by priority."""

    def __init__(self) -> None:
        self.values: list[int | bytes] = []
        self.bodies: list[bytes] = []
        self.count = [0] * len(Priority)
        self.bytes = [0] * len(Priority)


class Rescue(NamedTuple):
    """What became of a damaged file: events that were saved, and how many are known to be lost."""

    kept: int
    lost: int
    certain: bool
    """Whether it is known which events there were; if not, a new epoch began and more may be lost."""
    state_whole: bool
    """Whether the app's progress was saved too."""


class _Progress(NamedTuple):
    """What a commit keeps beside events; None leaves what was kept before."""

    state: bytes | None
    position: int | None
    journal: bytes | None


class _Recent(NamedTuple):
    """What one commit has kept, as it lies in the file: the events from ``first`` on."""

    first: int
    bodies: list[bytes]
    size: int


class Outbox:
    """The outbox in the file ``path``.

    ``source`` is ``/<site>/<node>``; events that were kept under another name are renamed when the file is
    opened. ``stream`` names the source of readings; `position` is None when it is another one than before.
    """

    def __init__(self, path: Path, source: str, budget_bytes: int, clock: Clock, *, stream: str = "") -> None:
        self._path = path
        self._source = source
        self._stream = stream
        self._budget_bytes = max(budget_bytes, LEAST_BUDGET_BYTES)
        self._clock = clock
        self._lock = threading.RLock()
        self._reader_lock = threading.RLock()
        self._connections: list[sqlite3.Connection] = []
        self._count: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self._recent: tuple[_Recent, ...] = ()
        self._epoch = ""
        self._next = 1
        self._acked = 0
        """All up to this seq is the cloud's; what of it is above ``_deleted`` still lies in the file."""
        self._deleted = 0
        self._journal_id = 0
        self._next_warning_ns = 0
        self.replaced = ""
        """Where a damaged file was moved to; empty if none was."""
        self.salvaged: Rescue | None = None
        """What was saved of it."""
        self._damage: sqlite3.Error | None = None
        self.dropped: dict[str, int] = {}
        """Events given up since the start, by priority."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    # ----------------------------------------------------------------------------------------- facts

    @property
    def epoch(self) -> str:
        """Identity of this file's stream."""
        return self._epoch

    @property
    def last_seq(self) -> int:
        """The newest seq; 0 before the first event."""
        return self._next - 1

    @property
    def acked_seq(self) -> int:
        """The last seq that the cloud is known to have; the file learns it with the next commit."""
        return self._acked

    @property
    def events(self) -> int:
        """Rows that wait for the cloud; acked ones do not, even while the file still holds them."""
        return sum(self._count.values())

    @property
    def bytes(self) -> int:
        """What they take of the budget."""
        return sum(self._bytes.values())

    @property
    def room_bytes(self) -> int:
        """How much of the budget is left, and is to stay free on the disk."""
        return max(0, self._budget_bytes - self.bytes)

    def saved_state(self) -> bytes | None:
        """The app's state as of the last commit that had one."""
        return self._one("SELECT content FROM app_state")

    def journal(self) -> list[bytes]:
        """What was kept of the readings since then, in order."""
        with self._reading():
            rows = self._reader.execute("SELECT content FROM journal ORDER BY id").fetchall()
        return [content for (content,) in rows]

    def position(self) -> int | None:
        """The source's position as of the last commit that had one."""
        return self._one("SELECT position FROM meta")

    def oldest(self) -> int:
        """The lowest seq that is kept; the next one where nothing is."""
        seq = self._one("SELECT min(seq) FROM events WHERE seq > ?", self._acked)
        return seq if seq is not None else self._next

    # ------------------------------------------------------------------------------ the process thread

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
        while True:
            with self._lock:
                first, epoch = self._next, self._epoch
            rows = self._rows(events, first, epoch)
            with self._lock:
                if epoch == self._epoch:  # If not, the uplink has begun another one meanwhile.
                    return self._commit(events, rows, _Progress(state, position, journal))

    def _commit(self, events: Sequence[Event], rows: _Rows, progress: _Progress) -> int:
        if self._damage is not None:
            self._replace(self._damage)
            return self.commit(events, progress.state, progress.position, journal=progress.journal)
        self._check_room(rows)
        recent = self._recent
        try:
            with self._changing(self._writer):
                self._keep(rows, progress)
        except OutboxError as error:
            if _is_damage(error.__cause__):
                self._replace(error)
                return self.commit(events, progress.state, progress.position, journal=progress.journal)
            if not self._was_committed(self._next + len(events)):
                raise
            self._load()
            self._recent = ()
        if self._recent is recent:  # If not, something of it is no longer as it was.
            self._remember(_Recent(self._next, rows.bodies, sum(rows.bytes)))
        self._next += len(events)
        return self._next - 1

    def _remember(self, new: _Recent) -> None:
        """Keep the newest commits in memory too, so that what is sent at once need not be read again."""
        if new.size > RECENT_BYTES:
            self._recent = ()
            return
        kept, size = [new], new.size
        for old in reversed(self._recent):
            size += old.size
            if size > RECENT_BYTES:
                break
            kept.insert(0, old)
        self._recent = tuple(kept)

    # ------------------------------------------------------------------------------- the uplink thread

    def pending(self, after_seq: int, limit: int, max_bytes: int) -> list[Pending]:
        """Rows above ``after_seq`` in order: at most ``limit``, and ``max_bytes`` unless the first is larger.

        A gap that reaches across ``after_seq`` is given from there on.
        """
        if rows := self._recent_rows(after_seq + 1, limit, max_bytes):
            return rows
        size = 0
        after_seq = max(after_seq, self._acked)
        start = after_seq + 1
        if self._count[GAP]:
            across = self._one("SELECT max(seq) FROM events WHERE seq <= ?", after_seq)
            start = across if across is not None else start
        with self._reading(), closing(self._reader.cursor()) as cursor:
            cursor.execute(
                "SELECT seq, last, priority, body FROM events WHERE seq >= ? ORDER BY seq LIMIT ?",
                (start, limit + 1),
            )
            for seq, last, priority, body in cursor:
                if last <= after_seq:
                    continue
                if priority == GAP:
                    gap = cut(GapRow.of(seq, last, body), after_seq)
                    seq, body = gap.seq, encode_gap(gap, source=self._source, epoch=self._epoch)
                size += len(body)
                if rows and size > max_bytes:
                    break
                rows.append(Pending(seq, last, body))
                if len(rows) >= limit:
                    break
        return rows

    def _recent_rows(self, seq: int, limit: int, max_bytes: int) -> list[Pending]:
        """The same rows from memory, where ``seq`` is there."""
        bodies: list[bytes] = []
        after = seq
        for commit in self._recent:
            if commit.first <= after < commit.first + len(commit.bodies):
                start = after - commit.first
                some = commit.bodies[start : start + limit - len(bodies)]
                bodies += some
                after += len(some)
        while len(bodies) > 1 and sum(map(len, bodies)) > max_bytes:
            bodies = bodies[: len(bodies) // 2]
        return [Pending(place, place, body) for place, body in enumerate(bodies, seq)]

    def acked(self, high_water_mark: int, *, wait: bool = True) -> bool:
        """The cloud has committed everything up to ``high_water_mark``: forget it. Raises `OutboxError`.

        Without ``wait`` it does nothing while a commit runs, and returns False. Not synced by itself: after
        a power cut some of it may be sent again, which the cloud recognises.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            self._forget(high_water_mark)
        finally:
            self._lock.release()
        return True

    def _forget(self, high_water_mark: int) -> None:
        if high_water_mark <= self._acked:
            return
        self._recent = tuple(
            _Recent(max(commit.first, high_water_mark + 1), commit.bodies[passed:], commit.size)
            for commit in self._recent
            if (passed := max(0, high_water_mark + 1 - commit.first)) < len(commit.bodies)
        )
        with self._reader_lock:
            if self._count[GAP] or high_water_mark - self._deleted >= FORGET_AT_ONCE_ROWS:
                with self._changing(self._reader):
                    self._disown(high_water_mark)
                    self._delete_acked(self._reader)
            else:
                with self._reading():
                    self._disown(high_water_mark)

    def _disown(self, high_water_mark: int) -> None:
        """Count what is acked as gone."""
        for priority, count, size in self._reader.execute(
            "SELECT priority, count(*), sum(length(body)) FROM events WHERE seq > ? AND last <= ? "
            "GROUP BY priority",
            (self._acked, high_water_mark),
        ).fetchall():
            self._account(priority, -count, -size)
        self._acked = high_water_mark

    def _delete_acked(self, connection: sqlite3.Connection) -> None:
        """Delete what is acked and still in the file. The mark stays with it, for a file that is damaged."""
        if self._deleted >= self._acked:
            return
        mark = self._acked
        connection.execute("DELETE FROM events WHERE seq <= ? AND last <= ?", (mark, mark))
        across = connection.execute("SELECT seq, last, body FROM events WHERE seq <= ?", (mark,)).fetchone()
        if across is not None:
            old = GapRow.of(*across)
            self._put_gap(connection, cut(old, mark), [old])
        connection.execute("UPDATE meta SET acked = ?", (mark,))
        self._deleted = mark

    def refused(self, seq: int, reason: str = "refused") -> bool:
        """The cloud cannot take the event ``seq``: it becomes a gap. False if it is one already, or gone.

        Raises `OutboxError`.
        """
        with self._lock, self._reader_lock, self._changing(self._reader):
            row = self._reader.execute(
                "SELECT priority, length(body) FROM events WHERE seq = ? AND priority != ?", (seq, GAP)
            ).fetchone()
            if row is None or seq <= self._acked:
                return False
            self._delete_acked(self._reader)
            name = Priority(row[0]).name.lower()
            self._recent = ()
            self._reader.execute("DELETE FROM events WHERE seq = ?", (seq,))
            self._account(row[0], -1, -row[1])
            self._put_gap(self._reader, GapRow(seq, seq, reason, {name: 1}, self._clock()), [])
            self._drop(name, 1)
            return True

    def begin_epoch(self) -> None:
        """Go on in a new epoch with all that is kept, numbered from 1.

        For when the cloud knows more of this epoch than the node does: the node was put back to an earlier
        day, and its new events would be taken for old ones. What the cloud has as this node has it is acked
        before, so it does not arrive twice.
        """
        with self._lock, self._reader_lock, self._changing(self._writer):
            self._recent = ()
            shift = self.oldest() - 1
            self._delete_acked(self._writer)
            self._epoch = self._new_epoch()
            self._restamp(shift)
            self._next -= shift
            self._acked = self._deleted = 0
            self._writer.execute("UPDATE meta SET acked = 0")

    def close(self) -> None:
        """Close the file; the WAL is folded into it."""
        with self._lock, self._reader_lock:
            if self._connections and self._deleted < self._acked:
                with suppress(OutboxError), self._changing(self._reader):
                    self._delete_acked(self._reader)
            self._disconnect()

    # ---------------------------------------------------------------------------------------- keeping

    def _rows(self, events: Sequence[Event], first: int, epoch: str) -> _Rows:
        rows = _Rows()
        extend, append, source = rows.values.extend, rows.bodies.append, self._source
        unset = not is_plausible(self._clock)
        latest_ns = LARGEST_NUMBER if unset else self._clock() + AHEAD_LIMIT_NS
        for seq, event in enumerate(events, first):
            quality = TimeQuality.PLAUSIBLE
            if unset or event.recorded or event.time_ns > latest_ns:
                quality = self._quality(event, unset)
            try:
                body = encode_event(event, source=source, epoch=epoch, seq=seq, quality=quality)
            except (MessageError, ValueError, TypeError, OverflowError, OSError) as error:
                body = self._encode_bare(event, seq, epoch, error)
            priority = int(event.priority)
            extend((seq, seq, priority, body))
            append(body)
            rows.count[priority] += 1
            rows.bytes[priority] += len(body)
        return rows

    def _quality(self, event: Event, unset: bool) -> TimeQuality:
        """What speaks against the event's time, which is doubtful or by no clock of this node.

        A time ahead of a clock that is right is by another one, whose error nobody knows.
        """
        if event.recorded:
            return TimeQuality.RECORDED
        if not unset:
            return TimeQuality.UNKNOWN
        by_clock = 0 <= self._clock() - event.time_ns + WARNING_EVERY_NS < _DAY_NS
        return TimeQuality.UNSYNCHRONISED if by_clock else TimeQuality.PLAUSIBLE

    def correct_times(
        self,
        quality: TimeQuality,
        *,
        shift_ns: int = 0,
        first_seq: int = 1,
        between: tuple[int, int] = (0, 0),
    ) -> int:
        """Mend the times of what is kept from ``first_seq`` on, now that more is known of the clock.

        Meant are those marked as unsynchronised, and, where the clock was wrong without anyone knowing, those
        ``between`` two times. They move by ``shift_ns``, as do the times in the data, and are
        marked with ``quality``. Returns how many.
        """
        changed = 0
        with self._lock, self._reader_lock, self._changing(self._writer):
            self._recent = ()
            after = max(first_seq - 1, self._acked)
            while rows := self._writer.execute(
                "SELECT seq, priority, body FROM events WHERE seq > ? AND priority >= 0 "
                "ORDER BY seq LIMIT 1000",
                (after,),
            ).fetchall():
                after = rows[-1][0]
                for seq, priority, old in rows:
                    body = _corrected(old, quality, shift_ns, between)
                    if body != old:
                        changed += 1
                        self._account(priority, 0, len(body) - len(old))
                        self._writer.execute("UPDATE events SET body = ? WHERE seq = ?", (body, seq))
        return changed

    def latest_time_ns(self) -> int:
        """The latest time of an event that is kept and that nothing speaks against; 0 where there is none."""
        latest_ns = 0
        with self._reading():
            for (body,) in self._reader.execute("SELECT body FROM events WHERE priority >= 0"):
                with suppress(MessageError):
                    event = decode_event(body)
                    if not event.timequality:
                        latest_ns = max(latest_ns, parse_time(event.time))
        return latest_ns

    def _encode_bare(self, event: Event, seq: int, epoch: str, error: Exception) -> bytes:
        """The event without its data, and why."""
        log.error("the data of an event cannot be kept: %s", error)
        bare = Event(
            event.type.encode("utf-8", "replace").decode()[:200],
            event.subject.encode("utf-8", "replace").decode()[:200],
            event.time_ns if 0 <= event.time_ns < 2**63 else self._clock(),
            event.priority,
            {"omitted": str(error)[:500].encode("utf-8", "replace").decode()},
        )
        return encode_event(bare, source=self._source, epoch=epoch, seq=seq)

    def _check_room(self, rows: _Rows) -> None:
        count = rows.count[Priority.ALARM]
        alarms = rows.bytes[Priority.ALARM] + count * ROW_COST_BYTES
        fixed = self._bytes[Priority.ALARM] + self._bytes[GAP]
        if count and fixed + alarms > self._budget_bytes:
            raise OutboxFull(
                f"the outbox {self._path} holds {self._count[Priority.ALARM]} alarms that the cloud has not "
                f"taken, which fills its budget of {self._budget_bytes} bytes: bring the uplink back, "
                "or raise outbox.budget_bytes"
            )

    def _keep(self, rows: _Rows, progress: _Progress) -> None:
        values = rows.values
        self._delete_acked(self._writer)
        for start in range(0, len(values), _STEP):
            some = values[start : start + _STEP]
            self._writer.execute(_insert(len(some) // _WIDTH), some)
        self._writer.execute(
            "UPDATE meta SET next_seq = ?, position = coalesce(?, position)",
            (self._next + len(values) // _WIDTH, progress.position),
        )
        if progress.state is not None:
            self._writer.execute(
                "UPDATE app_state SET content = ?, journal = ?", (progress.state, self._journal_id)
            )
            self._writer.execute("DELETE FROM journal")
        elif progress.journal is not None:
            self._journal_id += 1
            self._writer.execute("INSERT INTO journal VALUES (?, ?)", (self._journal_id, progress.journal))
        for priority, count in enumerate(rows.count):
            self._account(priority, count, rows.bytes[priority])
        if self.bytes > self._budget_bytes:
            self._evict(self.bytes - self._budget_bytes + int(SLACK_SHARE * self._budget_bytes))

    def _was_committed(self, expected_next: int) -> bool:
        """Whether the transaction that seemed to fail is there; an error while syncing may hide that."""
        with suppress(sqlite3.Error):
            found = self._writer.execute("SELECT next_seq FROM meta").fetchone()[0]
            return found == expected_next != self._next
        return False

    def _evict(self, wanted_bytes: int) -> None:
        """Turn the oldest rows of the lowest priorities into gaps, until ``wanted_bytes`` are free."""
        for priority in (Priority.SAMPLE, Priority.TELEMETRY, Priority.EVENT):
            if wanted_bytes <= 0:
                return
            if self._count[priority]:
                wanted_bytes -= self._evict_of(priority, wanted_bytes)

    def _evict_of(self, priority: Priority, wanted_bytes: int) -> int:
        victims: list[int] = []
        freed = size = 0
        with closing(self._writer.cursor()) as cursor:
            cursor.execute(
                "SELECT seq, length(body) FROM events WHERE priority = ? AND seq > ? ORDER BY seq",
                (int(priority), self._acked),
            )
            for seq, length in cursor:
                victims.append(seq)
                size += length
                freed += length + ROW_COST_BYTES
                if freed >= wanted_bytes:
                    break
        before = self.bytes
        self._recent = ()
        name = priority.name.lower()
        neighbours = self._gaps_around(victims[0], victims[-1])
        self._writer.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in victims])
        self._account(priority, -len(victims), -size)
        runs = [Run(seq, seq, {name: 1}) for seq in victims]
        for gap, replaced in merge(runs, neighbours, reason="budget", time_ns=self._clock()):
            self._put_gap(self._writer, gap, replaced)
        self._drop(name, len(victims))
        if self._clock() >= self._next_warning_ns:
            self._next_warning_ns = self._clock() + WARNING_EVERY_NS
            log.warning("the outbox is over its budget; given up since the start: %s", self.dropped)
        return before - self.bytes

    def _gaps_around(self, first: int, last: int) -> list[GapRow]:
        """The gap rows from just before ``first`` to just after ``last``."""
        rows = self._writer.execute(
            "SELECT seq, last, body FROM events WHERE priority = ? AND seq <= ? AND seq >= coalesce("
            "(SELECT max(seq) FROM events WHERE seq < ?), ?) ORDER BY seq",
            (GAP, last + 1, first, first),
        ).fetchall()
        return [GapRow.of(*row) for row in rows]

    def _put_gap(self, connection: sqlite3.Connection, gap: GapRow, replaced: Sequence[GapRow]) -> None:
        connection.executemany("DELETE FROM events WHERE seq = ?", [(old.seq,) for old in replaced])
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (gap.seq, gap.last, GAP, gap.body()))
        for old in replaced:
            self._account(GAP, -1, -len(old.body()))
        self._account(GAP, 1, len(gap.body()))

    def _account(self, priority: int, count: int, size: int) -> None:
        self._count[priority] += count
        self._bytes[priority] += size + count * ROW_COST_BYTES

    def _drop(self, name: str, count: int) -> None:
        self.dropped[name] = self.dropped.get(name, 0) + count

    # ---------------------------------------------------------------------------------------- the file

    def _open(self) -> None:
        try:
            if is_orphaned(self._path):
                raise sqlite3.DatabaseError("it is empty")
            if log_is_damaged(self._path):
                raise sqlite3.DatabaseError("its log is damaged")
            self._connect()
            self._adopt()
        except (sqlite3.Error, OutboxError) as error:
            cause = error.__cause__ if isinstance(error, OutboxError) else error
            if _is_damage(cause):
                self._replace(error)
                return
            self._disconnect()
            if isinstance(error, OutboxError):
                raise
            raise OutboxError(f"the outbox {self._path} cannot be opened: {error}") from error

    def _replace(self, error: Exception) -> None:
        """Set a damaged file aside and go on in a new one with all that can be read of it.

        The epoch stays where it is certain which seqs were given; else a new one begins, because the cloud
        would take new events for old ones.
        """
        with self._reader_lock:
            self._recent, self._damage = (), None
            running = bool(self._connections)
            self._disconnect()  # First: reading the files would take the locks of an open connection away.
            saved = salvage(self._path)
            if running:
                saved.know(self._epoch, self._next, self._acked)
            self.replaced = str(self._set_aside(error))
            self._connect()
            with self._changing(self._writer):
                self._refill(saved)
            self._adopt()

    def _refill(self, saved: Salvaged) -> None:
        """Take over what was saved; what is missing between is a gap."""
        execute, meta = self._writer.execute, saved.meta
        lost = saved.lost()
        rows = [*saved.rows]
        for first, last in lost:
            counts = {"unknown": last - first + 1}
            rows.append(Row(first, last, GAP, GapRow(first, last, "damaged", counts, self._clock()).body()))
        for row in rows:
            execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
            self._account(row.priority, 1, len(row.body))
        execute("UPDATE app_state SET content = ?", (saved.state,))
        for self._journal_id, content in enumerate(saved.journal, 1):
            execute("INSERT INTO journal VALUES (?, ?)", (self._journal_id, content))
        self._next = saved.next_seq
        execute("UPDATE meta SET next_seq = ?", (self._next,))
        if meta is not None:
            execute("UPDATE meta SET position = ?, stream = ?", (meta.position, meta.stream))
        if meta is not None and saved.certain:
            self._epoch, self._acked = meta.epoch, meta.acked
            execute("UPDATE meta SET epoch = ?, source = ?, acked = ?", (meta.epoch, meta.source, meta.acked))
            self._deleted = self._acked
        elif shift := saved.first_seq - 1:
            self._restamp(shift)
            self._next -= shift
        else:
            self._restamp(0)
        self.salvaged = Rescue(
            kept=sum(row.priority != GAP for row in saved.rows),
            lost=sum(last - first + 1 for first, last in lost),
            certain=saved.certain,
            state_whole=saved.state is not None and saved.journal_whole,
        )
        self._drop("unknown", self.salvaged.lost)

    def _connect(self) -> None:
        try:
            self._writer = self._opened(self._path, "FULL")
            (version,) = self._writer.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._execute("BEGIN IMMEDIATE", _SCHEMA)
                self._create()
            elif version == 1:
                self._execute("BEGIN IMMEDIATE", _FROM_1, "COMMIT")
            elif version > VERSION:
                raise OutboxError(
                    f"the outbox {self._path} has format {version}, of a newer edgeloop: update edgeloop"
                )
            self._load()
            self._reader = self._opened(self._path, "NORMAL")
        except BaseException:
            self._disconnect()
            raise

    def _opened(self, path: Path, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._connections.append(connection)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_bytes}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {2 * WAL_BYTES}")
        connection.execute("PRAGMA cache_size = -2048")
        return connection

    def _disconnect(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _execute(self, *scripts: str) -> None:
        for statement in ";\n".join(scripts).split(";\n"):
            if statement.strip():
                self._writer.execute(statement)

    def _create(self) -> None:
        self._writer.execute(
            "INSERT INTO meta VALUES (1, ?, ?, ?, 1, NULL, 0)",
            (self._new_epoch(), self._source, self._stream),
        )
        self._writer.execute("COMMIT")
        durable.sync_folder(self._path.parent)

    def _new_epoch(self) -> str:
        started = time.strftime("%Y%m%d%H%M%S", time.gmtime(self._clock() / 1e9))
        return f"{started}-{os.urandom(4).hex()}"

    def _load(self) -> None:
        """Read the counters; every page is looked at, so that damage shows now."""
        problem = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        meta = self._writer.execute(
            "SELECT epoch, next_seq, acked, journal, (SELECT max(id) FROM journal) FROM meta, app_state"
        ).fetchone()
        if meta is None:
            raise sqlite3.DatabaseError("its first page lacks a row")
        self._epoch, self._next, self._acked, *journal = meta
        self._deleted, self._journal_id = self._acked, max(number or 0 for number in journal)
        self._count = dict.fromkeys((GAP, *map(int, Priority)), 0)
        self._bytes = dict.fromkeys((GAP, *map(int, Priority)), 0)
        for priority, count, size in self._writer.execute(
            "SELECT priority, count(*), sum(length(body)) FROM events GROUP BY priority"
        ).fetchall():
            self._account(priority, count, size)

    def _adopt(self) -> None:
        """Take this start's names into the file."""
        with self._changing(self._writer):
            source, stream = self._writer.execute("SELECT source, stream FROM meta").fetchone()
            if source != self._source:
                self._restamp(0)
            if stream != self._stream:
                self._writer.execute("UPDATE meta SET stream = ?, position = NULL", (self._stream,))

    def _restamp(self, shift: int) -> None:
        """Give all that is kept this node's name, this epoch, and seqs that are lower by ``shift``.

        Events may have been kept under another name, such as before the enrolment.
        """
        after = 0
        while rows := self._writer.execute(
            "SELECT seq, last, priority, body FROM events WHERE seq > ? ORDER BY seq LIMIT 1000", (after,)
        ).fetchall():
            after = rows[-1][0]
            for seq, last, kept_as, old in rows:
                priority, body = kept_as, old
                if priority != GAP:
                    priority, body = self._stamped(kept_as, old, seq - shift)
                self._account(kept_as, -1, -len(old))
                self._account(priority, 1, len(body))
                self._writer.execute(
                    "UPDATE events SET seq = ?, last = ?, priority = ?, body = ? WHERE seq = ?",
                    (seq - shift, last - shift, priority, body, seq),
                )
        self._writer.execute(
            "UPDATE meta SET source = ?, epoch = ?, next_seq = next_seq - ?",
            (self._source, self._epoch, shift),
        )

    def _stamped(self, priority: int, body: bytes, seq: int) -> tuple[int, bytes]:
        """The event under its new place; a gap where its body is damaged."""
        try:
            event = decode_event(body)
        except MessageError as error:
            log.error("an event of the outbox is damaged: %s", error)
            name = Priority(priority).name.lower()
            self._drop(name, 1)
            return GAP, GapRow(seq, seq, "damaged", {name: 1}, self._clock()).body()
        changes = {"source": self._source, "epoch": self._epoch, "seq": seq, "id": f"{self._epoch}-{seq}"}
        return priority, msgspec.json.encode(msgspec.structs.replace(event, **changes))

    def _set_aside(self, error: Exception) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock() / 1e9))
        aside = self._path.with_name(f"{self._path.name}.corrupt-{stamp}-{os.urandom(2).hex()}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{self._path}{suffix}", f"{aside}{suffix}")
        durable.sync_folder(self._path.parent)
        log.error("the outbox %s is damaged (%s): moved to %s", self._path, error, aside)
        return aside

    def _one(self, query: str, *parameters: int) -> Any:
        with self._reading():
            return self._reader.execute(query, parameters).fetchone()[0]

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            with self._reader_lock:
                yield
        except sqlite3.Error as error:
            self._note_damage(error)
            raise OutboxError(f"the outbox {self._path} cannot be read: {error}") from error

    def _note_damage(self, error: BaseException) -> None:
        """Have the next commit replace a file whose damage shows elsewhere."""
        if isinstance(error, sqlite3.Error) and _is_damage(error):
            self._damage = error

    def _counters(self) -> tuple[str, dict[int, int], dict[int, int], dict[str, int], int, int, int]:
        return (
            self._epoch, dict(self._count), dict(self._bytes), dict(self.dropped),
            self._acked, self._deleted, self._journal_id,
        )  # fmt: skip

    @contextmanager
    def _changing(self, connection: sqlite3.Connection) -> Generator[None]:
        """One transaction; if it fails, the counters are as before and `OutboxError` tells why."""
        before = self._counters()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                (
                    self._epoch, self._count, self._bytes, self.dropped,
                    self._acked, self._deleted, self._journal_id,
                ) = before  # fmt: skip
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            self._note_damage(error)
            raise OutboxError(
                f"the outbox {self._path} cannot be written ({error}): check the disk's space and health"
            ) from error


def _corrected(body: bytes, quality: TimeQuality, shift_ns: int, between: tuple[int, int]) -> bytes:
    try:
        event = decode_event(body)
        time_ns = parse_time(event.time)
    except MessageError:
        return body  # Damaged: for the cloud to refuse.
    marked = event.timequality == TimeQuality.UNSYNCHRONISED
    if not marked and (event.timequality or not between[0] <= time_ns < between[1]):
        return body
    moved = format_time(min(max(time_ns + shift_ns, 0), LARGEST_NUMBER))
    data = msgspec.Raw(moved_stamps(bytes(event.data), shift_ns))
    return msgspec.json.encode(
        msgspec.structs.replace(event, time=moved, timequality=str(quality), data=data)
    )


def _is_damage(error: BaseException | None) -> bool:
    """Whether the file is to blame, not the disk, its space, or another process."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if "unsupported file format" in str(error):  # SQLite has no code of its own for a damaged format number
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

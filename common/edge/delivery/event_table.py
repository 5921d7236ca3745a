"""The rows of an outbox: inserting, reading, acknowledging, refusing and rewriting them.

Every method keeps `OutboxFile.state` in step with the file. Those that write expect the caller to hold the
outbox's lock and, where they take none themselves, a transaction on the writer.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

from common.clock import Clock
from common.edge.delivery.event_rows import Rows, restamped, trusted_time_ns, with_corrected_times
from common.edge.delivery.gaps import GAP, GapRow, cut, encode_gap
from common.edge.delivery.outbox_file import OutboxFile, StreamState
from common.edge.delivery.recent_rows import Pending
from common.errors import MessageError
from common.messages import Priority, TimeQuality

log = logging.getLogger(__name__)

DELETE_AT_ONCE_ROWS = 256
"""Acked rows from which they are deleted at once; fewer are deleted with the next commit."""
_WIDTH = 4
_STEP = 50 * _WIDTH
"""Values in one INSERT: enough rows to spread the cost of a statement."""


class Progress(NamedTuple):
    """The app's progress in a commit; None leaves what was kept before."""

    state: bytes | None
    position: int | None
    journal: bytes | None


@lru_cache(maxsize=64)
def _insert(rows: int) -> str:
    return f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?)'] * rows)}"  # noqa: S608  no input


class EventTable:
    """The rows of ``file``."""

    def __init__(self, file: OutboxFile, clock: Clock) -> None:
        self.file = file
        self._clock = clock

    @property
    def _state(self) -> StreamState:
        return self.file.state

    def oldest(self) -> int:
        """The lowest seq that is kept; the next one where nothing is."""
        seq = self.file.one("SELECT min(seq) FROM events WHERE seq > ?", self._state.acked)
        return seq if seq is not None else self._state.next_seq

    def pending(self, after_seq: int, limit: int, max_bytes: int) -> list[Pending]:
        """Rows above ``after_seq`` in order, from the file (`Outbox.pending`)."""
        rows: list[Pending] = []
        size = 0
        after_seq = max(after_seq, self._state.acked)
        start = after_seq + 1
        if self._state.rows[GAP]:
            across = self.file.one("SELECT max(seq) FROM events WHERE seq <= ?", after_seq)
            start = across if across is not None else start
        with self.file.reading() as reader, closing(reader.cursor()) as cursor:
            cursor.execute(
                "SELECT seq, last, priority, body FROM events WHERE seq >= ? ORDER BY seq LIMIT ?",
                (start, limit + 1),
            )
            for seq, last, priority, body in cursor:
                if last <= after_seq:
                    continue
                if priority == GAP:
                    gap = cut(GapRow.of(seq, last, body), after_seq)
                    seq, body = gap.seq, encode_gap(gap, source=self.file.source, epoch=self._state.epoch)
                size += len(body)
                if rows and size > max_bytes:
                    break
                rows.append(Pending(seq, last, body))
                if len(rows) >= limit:
                    break
        return rows

    def latest_time_ns(self) -> int:
        """The latest time of an event without a mark of doubt; 0 where there is none."""
        with self.file.reading() as reader:
            bodies = reader.execute("SELECT body FROM events WHERE priority >= 0")
            return max((trusted_time_ns(body) for (body,) in bodies), default=0)

    def insert(self, rows: Rows, progress: Progress) -> None:
        """Add ``rows`` and the app's progress; also deletes what is acked."""
        values, writer, state = rows.values, self.file.writer, self._state
        self.delete_acked(writer)
        for start in range(0, len(values), _STEP):
            some = values[start : start + _STEP]
            writer.execute(_insert(len(some) // _WIDTH), some)
        writer.execute(
            "UPDATE meta SET next_seq = ?, position = coalesce(?, position)",
            (state.next_seq + len(rows.bodies), progress.position),
        )
        if progress.state is not None:
            writer.execute(
                "UPDATE app_state SET content = ?, journal = ?", (progress.state, state.journal_id)
            )
            writer.execute("DELETE FROM journal")
        elif progress.journal is not None:
            state.journal_id += 1
            writer.execute("INSERT INTO journal VALUES (?, ?)", (state.journal_id, progress.journal))
        for priority, count in enumerate(rows.count):
            state.count(priority, count, rows.body_bytes[priority])

    def acknowledge(self, mark: int) -> None:
        """Everything up to ``mark`` is the cloud's. A few rows stay in the file until the next commit."""
        with self.file.reader_lock:
            if self._state.rows[GAP] or mark - self._state.deleted >= DELETE_AT_ONCE_ROWS:
                with self.file.transaction(self.file.reader):
                    self._discount(mark)
                    self.delete_acked(self.file.reader)
            else:
                with self.file.reading():
                    self._discount(mark)

    def _discount(self, mark: int) -> None:
        for priority, count, size in self.file.reader.execute(
            "SELECT priority, count(*), sum(length(body)) FROM events WHERE seq > ? AND last <= ? "
            "GROUP BY priority",
            (self._state.acked, mark),
        ).fetchall():
            self._state.count(priority, -count, -size)
        self._state.acked = mark

    def delete_acked(self, connection: sqlite3.Connection) -> None:
        """Delete acked rows. The mark is stored with it, for the recovery of a damaged file."""
        mark = self._state.acked
        if self._state.deleted >= mark:
            return
        connection.execute("DELETE FROM events WHERE seq <= ? AND last <= ?", (mark, mark))
        across = connection.execute("SELECT seq, last, body FROM events WHERE seq <= ?", (mark,)).fetchone()
        if across is not None:
            old = GapRow.of(*across)
            self.put_gap(connection, cut(old, mark), [old])
        connection.execute("UPDATE meta SET acked = ?", (mark,))
        self._state.deleted = mark

    def refuse(self, seq: int, reason: str) -> bool:
        """Turn the event ``seq`` into a gap, in a transaction of the reader. False if there is none."""
        reader = self.file.reader
        row = reader.execute(
            "SELECT priority, length(body) FROM events WHERE seq = ? AND priority != ?", (seq, GAP)
        ).fetchone()
        if row is None or seq <= self._state.acked:
            return False
        self.delete_acked(reader)
        name = Priority(row[0]).name.lower()
        reader.execute("DELETE FROM events WHERE seq = ?", (seq,))
        self._state.count(row[0], -1, -row[1])
        self.put_gap(reader, GapRow(seq, seq, reason, {name: 1}, self._clock()), [])
        self._state.drop(name, 1)
        return True

    def put_gap(self, connection: sqlite3.Connection, gap: GapRow, replaced: Sequence[GapRow]) -> None:
        """Insert ``gap`` in place of the gaps ``replaced``."""
        connection.executemany("DELETE FROM events WHERE seq = ?", [(old.seq,) for old in replaced])
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (gap.seq, gap.last, GAP, gap.body()))
        for old in replaced:
            self._state.count(GAP, -1, -len(old.body()))
        self._state.count(GAP, 1, len(gap.body()))

    def adopt_names(self) -> None:
        """Write the names of this start (node and source of readings) into the file, in a transaction."""
        file = self.file
        with file.transaction(file.writer):
            source, stream = file.writer.execute("SELECT source, stream FROM meta").fetchone()
            if source != file.source:
                self.restamp(0)
            if stream != file.stream:
                file.writer.execute("UPDATE meta SET stream = ?, position = NULL", (file.stream,))

    def restamp(self, shift: int) -> None:
        """Write this node's name, the present epoch, and seqs lower by ``shift`` into every row.

        Events may have been kept under another name, such as before the enrolment.
        """
        writer, after = self.file.writer, 0
        while rows := writer.execute(
            "SELECT seq, last, priority, body FROM events WHERE seq > ? ORDER BY seq LIMIT 1000", (after,)
        ).fetchall():
            after = rows[-1][0]
            for seq, last, kept_as, old in rows:
                priority, body = (
                    (kept_as, old) if kept_as == GAP else self._restamped(kept_as, old, seq - shift)
                )
                self._state.count(kept_as, -1, -len(old))
                self._state.count(priority, 1, len(body))
                writer.execute(
                    "UPDATE events SET seq = ?, last = ?, priority = ?, body = ? WHERE seq = ?",
                    (seq - shift, last - shift, priority, body, seq),
                )
        writer.execute(
            "UPDATE meta SET source = ?, epoch = ?, next_seq = next_seq - ?",
            (self.file.source, self._state.epoch, shift),
        )

    def _restamped(self, priority: int, body: bytes, seq: int) -> tuple[int, bytes]:
        """The event under its new place; a gap where its body is damaged."""
        try:
            return priority, restamped(body, source=self.file.source, epoch=self._state.epoch, seq=seq)
        except MessageError as error:
            log.error("an event of the outbox is damaged: %s", error)
            name = Priority(priority).name.lower()
            self._state.drop(name, 1)
            return GAP, GapRow(seq, seq, "damaged", {name: 1}, self._clock()).body()

    def correct_times(
        self, quality: TimeQuality, shift_ns: int, first_seq: int, between_ns: tuple[int, int]
    ) -> int:
        """Apply `with_corrected_times` to the events from ``first_seq`` on. Returns how many changed."""
        changed, after = 0, max(first_seq - 1, self._state.acked)
        while rows := self.file.writer.execute(
            "SELECT seq, priority, body FROM events WHERE seq > ? AND priority >= 0 ORDER BY seq LIMIT 1000",
            (after,),
        ).fetchall():
            after = rows[-1][0]
            for seq, priority, old in rows:
                body = with_corrected_times(old, quality, shift_ns, between_ns)
                if body != old:
                    changed += 1
                    self._state.count(priority, 0, len(body) - len(old))
                    self.file.writer.execute("UPDATE events SET body = ? WHERE seq = ?", (body, seq))
        return changed

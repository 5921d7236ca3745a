"""Recovery of a damaged outbox: the file is set aside, and all that can be read of it goes on in a new one.

A gap stands for what is lost. The epoch stays where it is certain which seqs were given; else a new one
begins, because the cloud would take new events for old ones.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from common.clock import Clock
from common.edge.delivery.event_table import EventTable
from common.edge.delivery.gaps import GAP, GapRow
from common.edge.delivery.outbox_file import OutboxFile, is_damage
from common.edge.delivery.salvage import Row, Salvaged, is_orphaned, log_is_damaged, salvage
from common.errors import OutboxError


class Recovery(NamedTuple):
    """The outcome: where the damaged file is, events that were saved, and how many are known to be lost."""

    moved_to: str
    kept: int = 0
    lost: int = 0
    certain: bool = False
    """Whether it is known which events there were; if not, a new epoch began and more may be lost."""
    state_whole: bool = False
    """Whether the app's progress was saved too."""


def open_checked(table: EventTable) -> None:
    """Open the file and write this start's names into it. Raises ``sqlite3.Error``, `OutboxError`."""
    if is_orphaned(table.file.path):
        raise sqlite3.DatabaseError("it is empty")
    if log_is_damaged(table.file.path):
        raise sqlite3.DatabaseError("its log is damaged")
    table.file.open()
    table.adopt_names()


class Recoverer:
    """Opens the file of ``table`` and replaces it where it is damaged."""

    def __init__(self, table: EventTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self.outcome: Recovery | None = None

    def open(self) -> None:
        """Open the file, or a new one in its place. Raises `OutboxError`."""
        file = self._table.file
        try:
            open_checked(self._table)
        except (sqlite3.Error, OutboxError) as error:
            if is_damage(error.__cause__ if isinstance(error, OutboxError) else error):
                self.replace(error)
                return
            file.close()
            if isinstance(error, OutboxError):
                raise
            raise OutboxError(f"the outbox {file.path} cannot be opened: {error}") from error

    def replace(self, error: Exception) -> None:
        """Replace a file that ``error`` showed to be damaged. Raises `OutboxError`."""
        file = self._table.file
        with file.reader_lock:
            saved, moved_to = _set_aside(file, error)
            self.outcome = Recovery(moved_to)  # Nothing is saved until the new file has it.
            file.open()
            with file.transaction(file.writer):
                outcome = _refill(self._table, saved, moved_to, self._clock)
            self.outcome = outcome
            self._table.adopt_names()


def _set_aside(file: OutboxFile, error: Exception) -> tuple[Salvaged, str]:
    """Close ``file`` and move it aside: what could be read of it, and where it is now."""
    file.damage = None
    running = file.is_open
    file.close()  # First: reading the files would take the locks of an open connection away.
    saved = salvage(file.path)
    if running:
        saved.know(file.state.epoch, file.state.next_seq, file.state.acked)
    return saved, str(file.set_aside(error))


def _refill(table: EventTable, saved: Salvaged, moved_to: str, clock: Clock) -> Recovery:
    """Write ``saved`` into the new file of ``table``, in a transaction of the writer."""
    state, execute, meta = table.file.state, table.file.writer.execute, saved.meta
    lost = saved.lost()
    rows = [*saved.rows]
    for first, last in lost:
        counts = {"unknown": last - first + 1}
        rows.append(Row(first, last, GAP, GapRow(first, last, "damaged", counts, clock()).body()))
    for row in rows:
        execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
        state.count(row.priority, 1, len(row.body))
    execute("UPDATE app_state SET content = ?", (saved.state,))
    for state.journal_id, content in enumerate(saved.journal, 1):
        execute("INSERT INTO journal VALUES (?, ?)", (state.journal_id, content))
    state.next_seq = saved.next_seq
    execute("UPDATE meta SET next_seq = ?", (state.next_seq,))
    if meta is not None:
        execute("UPDATE meta SET position = ?, stream = ?", (meta.position, meta.stream))
    if meta is not None and saved.certain:
        state.epoch, state.acked = meta.epoch, meta.acked
        execute("UPDATE meta SET epoch = ?, source = ?, acked = ?", (meta.epoch, meta.source, meta.acked))
        state.deleted = state.acked
    else:
        shift = saved.first_seq - 1
        table.restamp(shift)
        state.next_seq -= shift
    lost_events = sum(last - first + 1 for first, last in lost)
    state.drop("unknown", lost_events)
    return Recovery(
        moved_to,
        kept=sum(row.priority != GAP for row in saved.rows),
        lost=lost_events,
        certain=saved.certain,
        state_whole=saved.state is not None and saved.journal_whole,
    )

"""Recovery of a damaged outbox: the file is set aside, and all that can be read of it goes on in a new one.

A gap stands for what is lost. The epoch stays where it is certain which seqs were given; else a new one
begins, because the cloud would take new events for old ones.
"""

from __future__ import annotations

from typing import NamedTuple

from common.clock import Clock
from common.edge.delivery.event_table import EventTable
from common.edge.delivery.gaps import GAP, GapRow
from common.edge.delivery.outbox_file import OutboxFile
from common.edge.delivery.salvage import Row, Salvaged, salvage


class Recovery(NamedTuple):
    """The outcome: where the damaged file is, events that were saved, and how many are known to be lost."""

    moved_to: str
    kept: int = 0
    lost: int = 0
    certain: bool = False
    """Whether it is known which events there were; if not, a new epoch began and more may be lost."""
    state_whole: bool = False
    """Whether the app's progress was saved too."""


def set_aside(file: OutboxFile, error: Exception) -> tuple[Salvaged, str]:
    """Close ``file`` and move it aside: what could be read of it, and where it is now."""
    file.damage = None
    running = file.is_open
    file.close()  # First: reading the files would take the locks of an open connection away.
    saved = salvage(file.path)
    if running:
        saved.know(file.state.epoch, file.state.next_seq, file.state.acked)
    return saved, str(file.set_aside(error))


def refill(table: EventTable, saved: Salvaged, moved_to: str, clock: Clock) -> Recovery:
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

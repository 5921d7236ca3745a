"""The disk budget of an outbox: over it, the oldest events of the lowest priority become gaps.

Alarms are never evicted: when they (and gaps) alone fill the budget, `DiskBudget.check` raises `OutboxFull`.
Neighbouring gaps merge.
"""

from __future__ import annotations

import logging
from contextlib import closing

from common.clock import Clock
from common.edge.delivery.event_rows import Rows
from common.edge.delivery.event_table import EventTable
from common.edge.delivery.gaps import GAP, GapRow, Run, merge
from common.edge.delivery.outbox_file import ROW_COST_BYTES, StreamState
from common.errors import OutboxFull
from common.messages import Priority

log = logging.getLogger(__name__)

SLACK_SHARE = 0.05
"""Share of the budget that is freed at once, so that eviction is rare."""
MIN_BUDGET_BYTES = 4096
WARNING_EVERY_NS = 60_000_000_000


class DiskBudget:
    """At most ``budget_bytes`` (but `MIN_BUDGET_BYTES`) for the rows of ``table``."""

    def __init__(self, table: EventTable, budget_bytes: int, clock: Clock) -> None:
        self._table = table
        self._file = table.file
        self._budget_bytes = max(budget_bytes, MIN_BUDGET_BYTES)
        self._clock = clock
        self._next_warning_ns = 0

    @property
    def _state(self) -> StreamState:
        return self._file.state

    @property
    def used_bytes(self) -> int:
        """Disk space of the rows."""
        return sum(self._state.size_bytes.values())

    @property
    def room_bytes(self) -> int:
        """The rest of the budget."""
        return max(0, self._budget_bytes - self.used_bytes)

    @property
    def exceeded(self) -> bool:
        return self.used_bytes > self._budget_bytes

    def check(self, rows: Rows) -> None:
        """Raises `OutboxFull` if there is no room for the alarms of ``rows``."""
        count = rows.count[Priority.ALARM]
        alarms = rows.body_bytes[Priority.ALARM] + count * ROW_COST_BYTES
        fixed = self._state.size_bytes[Priority.ALARM] + self._state.size_bytes[GAP]
        if count and fixed + alarms > self._budget_bytes:
            raise OutboxFull(
                f"the outbox {self._file.path} holds {self._state.rows[Priority.ALARM]} alarms that the "
                f"cloud has not taken, which fills its budget of {self._budget_bytes} bytes: bring the "
                "uplink back, or raise outbox.budget_bytes"
            )

    def evict(self) -> None:
        """Turn the oldest rows of the lowest priorities into gaps, until the budget and its slack are met."""
        wanted_bytes = self.used_bytes - self._budget_bytes + int(SLACK_SHARE * self._budget_bytes)
        for priority in (Priority.SAMPLE, Priority.TELEMETRY, Priority.EVENT):
            if wanted_bytes <= 0:
                return
            if self._state.rows[priority]:
                wanted_bytes -= self._evict_of(priority, wanted_bytes)

    def _evict_of(self, priority: Priority, wanted_bytes: int) -> int:
        writer = self._file.writer
        victims: list[int] = []
        freed = size = 0
        with closing(writer.cursor()) as cursor:
            cursor.execute(
                "SELECT seq, length(body) FROM events WHERE priority = ? AND seq > ? ORDER BY seq",
                (int(priority), self._state.acked),
            )
            for seq, length in cursor:
                victims.append(seq)
                size += length
                freed += length + ROW_COST_BYTES
                if freed >= wanted_bytes:
                    break
        before = self.used_bytes
        name = priority.name.lower()
        neighbours = self._gaps_around(victims[0], victims[-1])
        writer.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in victims])
        self._state.count(priority, -len(victims), -size)
        runs = [Run(seq, seq, {name: 1}) for seq in victims]
        for gap, replaced in merge(runs, neighbours, reason="budget", time_ns=self._clock()):
            self._table.put_gap(writer, gap, replaced)
        self._state.drop(name, len(victims))
        if self._clock() >= self._next_warning_ns:
            self._next_warning_ns = self._clock() + WARNING_EVERY_NS
            log.warning("the outbox is over its budget; dropped since the start: %s", self._state.dropped)
        return before - self.used_bytes

    def _gaps_around(self, first: int, last: int) -> list[GapRow]:
        """The gap rows from just before ``first`` to just after ``last``."""
        rows = self._file.writer.execute(
            "SELECT seq, last, body FROM events WHERE priority = ? AND seq <= ? AND seq >= coalesce("
            "(SELECT max(seq) FROM events WHERE seq < ?), ?) ORDER BY seq",
            (GAP, last + 1, first, first),
        ).fetchall()
        return [GapRow.of(*row) for row in rows]

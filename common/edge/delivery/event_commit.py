"""One commit to an outbox: events and progress in one transaction, within the disk budget.

Outcomes of `EventCommit.write`:

- True: the rows and the progress are on disk. This includes a transaction that is found in the file although
  its commit raised an error; the state is loaded again then.
- False: the file was damaged and has been replaced. The new one may have another epoch and another next seq,
  so the caller encodes the events again.
- `OutboxFull` or `OutboxError`: nothing was kept.

Rows of the newest commits stay in memory (`RecentRows`) unless a commit changed rows behind them.
"""

from __future__ import annotations

from common.edge.delivery.disk_budget import DiskBudget
from common.edge.delivery.event_rows import Rows
from common.edge.delivery.event_table import EventTable, Progress
from common.edge.delivery.outbox_file import is_damage
from common.edge.delivery.recent_rows import RecentRows
from common.edge.delivery.recovery import Recoverer
from common.errors import OutboxError


class EventCommit:
    """Commits to ``table``. The caller holds the outbox's lock."""

    def __init__(
        self, table: EventTable, budget: DiskBudget, recent: RecentRows, recoverer: Recoverer
    ) -> None:
        self._table = table
        self._file = table.file
        self._budget = budget
        self._recent = recent
        self._recoverer = recoverer

    def write(self, rows: Rows, progress: Progress) -> bool:
        """Commit ``rows`` and ``progress``, synced; False where the file was replaced instead.

        Raises `OutboxFull` and `OutboxError`.
        """
        if self._file.damage is not None:
            return self._replace(self._file.damage)
        self._budget.check(rows)
        first = self._file.state.next_seq
        next_seq = first + len(rows.bodies)
        evicted = False
        try:
            with self._file.transaction(self._file.writer):
                self._table.insert(rows, progress)
                if evicted := self._budget.exceeded:
                    self._recent.clear()
                    self._budget.evict()
        except OutboxError as error:
            if is_damage(error.__cause__):
                return self._replace(error)
            if not self._file.is_committed(next_seq):
                raise
            self._file.load()
            self._recent.clear()
            return True
        if not evicted:
            self._recent.add(first, rows.bodies, sum(rows.body_bytes))
        self._file.state.next_seq = next_seq
        return True

    def _replace(self, error: Exception) -> bool:
        self._recent.clear()
        self._recoverer.replace(error)
        return False

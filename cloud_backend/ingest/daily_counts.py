"""Daily counts of events by node, UTC day and type, in the transaction that stores them.

A batch is tallied without I/O (`Tally`); at the end of the transaction one row for each key is added to
(`DailyCounts.keep`). The day is that of the arrival, so a node's wrong clock does not matter. Types are
whatever a node calls its events: of one node and day at most `TYPES_LIMIT` have a row of their own, the
rest are `OTHER` together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from cloud_backend.store.tables import DailyCount

DAY_NS = 86_400 * 1_000_000_000
TYPES_LIMIT = 200
"""Limit of types of a node and day."""
OTHER = "other"
_REMEMBERED = 4096
"""Nodes and days whose types are remembered, which spares reads of the table."""

_daily = DailyCount.metadata.tables["daily_count"].c
_TYPES = (
    select(_daily.day, _daily.node, _daily.type)
    .where(_daily.day.in_(bindparam("days", expanding=True)))
    .where(_daily.node.in_(bindparam("nodes", expanding=True)))
)


class Tally:
    """Events and bytes of one transaction by ``(day, node)`` and type."""

    def __init__(self) -> None:
        self.events: dict[tuple[int, str], Counter[str]] = {}
        self.bytes: dict[tuple[int, str], Counter[str]] = {}

    def add(self, node: str, arrived_ns: int, types: Sequence[str], bodies: Sequence[str]) -> None:
        """Count the events of one batch; ``bodies`` are their data as JSON text."""
        if not types:
            return
        key = (arrived_ns // DAY_NS, node)
        counts = Counter(types)
        sizes = self.bytes.setdefault(key, Counter())
        # Most events of a batch are of one type: they are sized together, as what the others leave.
        main_type = max(counts, key=counts.__getitem__)
        rest = _size("".join(bodies))
        for kind, body in [(k, b) for k, b in zip(types, bodies, strict=True) if k != main_type]:
            sizes[kind] += _size(body)
            rest -= _size(body)
        sizes[main_type] += rest
        self.events.setdefault(key, Counter()).update(counts)


class DailyCounts:
    """Adds tallies to the table. What it remembers between transactions only spares reading it."""

    def __init__(self, dialect: str) -> None:
        mark = "?" if dialect == "sqlite" else "%s"
        self._upsert = (
            f"INSERT INTO daily_count (day, node, type, events, bytes) VALUES ({', '.join([mark] * 5)}) "  # noqa: S608  constants
            "ON CONFLICT (day, node, type) DO UPDATE SET "
            "events = daily_count.events + excluded.events, bytes = daily_count.bytes + excluded.bytes"
        )
        self._known: dict[tuple[int, str], frozenset[str]] = {}

    def keep(self, connection: Connection, tally: Tally) -> None:
        """Add ``tally`` within the transaction of ``connection``."""
        if not tally.events:
            return
        news = [key for key, types in tally.events.items() if not types.keys() <= self._known_of(key)]
        if news:
            self._read(connection, news)
        rows: list[tuple[int, str, str, int, int]] = []
        for key in sorted(tally.events):
            rows += self._rows(key, tally)
        connection.exec_driver_sql(self._upsert, rows)

    def _rows(self, key: tuple[int, str], tally: Tally) -> list[tuple[int, str, str, int, int]]:
        names = set(self._known_of(key))
        events: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for kind, count in tally.events[key].items():
            name = kind
            if kind not in names:
                if len(names) >= TYPES_LIMIT:
                    name = OTHER
                else:
                    names.add(kind)
            events[name] += count
            sizes[name] += tally.bytes[key][kind]
        return [(*key, name, events[name], sizes[name]) for name in sorted(events)]

    def _known_of(self, key: tuple[int, str]) -> frozenset[str]:
        return self._known.get(key, frozenset())

    def _read(self, connection: Connection, keys: Sequence[tuple[int, str]]) -> None:
        """Remember the types that the table has; those of this transaction are not among them yet."""
        if len(self._known) + len(keys) > _REMEMBERED:
            self._known.clear()
        wanted = {"days": sorted({day for day, _ in keys}), "nodes": sorted({node for _, node in keys})}
        found: dict[tuple[int, str], set[str]] = {}
        for day, node, kind in connection.execute(_TYPES, wanted):
            found.setdefault((day, node), set()).add(kind)
        for key in keys:
            self._known[key] = frozenset(found.get(key, ()))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())

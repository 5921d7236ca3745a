"""Subjects by reporting node, kept with the events: a node may upload samples of these only.

Bounded: `SUBJECTS_LIMIT` of one node. What is remembered between transactions only spares reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from sqlalchemy import Connection, bindparam, func, insert, select

from cloud_backend.store.tables import NodeSubject

SUBJECTS_LIMIT = 10_000
_REMEMBERED = 100_000
_table = NodeSubject.metadata.tables["node_subject"]
_KNOWN = select(_table.c.subject).where(
    _table.c.node == bindparam("node"), _table.c.subject.in_(bindparam("subjects", expanding=True))
)
_COUNT = select(func.count()).select_from(_table).where(_table.c.node == bindparam("node"))
_log = structlog.get_logger("edgeloop.ingest")


class Reporters:
    """Keeps the subjects of each node, in the transaction that stores its events."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def keep(self, connection: Connection, reported: Mapping[str, set[str]]) -> None:
        """Add the subjects that nodes ``reported`` in this transaction."""
        for node in sorted(reported):
            new = {each for each in reported[node] if each} - self._known.get(node, set())
            if new:
                self._add(connection, node, sorted(new))

    def _add(self, connection: Connection, node: str, subjects: list[str]) -> None:
        stored: set[str] = set()
        for start in range(0, len(subjects), 500):
            part = {"node": node, "subjects": subjects[start : start + 500]}
            stored |= set(connection.scalars(_KNOWN, part))
        # Only what an earlier transaction has stored is remembered: this one may still be undone.
        if sum(map(len, self._known.values())) + len(stored) > _REMEMBERED:
            self._known.clear()
        self._known.setdefault(node, set()).update(stored)
        new = [each for each in subjects if each not in stored]
        if not new:
            return
        room = SUBJECTS_LIMIT - (connection.scalar(_COUNT, {"node": node}) or 0)
        if len(new) > room:
            _log.warning("a node reports more subjects than the limit", node=node, limit=SUBJECTS_LIMIT)
        rows = [{"node": node, "subject": each} for each in new[: max(0, room)]]
        if rows:
            connection.execute(insert(_table), rows)

"""Problems of nodes that the cloud detects: counted by kind, and kept for their pages.

Kinds are fixed; a node has one row for each. Problems are gathered without I/O (`NodeProblems`) and added to
the table (`keep_problems`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Literal

from sqlalchemy import Connection

from cloud_backend.store.tables import NodeProblem
from common.app.projection import insert_into

Kind = Literal["rejected", "limited", "identity_shared", "forked", "unprojected", "refused"]
DETAIL_CHARACTERS = 500
_NODES_LIMIT = 20_000
"""Limit of nodes with problems that are not kept yet; only enrolled ones are added."""


class NodeProblems:
    """Problems that are not kept yet. Any thread may add."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, node: str, kind: Kind, detail: str, now_ns: int, count: int = 1) -> None:
        """Count a problem; ``detail`` replaces the earlier one."""
        with self._lock:
            row = self._seen.setdefault(
                (node, kind), {"node": node, "kind": kind, "count": 0, "first_ns": now_ns}
            )
            row["count"] += count
            row |= {"detail": detail.replace("\0", "\\0")[:DETAIL_CHARACTERS], "last_ns": now_ns}
            if len(self._seen) > _NODES_LIMIT:
                self._seen.popitem(last=False)

    def take(self) -> list[dict[str, Any]]:
        """The problems since the last call."""
        with self._lock:
            rows, self._seen = self._seen, OrderedDict()
        return [rows[key] for key in sorted(rows)]


def keep_problems(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Add the rows of `NodeProblems.take` to the table."""
    if not rows:
        return
    insert = insert_into(connection, NodeProblem)
    new = insert.excluded
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["node", "kind"],
            set_={
                "count": NodeProblem.count + new["count"],
                "detail": new.detail,
                "last_ns": new.last_ns,
            },
        ),
        rows,
    )

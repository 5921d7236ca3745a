"""Senders of a group of messages: only enrolled nodes in service count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from cloud_backend.ingest import fleet
from cloud_backend.ingest.received import Message, ReceivedBatch, ReceivedStatus, Reconnected
from cloud_backend.store.tables import Node

_log = structlog.get_logger("edgeloop.ingest")
_NODES = select(col(Node.name), col(Node.site), col(Node.last_seen_ns), col(Node.clock_offset_ms)).where(
    col(Node.name).in_(bindparam("names", expanding=True)), col(Node.retired_ns) == 0
)
_NOTE_SEEN = (
    update(Node.metadata.tables["node"])
    .where(col(Node.name) == bindparam("node"))
    .values(last_seen_ns=bindparam("seen_ns"), clock_offset_ms=bindparam("offset_ms"))
)


class FromNodes(NamedTuple):
    """Messages of enrolled nodes; ``counts`` has the others."""

    batches: list[tuple[ReceivedBatch, int | None]]
    """With the known error of the node's clock, in ns; None for a node that never sent before."""
    statuses: list[ReceivedStatus]
    counts: Counter[str]


def from_nodes(connection: Connection, group: Sequence[Message]) -> FromNodes:
    """The messages of enrolled nodes in service. A reconnection forgets who is online."""
    found = FromNodes([], [], Counter())
    messages: list[ReceivedBatch | ReceivedStatus] = []
    for message in group:
        if isinstance(message, Reconnected):
            fleet.forget_states(connection)
        else:
            messages.append(message)
    names = {"names": sorted({message.node for message in messages})}
    nodes = {row.name: row for row in connection.execute(_NODES, names)} if messages else {}
    for message in messages:
        node = nodes.get(message.node)
        if node is None or node.site != message.site:
            found.counts["not_enrolled"] += 1
            _log.debug("message of a node that is not enrolled", site=message.site, node=message.node)
        elif isinstance(message, ReceivedStatus):
            found.statuses.append(message)
        else:
            known_ns = (node.clock_offset_ms or 0) * 1_000_000 if node.last_seen_ns else None
            found.batches.append((message, known_ns))
    return found


def keep_seen(connection: Connection, seen: Iterable[dict[str, Any]]) -> None:
    """Write when nodes were last seen, and the errors of their clocks."""
    if rows := sorted(seen, key=lambda row: str(row["node"])):
        connection.execute(_NOTE_SEEN, rows)

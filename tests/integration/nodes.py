"""Nodes in this process: running one through its source, and reading what it has kept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.messages import WireEvent, decode_event
from tests.builders import FIRST_NS
from tests.waiting import wait_for

COUNT = 300
SOURCE = f"virtual:sums?count={COUNT}"


def run_through(node: Node, readings: int = COUNT) -> None:
    wait_for(lambda: node.processing.handled >= readings or node.ended.is_set(), f"{readings} readings")
    assert node.stop() == 0


def kept(data: Path) -> list[WireEvent]:
    """Events in the outbox of a stopped node."""
    with closing(Outbox(data / "outbox.sqlite", "/local/x", 10**9, lambda: FIRST_NS)) as outbox:
        return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)]


def facts(events: list[WireEvent], kind: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.data) for event in events if event.type == kind]


def of_the_app(events: list[WireEvent]) -> list[tuple[str, str, str, bytes]]:
    return [
        (event.type, event.subject, event.time, bytes(event.data))
        for event in events
        if event.type.startswith("sums.")
    ]


def pending(node: Node) -> list[WireEvent]:
    return [decode_event(row.body) for row in node.outbox.pending(0, 10**6, 10**9)]


def health_of(events: list[WireEvent]) -> dict[str, Any]:
    return facts(events, "edgeloop.node.health")[-1]

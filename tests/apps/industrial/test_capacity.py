"""More machines than a node may follow: the newcomer is refused where people look, the others go on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from apps.industrial.app import SPEC
from common.config.node import NodeSettings
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.messages import WireEvent, decode_event
from tests.waiting import wait_for


def decided(folder: Path, limit: int) -> tuple[list[WireEvent], Node]:
    settings = NodeSettings(
        app="industrial",
        source="virtual:turbofan?seed=3&machines=3&name=engine",
        data=str(folder),
        profile="cpu",
        speed=0.0,
        settings={"max_machines": limit},
    )
    node = Node(settings, None, SPEC)
    node.start()
    wait_for(lambda: node.processing.handled >= 300, "300 readings")
    assert node.stop() == 0
    with closing(Outbox(folder / "outbox.sqlite", "/local/x", 10**9, lambda: 10**18)) as outbox:
        return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)], node


def test_a_refused_machine_is_one_event_and_stands_in_health(tmp_path: Path) -> None:
    events, node = decided(tmp_path / "full", 2)
    ((subject, data),) = [
        (e.subject, msgspec.json.decode(e.data)) for e in events if e.type == "edgeloop.source"
    ]
    assert (subject, data["problem"]) == ("engine-3", "capacity")
    assert "max_machines is 2" in data["detail"]
    health = [msgspec.json.decode(e.data) for e in events if e.type == "edgeloop.node.health"]
    assert node.processing.platform.refused.subjects == 1
    assert {"refused_subjects", "refused_readings"} <= set(health[-1])
    good, about = node.health.healthz()
    assert not good
    assert "engine-3 is refused" in about["problems"][0]
    assert {e.subject for e in events if e.type == "industrial.rul"} == {"engine-1", "engine-2"}


def test_with_room_for_all_nobody_is_refused(tmp_path: Path) -> None:
    events, node = decided(tmp_path / "room", 3)
    assert len({e.subject for e in events if e.type == "industrial.rul"}) == 3
    assert node.health.healthz()[0]
    assert not [e for e in events if e.type == "edgeloop.source"]

"""The row of a node: from its events, its status and its batches."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud_backend.ingest.received import ReceivedStatus, Reconnected, read_batch
from cloud_backend.store.tables import Adoption, Node, Quarantined
from common.messages import Status
from tests.cloud_backend.ingest.nodes import NOW_NS, SITE, SimulatedNode, rows
from tests.cloud_backend.ingest.totals import SECOND_NS, committer


def test_reports_of_a_node_about_itself_stand_in_the_node_table(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    started = {"app": "test", "version": "v1", "slot": "a", "profile": "cpu", "virtual": True, "tags": ["x"]}
    health = {"version": "v2", "slot": "b", "step": "confirmed", "confirmed": True, "queue": 3}
    adoption = {
        "version": "v2",
        "from_version": "v1",
        "step": "confirmed",
        "ok": True,
        "serial": 4,
        "rollout": "r",
    }
    bodies = [
        node.body(1, "edgeloop.node.started", data=started),
        node.body(2, "edgeloop.adoption", data=adoption),
        node.body(3, "edgeloop.node.health", data=health),
        node.body(4, "edgeloop.adoption", data={"step": "levitated"}),
    ]
    for _ in range(2):
        ingest.commit([node.received(1, 4, bodies)])
    row = rows(engine, Node)[0]
    assert (row.app, row.version, row.slot, row.profile, row.virtual, row.tags) == (
        "test", "v2", "b", "cpu", True, ["x"],
    )  # fmt: skip
    assert (row.step, row.confirmed, row.health) == ("confirmed", True, health)
    (logged,) = rows(engine, Adoption)
    assert (logged.node, logged.app, logged.version, logged.step) == ("node-1", "test", "v2", "confirmed")
    assert (logged.serial, logged.rollout, logged.seq, logged.received_ns) == (4, "r", 2, NOW_NS)
    (kept,) = rows(engine, Quarantined)
    assert "levitated" in kept.reason or "step" in kept.reason


def test_who_is_online_follows_the_status_and_is_unknown_after_a_reconnect(engine: Engine) -> None:
    def status(node: str, state: str, retained: bool) -> ReceivedStatus:
        return ReceivedStatus(SITE, node, Status(state, "test"), NOW_NS, retained)

    ingest = committer(engine)
    group = [
        status("node-1", "online", False),
        status("node-2", "offline", True),
        status("stranger", "online", False),
    ]
    assert ingest.commit(group) == []
    assert [(n.state, n.app, n.last_seen_ns) for n in rows(engine, Node)] == [
        ("online", "test", NOW_NS),
        ("offline", "test", 0),
    ]
    ingest.commit([Reconnected(), status("node-2", "online", True)])
    assert [node.state for node in rows(engine, Node)] == ["unknown", "online"]


def test_a_batch_that_somebody_sends_again_changes_nothing_of_the_node(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    old = node.batch(1, 10, session="a", turn=1)
    ingest.commit([read_batch(SITE, "node-1", old, NOW_NS)])
    ingest.commit([node.received(11, 20, session="b", turn=1)])
    for hours in range(1, 6):
        (answer,) = ingest.commit([read_batch(SITE, "node-1", old, NOW_NS + hours * 3600 * SECOND_NS)])
        assert (answer.ack.session, answer.ack.shared) == ("a", False)
    row = next(row for row in rows(engine, Node) if row.name == "node-1")
    assert (row.clock_offset_ms, row.last_seen_ns) == (None, NOW_NS)

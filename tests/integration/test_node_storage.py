"""A node with a full or damaged outbox, and its samples on disk."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from common.config.node import (
    CurationSettings,
    OutboxSettings,
)
from common.edge.delivery.outbox import Outbox
from common.edge.processing.state import encode_state
from common.messages import WireEvent, decode_event
from tests.builders import FIRST_NS
from tests.integration.nodes import facts, kept, of_the_app, pending, run_through
from tests.waiting import wait_for


def test_a_full_outbox_holds_the_node_up_and_loses_no_alarm(
    make_node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = make_node(
        "virtual:sums?count=2000",
        outbox=OutboxSettings(budget_bytes=65536),
        settings={"alarm_above": 0.0},
    )
    wait_for(lambda: node.processing.stuck_since_s is not None, "the outbox is full")
    seen: dict[int, WireEvent] = {}

    def empty_it() -> bool:
        for row in node.outbox.pending(0, 1000, 10**9):
            event = decode_event(row.body)
            seen.setdefault(event.seq, event)
        node.outbox.acked(max(seen))
        return node.processing.handled >= 2000

    wait_for(empty_it, "all readings")
    assert node.stop() == 0
    empty = kept(tmp_path / "data")
    seen.update({event.seq: event for event in empty if event.seq not in seen})
    events = [seen[seq] for seq in sorted(seen)]
    positions = [fact["position"] for fact in facts(events, "sums.high")]
    sums = {fact["position"] for fact in facts(events, "sums.value") if fact["sum"] > 0}
    assert sums <= set(positions)
    assert positions == sorted(set(positions))
    assert len(positions) > 900
    assert "the outbox works again" in caplog.text


def test_a_node_stops_in_order_while_its_outbox_is_full(make_node, tmp_path: Path) -> None:
    settings = {"outbox": OutboxSettings(budget_bytes=65536), "settings": {"alarm_above": 0.0}}
    node = make_node("virtual:sums?count=2000", **settings)
    wait_for(lambda: node.processing.stuck_since_s is not None, "the outbox is full")
    position = node.outbox.position()
    assert node.stop() == 0
    again = make_node("virtual:sums?count=2000", **settings)
    assert again.outbox.position() == position


def test_an_oversized_sample_costs_itself_only(make_node, tmp_path: Path, truth) -> None:
    node = make_node(
        curation=CurationSettings(store_bytes=4000),
        settings={"sample_every": 50, "sample_values": 100_000},
    )
    run_through(node)
    events = kept(tmp_path / "data")
    assert of_the_app(events) == truth
    (reported,) = [fact for fact in facts(events, "edgeloop.source") if fact["problem"] == "sample"]
    assert "is not kept" in reported["detail"]
    assert not list((tmp_path / "data" / "samples").glob("*.npz"))


def test_samples_are_on_disk_when_the_position_is_past_them(make_node, tmp_path: Path) -> None:
    run_through(make_node(settings={"sample_every": 100}))
    assert len(list((tmp_path / "data" / "samples").glob("*.npz"))) == 3


def test_a_damaged_outbox_is_reported_and_the_node_goes_on(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    (tmp_path / "data" / "outbox.sqlite").write_bytes(b"nonsense" * 1000)
    run_through(make_node())
    (reported,) = facts(kept(tmp_path / "data"), "edgeloop.outbox")
    assert reported["problem"] == "corrupt"
    assert list((tmp_path / "data").glob("outbox.sqlite.corrupt-*"))


def test_a_state_that_the_app_cannot_take_over_is_reported(make_node, tmp_path: Path) -> None:
    make_node().stop()
    with closing(Outbox(tmp_path / "data" / "outbox.sqlite", "/l/x", 10**9, lambda: FIRST_NS)) as outbox:
        outbox.commit([], encode_state({"something": "else"}), 7)
    node = make_node()
    wait_for(lambda: facts(pending(node), "edgeloop.source"), "it is reported")
    run_through(node, 0)
    reported = facts(kept(tmp_path / "data"), "edgeloop.source")
    assert reported[0]["problem"] == "state"

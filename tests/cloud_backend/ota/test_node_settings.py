"""Changes of settings of single nodes: versions, sending until the answer, the answer itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.ota.node_settings import RESEND_LIMIT_S, RESEND_S, SETTINGS_LIMIT_BYTES, NodeSettingsSender
from cloud_backend.store.tables import Node, NodeSettings
from common.errors import SettingsRefused
from common.messages import SettingsChange
from tests.cloud_backend.ingest.nodes import SimulatedNode
from tests.cloud_backend.ingest.totals import committer

LATER_NS = round((RESEND_S + 1) * 1e9)


class Sending:
    """A sender whose messages are kept, and whose clock a test moves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now_ns = 10**18
        self.sent: list[tuple[str, str, SettingsChange]] = []
        self.sender = NodeSettingsSender(engine, lambda *each: self.sent.append(each), lambda: self.now_ns)
        self.ingest = committer(engine)
        self.edit(state="online", app="test")

    def edit(self, **changes: Any) -> None:
        with Session(self.engine) as session:
            node = session.get(Node, "node-1")
            assert node is not None
            for name, value in changes.items():
                setattr(node, name, value)
            session.add(node)
            session.commit()

    @property
    def row(self) -> NodeSettings:
        with Session(self.engine) as session:
            row = session.get(NodeSettings, "node-1")
            assert row is not None
            return row

    def answer(self, seq: int, **data: Any) -> None:
        """The node's answer arrives."""
        node = SimulatedNode()
        batch = node.received(seq, seq, [node.body(seq, "edgeloop.settings", data=data)])
        self.ingest.commit([batch])

    def report(self, seq: int, **data: Any) -> None:
        """A health report of the node arrives."""
        node = SimulatedNode()
        self.ingest.commit([node.received(seq, seq, [node.body(seq, "edgeloop.node.health", data=data)])])

    def versions(self) -> list[int]:
        return [change.version for _, _, change in self.sent]


@pytest.fixture
def sending(engine: Engine) -> Sending:
    return Sending(engine)


def test_a_change_is_sent_at_once_with_the_next_version(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.sender.change("node-1", {"a": 2}, "kim", base=1)
    assert [each[2] for each in sending.sent] == [SettingsChange(1, {"a": 1}), SettingsChange(2, {"a": 2})]
    assert (sending.row.settings, sending.row.actor, sending.row.outcome) == ({"a": 2}, "kim", "sent")


def test_a_change_made_from_another_version_is_refused(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim", base=0)
    with pytest.raises(SettingsRefused, match="version 1 of kim replaced version 0"):
        sending.sender.change("node-1", {"a": 2}, "lee", base=0)
    assert sending.versions() == [1]


def test_a_change_is_sent_again_until_the_node_holds_it(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.sender.resend()
    assert sending.versions() == [1]
    sending.now_ns += LATER_NS
    sending.sender.resend()
    sending.sender.resend()
    assert sending.versions() == [1, 1]
    sending.answer(1, version=1, outcome="applied", holds=1)
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1, 1]
    assert (sending.row.outcome, sending.row.held_version) == ("applied", 1)


def test_an_offline_node_gets_the_change_when_it_is_back(sending: Sending) -> None:
    sending.edit(state="offline")
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1]
    sending.edit(state="online")
    sending.sender.resend()
    assert sending.versions() == [1, 1]


def test_a_refused_change_is_not_sent_again_and_its_reason_is_kept(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.answer(1, version=1, outcome="refused", reason="settings", detail="no setting a", holds=0)
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1]
    row = sending.row
    assert (row.outcome, row.reason, row.detail) == ("refused", "settings", "no setting a")


def test_a_node_ahead_of_a_restored_cloud_gets_a_version_above_its_own(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.answer(1, version=1, outcome="refused", reason="rollback", detail="older", holds=7)
    sending.sender.change("node-1", {"a": 2}, "kim")
    assert sending.versions() == [1, 8]


def test_a_node_ahead_of_the_first_change_gets_a_version_above_its_own(sending: Sending) -> None:
    for reported, version in (({"settings_version": 7}, 8), ({"settings_version": "x"}, 9)):
        sending.edit(health=reported)
        sending.sender.change("node-1", {"a": 1}, "kim")
        assert sending.versions()[-1] == version


def test_an_answer_that_a_crash_of_the_node_lost_is_asked_for_again(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.report(1, settings_version=1)
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1, 1]


def test_a_node_without_an_answer_gets_the_change_less_and_less_often(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.answer(1, version=1, outcome="waiting", reason="trial", holds=0)
    hour_s, step_s = 3600, 30
    for _ in range(hour_s // step_s):
        sending.now_ns += step_s * 10**9
        sending.sender.resend()
    assert hour_s / RESEND_LIMIT_S <= len(sending.sent) <= hour_s / RESEND_LIMIT_S + 10


@pytest.mark.parametrize("migrated_store", ["postgresql"], indirect=True)
def test_two_changes_at_the_same_time_have_two_versions(engine: Engine) -> None:
    sending = Sending(engine)
    sending.sender.change("node-1", {"a": 0}, "kim")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: sending.sender.change("node-1", {"a": n}, "kim"), range(24)))
    assert sorted(sending.versions()) == list(range(1, 26))


def test_a_device_that_lost_its_settings_gets_them_again(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.answer(1, version=1, outcome="applied", holds=1)
    sending.report(2, settings_version=0)
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1, 1]


def test_an_answer_to_an_earlier_change_changes_nothing(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.sender.change("node-1", {"a": 2}, "kim")
    sending.answer(1, version=1, outcome="refused", reason="settings", holds=0)
    assert sending.row.outcome == "sent"


def test_what_cannot_be_sent_says_why(sending: Sending) -> None:
    with pytest.raises(SettingsRefused, match=f"at most {SETTINGS_LIMIT_BYTES} bytes"):
        sending.sender.change("node-1", {"a": "x" * SETTINGS_LIMIT_BYTES}, "kim")
    with pytest.raises(LookupError):
        sending.sender.change("absent", {}, "kim")
    sending.edit(retired_ns=1)
    with pytest.raises(SettingsRefused, match="retired"):
        sending.sender.change("node-1", {}, "kim")
    sending.edit(app="", retired_ns=0)
    with pytest.raises(SettingsRefused, match="which app"):
        sending.sender.change("node-1", {}, "kim")


def test_a_node_that_runs_another_app_by_now_gets_no_change_for_the_earlier_one(sending: Sending) -> None:
    sending.sender.change("node-1", {"a": 1}, "kim")
    sending.edit(app="other")
    sending.now_ns += LATER_NS
    sending.sender.resend()
    assert sending.versions() == [1]

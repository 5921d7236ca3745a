"""Hints of the cloud over a real broker."""

from __future__ import annotations

from common.messages import (
    Hint,
)
from tests.integration.uplink.ends import TOPICS, Cloud
from tests.waiting import PATIENCE_S, wait_for


def test_a_hint_makes_the_node_check(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.looks.clear()
    cloud.hint("deployment")
    assert running.looks.wait(PATIENCE_S)
    assert running.hints == []


def test_other_hints_are_handed_on(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.looks.clear()
    sent = [cloud.hint("golden"), cloud.hint("revert", "v2"), cloud.hint("a word of the future")]
    wait_for(lambda: running.hints == sent, "three hints")
    assert not running.looks.is_set()


def test_a_hint_counts_once(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    wait_for(cloud.statuses, "its session")
    hint = cloud.hint("revert", "v1")
    cloud.publish(TOPICS.hint, hint)
    cloud.publish(TOPICS.hint, Hint("revert", "v1", "another session", 99))
    last = cloud.hint("golden")
    wait_for(lambda: running.hints[-1:] == [last], "the last hint")
    assert running.hints == [hint, last]

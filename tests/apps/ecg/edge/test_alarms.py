"""Alarms: raised in time, ended once, latched until reset, whatever the order of things."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ecg.edge.alarms import PAUSE_LIMIT_S, AlarmPriority, Alarms, Change, Condition, Observed
from common.edge.processing.state import decode_state, encode_state

URGENT = Condition("urgent", "high", 2.0, 3.0, True, "it is {value}, limit {limit}")
MILD = Condition("mild", "low", 5.0, 1.0, False, "mild")
TABLE = (URGENT, MILD)


def states(changes: Sequence[Change]) -> list[tuple[str, float]]:
    return [(change.state, change.at_s) for change in changes]


def seconds(alarms: Alarms, name: str, present: str, begin: int = 0) -> list[Change]:
    """One observation a second: ``x`` present, ``.`` absent, ``?`` unknown."""
    known = {"x": True, ".": False, "?": None}
    changes: list[Change] = []
    for offset, sign in enumerate(present):
        changes += alarms.observe(float(begin + offset), [Observed(name, known[sign], 7.0, 3.0)])
    return changes


def test_an_alarm_waits_for_its_delay_and_ends_after_its_hysteresis() -> None:
    changes = seconds(Alarms(TABLE), "mild", "xxxx.xxxxxxxx.x...xx")
    assert states(changes) == [("raised", 10.0), ("ended", 16.0)]
    assert changes[0].delay_s == 5.0
    assert changes[1].raised_s == 10.0


def test_a_latching_alarm_stays_until_reset_and_can_be_raised_again() -> None:
    alarms = Alarms(TABLE)
    assert states(seconds(alarms, "urgent", "xxxx......")) == [("raised", 2.0), ("latched", 7.0)]
    assert states(seconds(alarms, "urgent", "xxxx......", 10)) == [("raised", 12.0), ("latched", 17.0)]
    assert states(alarms.reset(20.0)) == [("reset", 20.0)]
    assert alarms.reset(21.0) == []


def test_a_reset_leaves_what_is_still_present() -> None:
    alarms = Alarms(TABLE)
    seconds(alarms, "urgent", "xxxx")
    assert alarms.reset(4.0) == []
    assert alarms.raised == ("urgent",)


def test_what_cannot_be_seen_neither_raises_nor_ends() -> None:
    alarms = Alarms(TABLE)
    assert seconds(alarms, "urgent", "xx?????") == []
    assert states(seconds(alarms, "urgent", "xxx", 7)) == [("raised", 9.0)]
    assert seconds(alarms, "urgent", "..???????..", 10) == []
    assert states(seconds(alarms, "urgent", "....", 21)) == [("latched", 22.0)]


def test_a_pause_is_bounded_and_what_lasts_is_raised_after_it() -> None:
    alarms = Alarms(TABLE)
    alarms.pause(0.0, 6.0)
    assert states(seconds(alarms, "urgent", "xxxxxxxx")) == [("raised", 6.0)]
    alarms = Alarms(TABLE)
    alarms.pause(0.0, 1e9)
    changes = seconds(alarms, "urgent", "x" * 200)
    assert states(changes) == [("raised", PAUSE_LIMIT_S)]


def test_the_text_has_value_and_limit() -> None:
    (change,) = seconds(Alarms(TABLE), "urgent", "xxx")
    assert change.text == "it is 7, limit 3"


def test_closing_ends_everything() -> None:
    alarms = Alarms(TABLE)
    seconds(alarms, "urgent", "xxx......")
    seconds(alarms, "mild", "xxxxxx", 9)
    assert {(c.condition.name, c.state) for c in alarms.close(20.0)} == {
        ("urgent", "reset"),
        ("mild", "ended"),
    }
    assert alarms.close(21.0) == []


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["urgent", "mild"]), st.sampled_from([True, False, None])),
        st.just(("reset", None)),
        st.tuples(st.just("pause"), st.integers(0, 8)),
    ),
    max_size=120,
)
gaps = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.5]), min_size=120, max_size=120)


@given(steps, gaps)
def test_the_rules_hold_for_any_sequence(steps: list[tuple[str, Any]], gaps: list[float]) -> None:
    alarms, at_s, paused_until_s = Alarms(TABLE), 0.0, 0.0
    states: dict[str, list[str]] = {"urgent": [], "mild": []}
    since_s: dict[str, float | None] = {"urgent": None, "mild": None}
    absent_since_s: dict[str, float | None] = {"urgent": None, "mild": None}
    conditions = {condition.name: condition for condition in TABLE}
    for (name, value), gap in zip(steps, gaps, strict=False):
        at_s += gap
        alarms.restore(decode_state(encode_state(alarms.snapshot())))
        if name == "reset":
            changes = alarms.reset(at_s)
            assert all(states[change.condition.name][-1] == "latched" for change in changes)
        elif name == "pause":
            alarms.pause(at_s, float(value))
            paused_until_s, changes = at_s + float(value), []
        else:
            changes = alarms.observe(at_s, [Observed(name, value)])
            since_s[name] = (since_s[name] if since_s[name] is not None else at_s) if value is True else None
            absent = absent_since_s[name] if absent_since_s[name] is not None else at_s
            absent_since_s[name] = absent if value is False else None
        for change in changes:
            states[change.condition.name].append(change.state)
        up = {n for n, history in states.items() if history and history[-1] == "raised"}
        assert set(alarms.raised) == up
        if name in conditions and value is True and at_s >= paused_until_s:
            present_s = at_s - (since_s[name] or 0.0)
            assert name in up or present_s < conditions[name].delay_s, "raised too late"
        for history in states.values():
            for before, after in pairwise(history):
                assert after != "raised" or before in ("ended", "latched", "reset")
                assert after != "reset" or before == "latched"
                assert after not in ("ended", "latched") or before == "raised"
            assert not history or history[0] == "raised"
        if states["urgent"]:
            assert "ended" not in states["urgent"], "what latches does not just end"
        assert not any(s == "latched" for s in states["mild"])
        for change in changes:
            if change.state in ("ended", "latched"):
                since = absent_since_s[change.condition.name]
                assert since is not None
                assert at_s - since >= change.condition.end_s, "ended too early"


@pytest.mark.parametrize("priority", ["high", "low"])
def test_a_delay_of_nothing_raises_at_once(priority: AlarmPriority) -> None:
    table = [Condition("now", priority, 0.0, 0.0, False, "now")]
    changes = seconds(Alarms(table), "now", "x.x")
    assert states(changes) == [("raised", 0.0), ("ended", 1.0), ("raised", 2.0)]

from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.dashboard.parts import formatting

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (82_300, "82.3 kB"),
        (805_218, "805 kB"),
        (4.6e6, "4.6 MB"),
    ],
)
def test_sizes_in_decimal_units(value: float, text: str) -> None:
    assert formatting.size(value) == text


def test_a_size_does_not_round_up_to_a_thousand_of_its_unit() -> None:
    assert formatting.size(999_700) == "1.0 MB"


def test_an_unknown_figure_is_a_dash() -> None:
    text = [
        formatting.size(None),
        formatting.count(None),
        formatting.milliseconds(None),
        formatting.percent(None, 1),
    ]
    assert {*text, formatting.percent(1, 0), formatting.since(0, 5)} == {formatting.NONE}


def test_figures_are_rounded_to_what_can_be_read() -> None:
    assert [formatting.milliseconds(value) for value in (0.2214, 6.58, 88.8, 1234.5)] == [
        "0.22 ms",
        "6.6 ms",
        "89 ms",
        "1,234 ms",
    ]
    assert (formatting.percent(71, 100), formatting.percent(1, 30)) == ("71 %", "3.3 %")


def test_ages() -> None:
    second = 1_000_000_000
    ages = {0: "now", 59: "59 s ago", 61: "1 min ago", 7200: "2 h ago", 200_000: "2 d ago"}
    for seconds, text in ages.items():
        assert formatting.since(second, second + seconds * second) == text
    assert formatting.since(5 * second, second) == "now"  # a clock that is ahead


@pytest.mark.parametrize("value", ["12", True, None, [], {}, float("nan"), float("inf"), 2**80])
def test_a_value_that_is_no_finite_number_is_none(value: Any) -> None:
    assert formatting.number({"x": value}, "x") is None
    assert formatting.number("no mapping", "x") is None


def test_adoption_in_words() -> None:
    data = {
        "step": "refused",
        "version": "2-heavy",
        "reason": "golden",
        "detail": "takes 88.8 ms",
        "ok": False,
    }
    assert formatting.summary("edgeloop.adoption", data) == "refused 2-heavy (golden): takes 88.8 ms"
    assert formatting.summary("edgeloop.adoption", {"step": "switched", "version": "2"}) == "switched 2"


def test_golden_cases_and_drift_in_words() -> None:
    passed = {"passed": True, "version": "2", "cases": 24, "latency_ms": 0.145}
    assert (
        formatting.summary("edgeloop.golden", passed)
        == "2 passes its 24 golden cases on this device, 0.14 ms a run"
    )
    failed = {"passed": False, "version": "2", "detail": "rul is off"}
    assert formatting.summary("edgeloop.golden", failed) == "2 fails its golden cases: rul is off"
    drift = {"state": "drift", "output": "novelty", "threshold": 1.0, "exceed_rate": 0.0815}
    assert "novelty beyond 1, its limit in training, in 8.2 %" in formatting.summary("edgeloop.drift", drift)
    assert formatting.summary("edgeloop.drift", {"state": "clear"}) == "drift is over"


def test_an_event_of_an_app_is_summarised_by_its_values() -> None:
    data = {"run": 48, "rul_cycles": 30.94, "sensors": ["epr", "farB", "T50"], "version": "7", "note": ""}
    text = formatting.summary("industrial.maintenance_due", data)
    assert text == "run 48, rul cycles 30.9, sensors epr farB T50"


def test_a_time_of_an_event_is_summarised_as_date_and_time() -> None:
    data = {"raised_ns": 1_795_535_000_000_000_000, "ended_ns": -1, "seen_ns": "x"}
    assert formatting.summary("ecg.alarm", data) == "raised 2026-11-24 15:43 UTC, ended ns -1, seen ns x"


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        [1, [2, [3]], {}],
        {},
        {"a": {"b": 1}, "c": [[1], {}]},
        {"step": {}, "version": [], "reason": 5, "detail": None},
        {"problem": 7, "detail": ["x"], "count": "many"},
        {str(number): "long " * 500 for number in range(500)},
    ],
)
@pytest.mark.parametrize(
    "kind", ["x.y", "edgeloop.adoption", "edgeloop.drift", "edgeloop.golden", "edgeloop.source"]
)
def test_whatever_a_node_sends_is_one_short_line(kind: str, data: Any) -> None:
    assert len(formatting.summary(kind, data)) <= formatting.SUMMARY_CHARACTERS


def test_the_subject_is_named_unless_it_is_the_node() -> None:
    event = {"type": "x.y", "node": "n", "subject": "pump", "data": {"level": 3}}
    assert formatting.event_summary(event) == "pump: level 3"
    assert formatting.event_summary({**event, "subject": "n"}) == "level 3"
    assert formatting.event_summary({**event, "subject": HOSTILE}) == f"{HOSTILE}: level 3"

"""Charts as options, from what the API gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apps.industrial.domain import CHANNELS, NOMINAL, SCALE, USED, USED_CHANNELS
from apps.industrial.pages import charts


def machine(name: str, lower: float, **more: Any) -> dict[str, Any]:
    return {
        "machine": name, "rul_cycles": lower + 5, "lower_cycles": lower, "upper_cycles": lower + 10,
        "horizon_cycles": 30.0, "due": False,
    } | more  # fmt: skip


def point(cycle: int, rul: float = 100.0, version: str = "v1") -> dict[str, Any]:
    return {
        "cycle": cycle, "rul_cycles": rul, "lower_cycles": rul - 5, "upper_cycles": rul + 5,
        "version": version,
    }  # fmt: skip


def series(options: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in options["series"] if each.get("name") == name)


def marks(options: dict[str, Any]) -> list[tuple[str, Any]]:
    found = series(options, "Remaining life")["markLine"]["data"]
    return [(mark["name"], mark.get("xAxis", mark.get("yAxis"))) for mark in found]


def test_intervals_stand_on_their_lower_bounds_against_each_horizon() -> None:
    options = charts.intervals([machine("a", 20.0), machine("b", 40.0, horizon_cycles=25.0)])
    lower, width = options["series"][:2]
    assert lower["data"] == [20.0, 40.0]
    assert [each["value"] for each in width["data"]] == [10.0, 10.0]
    assert series(options, "Horizon")["data"] == [[30.0, 0], [25.0, 1]]
    assert width["data"][0]["itemStyle"]["color"] != width["data"][1]["itemStyle"]["color"]


def test_intervals_show_no_more_machines_than_can_be_read() -> None:
    options = charts.intervals([machine(f"m{n}", float(n)) for n in range(60)])
    assert len(options["yAxis"]["data"]) == charts.CHART_MACHINES


def test_a_curve_stands_on_cycles_from_a_round_number() -> None:
    options = charts.curve([point(c) for c in range(1, 101)], 30.0)
    axis = options["xAxis"]
    assert (axis["data"][0], axis["data"][-1], axis["axisLabel"]["interval"]) == ("0", "100", 9)
    assert series(options, "Remaining life")["data"][:2] == [None, 100.0]
    assert marks(options) == [("horizon 30", 30.0)]


def test_a_curve_marks_alarms_changes_of_model_and_the_end() -> None:
    points = [point(1), point(2), point(3, version="v2"), point(4, version="v2")]
    outcome = {"kind": "failure", "end_cycle": 4}
    options = charts.curve(points, 25.0, [{"cycle": 2}], outcome)
    assert marks(options) == [("horizon 25", 25.0), ("alarm", "2"), ("model v2", "3"), ("failure", "4")]
    assert series(options, "What was true")["data"] == [3, 2, 1, 0]


def test_what_was_true_is_capped_and_goes_on_to_an_inspected_end() -> None:
    options = charts.curve(
        [point(c) for c in range(1, 11)], 30.0, (), {"kind": "inspection", "end_cycle": 140}
    )
    true = series(options, "What was true")["data"]
    assert (true[0], true[-1], options["xAxis"]["data"][-1]) == (125.0, 0, "140")


def test_an_end_far_away_does_not_stretch_the_curve() -> None:
    options = charts.curve([point(1), point(2)], 30.0, (), {"kind": "inspection", "end_cycle": 90_000})
    assert len(options["xAxis"]["data"]) < 300


def test_cycles_with_large_gaps_are_shown_side_by_side() -> None:
    options = charts.curve([point(5), point(90_000)], 30.0)
    assert options["xAxis"]["data"] == ["5", "90000"]


def test_a_run_without_cycles_has_an_empty_curve() -> None:
    assert charts.curve([], 30.0)["series"] == []


def sample(cycles: int = 80, **attributes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run whose T50 rises by 10 and whose phi falls by 5 of their noise at the end."""
    values = np.zeros((cycles, len(CHANNELS)))
    values[:, USED] = NOMINAL
    for name, noise in (("T50", 10.0), ("phi", -5.0)):
        place = USED_CHANNELS.index(name)
        values[-20:, USED[place]] += noise * SCALE[place]
    rows: list[Any] = values.tolist()
    rows[3][CHANNELS.index("T24")] = None
    about = {"attributes": {"first_cycle": 11, "channels": list(CHANNELS)} | attributes}
    return about, {"arrays": {"values": rows}}


def test_the_channels_that_moved_most_are_named_first() -> None:
    run = charts.SensorRun.of(*sample())
    assert run is not None
    (first, rise), (second, fall), *_ = run.largest_moves()
    assert (first, second) == ("T50", "phi")
    assert (rise, fall) == (pytest.approx(10.0), pytest.approx(-5.0))
    assert [each["name"] for each in charts.largest_moves(run)["series"]][:2] == ["T50", "phi"]


def test_a_sensor_is_drawn_at_the_runs_own_cycles_with_gaps_left_out() -> None:
    run = charts.SensorRun.of(*sample())
    assert run is not None
    data = charts.sensor(run, "T24")["series"][0]["data"]
    assert (data[0][0], data[-1][0], data[3]) == (11, 90, [14, None])


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ({"channels": "none"}, None),
        ({"channels": ["T24"]}, None),
        ({"first_cycle": "one"}, None),
        ({}, {"arrays": {}}),
        ({}, {"arrays": {"values": []}}),
        ({}, {"arrays": {"values": [[1.0]]}}),
        ({}, {"arrays": {"values": [["x"] * len(CHANNELS)]}}),
    ],
)
def test_what_is_no_run_of_a_turbofan_is_not_drawn(attributes: dict[str, Any], content: Any) -> None:
    about, good = sample(**attributes)
    assert charts.SensorRun.of(about, content or good) is None

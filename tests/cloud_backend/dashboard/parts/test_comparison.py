"""Comparisons of versions: comparable figures, and which version is better."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.dashboard.parts import comparison
from cloud_backend.dashboard.parts.comparison import Gauge


def a_gate(**changes: Any) -> dict[str, Any]:
    return {
        "passed": True,
        "figure": "rmse",
        "candidate": 7.5,
        "production": 30.0,
        "gain": 0.75,
        "reasons": [],
        "slices": [
            {
                "name": "fan",
                "candidate": 8.0,
                "production": 10.0,
                "worse_by": -0.2,
                "passed": True,
                "note": "",
            },
            {"name": "hpc", "candidate": 6.6, "production": 6.0, "worse_by": 0.1, "passed": True, "note": ""},
        ],
        "figures": {"rmse": 7.5, "coverage": 0.9},
        "production_figures": {"rmse": 30.0, "coverage": 0.8},
        **changes,
    }


def a_model(version: str, held_out: str = "", **changes: Any) -> dict[str, Any]:
    data = {"held_out_samples": held_out} if held_out else {}
    return {
        "version": version,
        "figures": {"rmse": 9.0},
        "slices": {"fan": 9.5},
        "manifest": {"lineage": {"data": data}},
        **changes,
    }


@pytest.mark.parametrize(
    ("gate", "higher_is_better"),
    [
        ({"candidate": 7.0, "production": 30.0, "gain": 0.7}, False),
        ({"candidate": 30.0, "production": 7.0, "gain": -3.0}, False),
        ({"candidate": 0.9, "production": 0.8, "gain": 0.1}, True),
        ({"candidate": 0.8, "production": 0.8, "gain": 0.0}, None),
        ({"candidate": 7.0, "production": None, "gain": None}, None),
    ],
)
def test_the_better_direction_is_read_from_a_gain(
    gate: dict[str, Any], higher_is_better: bool | None
) -> None:
    assert comparison.gauge_of([{"gate": {}}, {"gate": {"figure": "f", **gate}}]) == Gauge(
        "f", higher_is_better
    )


def test_an_inconclusive_job_is_skipped() -> None:
    first = {"gate": {"figure": "f", "candidate": 1.0, "production": None, "gain": None}}
    assert comparison.gauge_of([first, {"gate": a_gate(figure="f")}]) == Gauge("f", False)
    assert comparison.gauge_of([]) == Gauge()


@pytest.mark.parametrize(
    ("own", "other", "higher", "text", "tone"),
    [
        (7.5, 30.0, False, "better by 75 %", "good"),
        (6.6, 6.0, False, "worse by 10 %", "bad"),
        (0.9, 0.8, True, "better by 12 %", "good"),
        (0.9, 0.8, None, "higher by 12 %", ""),
        (0.802, 0.8, None, "higher by 0.25 %", ""),
        (0.8, 0.8, True, "the same", ""),
        (0.0, 0.0, False, "the same", ""),
        (0.5, 0.0, False, "worse", "bad"),
        (1.0, None, True, "measured on one only", ""),
        (None, None, True, "", ""),
        (float("nan"), 1.0, True, "measured on one only", ""),
    ],
)
def test_changes_as_text(own: Any, other: Any, higher: bool | None, text: str, tone: str) -> None:
    assert comparison.change(own, other, higher) == (text, tone)


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.5646, "7.565"), (0.92, "0.92"), (12_400.3, "12,400"), (0, "0"), ("x", "–"), (None, "–")],
)
def test_figures_have_four_digits(value: Any, text: str) -> None:
    assert comparison.figure(value) == text


def test_a_job_that_measured_both_comes_first() -> None:
    job = {"id": "job-1", "version": "v2", "parent": "v1", "gate": a_gate()}
    pair = comparison.pair(a_model("v2"), a_model("v1"), job, None)
    assert (pair.figures["rmse"], pair.other_figures["rmse"]) == (7.5, 30.0)
    assert (pair.slices, pair.other_slices) == ({"fan": 8.0, "hpc": 6.6}, {"fan": 10.0, "hpc": 6.0})
    assert pair.exact
    assert "job-1" in pair.basis
    other_way = comparison.pair(a_model("v1"), a_model("v2"), None, job)
    assert (other_way.figures["rmse"], other_way.other_figures["rmse"]) == (30.0, 7.5)
    assert other_way.slices == {"fan": 10.0, "hpc": 6.0}


def test_a_comparison_on_different_samples_is_marked_as_such() -> None:
    job = {"id": "job-1", "version": "v2", "parent": "v0", "gate": a_gate()}
    pair = comparison.pair(a_model("v2", "aa"), a_model("v1", "bb"), job, None)
    assert not pair.exact
    assert "different held-out samples" in pair.basis
    assert pair.figures == {"rmse": 9.0}
    assert comparison.pair(a_model("v2", "aa"), a_model("v1", "aa"), job, None).exact
    assert not comparison.pair(a_model("v2"), a_model("v1"), None, None).exact


def test_the_gates_report_is_a_row_per_figure_and_slice() -> None:
    rows = comparison.gate_rows(a_gate(), Gauge("rmse", False))
    assert [(row["name"], row["change"], row["verdict"]) for row in rows] == [
        ("rmse", "better by 75 %", "passed"),
        ("fan", "better by 20 %", "passed"),
        ("hpc", "worse by 10 %", "passed"),
    ]
    assert rows[2]["change_tone"] == "warn"


def test_a_failed_row_has_its_reason() -> None:
    slices = [
        {"name": "fan", "candidate": 20.0, "production": 10.0, "passed": False, "note": "worse by 100%"}
    ]
    reasons = ["rmse is 31, production's 30: not better", "slice fan: worse by 100%"]
    gate = a_gate(passed=False, candidate=31.0, gain=-0.03, reasons=reasons, slices=slices)
    figure, fan = comparison.gate_rows(gate, comparison.gauge_of([{"gate": gate}]))
    assert (figure["verdict"], figure["note"]) == ("failed", reasons[0])
    assert (fan["verdict"], fan["note"], fan["change_tone"]) == ("failed", "worse by 100%", "bad")


def test_a_first_model_has_nothing_to_beat() -> None:
    slices = [{"name": "fan", "candidate": 8.0, "production": None, "passed": True, "note": "only here"}]
    rows = comparison.gate_rows(a_gate(production=None, gain=None, slices=slices), Gauge("rmse"))
    assert [(row["other"], row["verdict"]) for row in rows] == [("–", "passed")] * 2


def test_rows_have_the_figures_of_either_version() -> None:
    rows = comparison.rows({"a": 1.0, "b": 2.0}, {"b": 1.0, "c": 3.0}, {"b": True})
    assert [(row["name"], row["own"], row["other"]) for row in rows] == [
        ("a", "1", "–"),
        ("b", "2", "1"),
        ("c", "–", "3"),
    ]
    assert rows[1]["change"] == "better by 100 %"


def test_bars_are_shares_of_the_largest() -> None:
    bars = {row["name"]: row["bar"] for row in comparison.bars({"a": 4.0, "b": 1.0, "c": float("nan")})}
    assert bars == {"a": 1.0, "b": 0.25, "c": None}
    assert comparison.bars({"a": 0.0})[0]["bar"] is None

"""Comparison of two versions: comparable figures, and which version is better. Pure.

The better direction is read from the sign of the gain in a gate's report: the gate knows the app's rule. For
other figures the result is only *higher* or *lower*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_backend.dashboard.parts.formatting import NONE, number
from common.pages.blocks import Tone

SAME_SHARE = 0.0005
"""Relative difference below which two values count as equal."""
HELD_OUT = "held_out_samples"


@dataclass(frozen=True, slots=True)
class Gauge:
    """The gate's figure; ``higher_is_better`` is None as long as no report shows it."""

    figure: str = ""
    higher_is_better: bool | None = None

    def direction(self, name: str) -> bool | None:
        """Whether higher is better for the figure ``name``."""
        return self.higher_is_better if name == self.figure else None


@dataclass(frozen=True, slots=True)
class Pair:
    """Figures and slices of two versions, and the basis of their comparison."""

    figures: Mapping[str, float]
    other_figures: Mapping[str, float]
    slices: Mapping[str, float]
    other_slices: Mapping[str, float]
    basis: str
    exact: bool


def gauge_of(jobs: Iterable[Mapping[str, Any]]) -> Gauge:
    """The gate's figure and direction, from the newest job with a conclusive report."""
    figure = ""
    for job in jobs:
        gate = job.get("gate") or {}
        figure = figure or str(gate.get("figure", ""))
        own, other, gain = (number(gate, name) for name in ("candidate", "production", "gain"))
        if own is not None and other is not None and gain and own != other:
            return Gauge(str(gate["figure"]), (gain > 0) == (own > other))
    return Gauge(figure)


def figure(value: object) -> str:
    """``7.565``, ``12,400``: four significant digits; a dash for a value that is no number."""
    known = number({"value": value}, "value")
    if known is None:
        return NONE
    return f"{known:,.0f}" if abs(known) >= 10_000 else f"{known:.4g}"


def change(own: object, other: object, higher_is_better: bool | None) -> tuple[str, Tone]:
    """Change of ``own`` relative to ``other``, such as ``better by 76 %``, and its tone."""
    mine, theirs = number({"value": own}, "value"), number({"value": other}, "value")
    if mine is None or theirs is None:
        return ("" if mine is None and theirs is None else "measured on one only"), ""
    difference = mine - theirs
    if abs(difference) <= SAME_SHARE * abs(theirs):
        return "the same", ""
    by = f" by {_share(abs(difference / theirs))}" if theirs else ""
    if higher_is_better is None:
        return ("higher" if difference > 0 else "lower") + by, ""
    better = (difference > 0) == higher_is_better
    return ("better" if better else "worse") + by, "good" if better else "bad"


def pair(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    job: Mapping[str, Any] | None,
    other_job: Mapping[str, Any] | None,
) -> Pair:
    """The comparable figures of two versions, with the jobs that trained them, if any.

    Preferred are the figures of a job that trained one from the other: it measured both on the same sets.
    """
    if _measured_both(job, one, other):
        return _of_gate(job or {}, swapped=False)
    if _measured_both(other_job, other, one):
        return _of_gate(other_job or {}, swapped=True)
    held_out, others = (_data(each).get(HELD_OUT) for each in (one, other))
    if held_out and held_out == others:
        basis, exact = "Both were measured on the same held-out samples.", True
    else:
        basis, exact = (
            "Measured on different held-out samples, each when its version was made: "
            "a difference may be due to the samples.",
            False,
        )
    return Pair(one["figures"], other["figures"], one["slices"], other["slices"], basis, exact)


def rows(
    own: Mapping[str, float], other: Mapping[str, float], direction: Mapping[str, bool | None] | bool | None
) -> list[dict[str, Any]]:
    """Rows of figures side by side; ``direction`` is one for all, or by name."""
    found: list[dict[str, Any]] = []
    for name in [*own, *(each for each in other if each not in own)]:
        higher_is_better = direction.get(name) if isinstance(direction, Mapping) else direction
        text, tone = change(own.get(name), other.get(name), higher_is_better)
        found.append(
            {
                "id": name,
                "name": name,
                "own": figure(own.get(name)),
                "other": figure(other.get(name)),
                "change": text,
                "change_tone": tone,
            }
        )
    return found


def gate_rows(gate: Mapping[str, Any], gauge: Gauge) -> list[dict[str, Any]]:
    """The gate's report as rows: the figure, then every slice, each with its verdict."""
    reasons = [str(reason) for reason in gate.get("reasons", [])]
    failures = [reason for reason in reasons if not reason.startswith("slice ")]
    higher_is_better = gauge.higher_is_better
    first = _gate_row(
        "figure", str(gate.get("figure", "")), gate.get("candidate"), gate.get("production"), higher_is_better
    )
    verdict = [first | _verdict(not failures) | {"note": "; ".join(failures) or "decisive"}]
    for each in gate.get("slices", []):
        name = str(each.get("name", ""))
        row = _gate_row(
            f"slice:{name}", name, each.get("candidate"), each.get("production"), higher_is_better
        )
        passed = each.get("passed") is True
        if passed and row["change_tone"] == "bad":
            row["change_tone"] = "warn"  # worse, within the gate's tolerance
        verdict.append(row | _verdict(passed) | {"note": str(each.get("note", ""))})
    return verdict


def bars(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of slices with bars relative to the largest."""
    numbers = {name: number(values, name) for name in values}
    largest = max((abs(value) for value in numbers.values() if value is not None), default=0.0)
    return [
        {
            "id": name,
            "name": name,
            "bar": abs(value) / largest if value is not None and largest else None,
            "bar_text": figure(value),
        }
        for name, value in numbers.items()
    ]


def _gate_row(
    id: str, name: str, candidate: Any, production: Any, higher_is_better: bool | None
) -> dict[str, Any]:
    text, tone = change(candidate, production, higher_is_better)
    return {
        "id": id,
        "name": name,
        "own": figure(candidate),
        "other": figure(production),
        "change": text,
        "change_tone": tone,
    }


def _verdict(passed: bool) -> dict[str, str]:
    return {"verdict": "passed" if passed else "failed", "verdict_tone": "good" if passed else "bad"}


def _measured_both(job: Mapping[str, Any] | None, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if job is None or (job.get("version"), job.get("parent")) != (one["version"], other["version"]):
        return False
    return bool((job.get("gate") or {}).get("production_figures"))


def _of_gate(job: Mapping[str, Any], *, swapped: bool) -> Pair:
    gate = job["gate"]
    slices: Sequence[Mapping[str, Any]] = gate.get("slices", [])
    sides = [
        (gate.get("figures", {}), _slices(slices, "candidate")),
        (gate["production_figures"], _slices(slices, "production")),
    ]
    (figures, own), (other_figures, others) = reversed(sides) if swapped else sides
    basis = f"Measured by the gate of {job['id']}, on the same held-out samples and sets."
    return Pair(figures, other_figures, own, others, basis, True)


def _slices(slices: Sequence[Mapping[str, Any]], side: str) -> dict[str, float]:
    return {str(each["name"]): each[side] for each in slices if number(each, side) is not None}


def _data(model: Mapping[str, Any]) -> Mapping[str, Any]:
    lineage = (model.get("manifest") or {}).get("lineage") or {}
    return lineage.get("data") or {}


def _share(share: float) -> str:
    percent = 100 * share
    return f"{percent:,.0f} %" if percent >= 10 else f"{percent:.2g} %"

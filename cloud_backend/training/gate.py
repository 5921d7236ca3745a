"""The gate: is a candidate better than production, and worse nowhere that matters?

Pure. Rules:

- The rule's figure must be a finite number for both, must improve, and by at least ``least_gain``
  (relative to production).
- Every slice that production was measured on is guarded: the candidate may be worse on it by at most
  ``slice_tolerance`` (relative). A slice on which the candidate was not measured, or is not a number,
  counts as fallen. A slice that only the candidate has is reported and judges nothing.
- NaN never passes.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from common.app import Figure, GateRule, Metrics


class SliceVerdict(msgspec.Struct, frozen=True):
    """One slice: its values, how much worse the candidate is (relative), and whether that is allowed."""

    name: str
    candidate: float | None
    production: float | None
    worse_by: float | None
    passed: bool
    note: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What the gate found; ``reasons`` are empty if it passed."""

    passed: bool
    figure: str
    candidate: float | None
    production: float | None
    gain: float | None
    """Relative improvement over production; None where there is nothing to compare."""
    reasons: list[str]
    slices: list[SliceVerdict]

    def report(self) -> dict[str, Any]:
        """As JSON values."""
        return msgspec.to_builtins(self)


def judge(rule: GateRule, candidate: Metrics, production: Metrics | None) -> Verdict:
    """Judge ``candidate``. ``production`` is None for an app's first model, which has nothing to beat."""
    reasons: list[str] = []
    own = _value(candidate.figures.get(rule.figure))
    other = _value(production.figures.get(rule.figure)) if production is not None else None
    gain: float | None = None
    if own is None:
        reasons.append(f"{rule.figure} of the candidate is missing or not a number")
    elif production is not None and other is None:
        reasons.append(f"{rule.figure} of production is missing or not a number: nothing to compare with")
    elif other is not None:
        gain = -_worse_by(rule, own, other)
        if not gain > 0:
            reasons.append(f"{rule.figure} is {own:.6g}, production's {other:.6g}: not better")
        elif not gain >= rule.least_gain:
            reasons.append(
                f"{rule.figure} is {own:.6g}, production's {other:.6g}: better by {gain:.2%}, "
                f"at least {rule.least_gain:.2%} is asked"
            )
    slices = _judge_slices(rule, candidate, production)
    reasons += [f"slice {s.name}: {s.note}" for s in slices if not s.passed]
    return Verdict(not reasons, rule.figure, own, other, _finite(gain), reasons, slices)


def _judge_slices(rule: GateRule, candidate: Metrics, production: Metrics | None) -> list[SliceVerdict]:
    guarded = production.slices if production is not None else {}
    verdicts: list[SliceVerdict] = []
    for name in sorted({*candidate.slices, *guarded}):
        own, other = _value(candidate.slices.get(name)), _value(guarded.get(name))
        if name not in guarded:
            verdicts.append(SliceVerdict(name, own, None, None, True, "measured on the candidate only"))
        elif other is None:
            verdicts.append(SliceVerdict(name, own, None, None, True, "production has no number on it"))
        elif own is None:
            verdicts.append(SliceVerdict(name, None, other, None, False, "the candidate has no number on it"))
        else:
            worse = _worse_by(rule, own, other)
            passed = worse <= rule.slice_tolerance
            note = "" if passed else f"{own:.6g} against {other:.6g}, worse by {worse:.2%}"
            verdicts.append(SliceVerdict(name, own, other, _finite(worse), passed, note))
    return verdicts


def _value(figure: Figure | None) -> float | None:
    return _finite(figure.value) if figure is not None else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _worse_by(rule: GateRule, own: float, other: float) -> float:
    """How much worse ``own`` is than ``other``, relative to ``other``; infinite where that is zero."""
    difference = other - own if rule.higher_is_better else own - other
    if difference == 0:
        return 0.0
    return difference / abs(other) if other != 0 else math.copysign(math.inf, difference)

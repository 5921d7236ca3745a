"""The gate: a candidate must be better than production, and on no guarded slice worse.

Pure. Rules:

- The rule's figure must be a finite number for both, must improve, and by at least ``min_gain``
  (relative to production).
- Every slice that production was measured on is guarded: the candidate may be worse on it by at most
  ``slice_tolerance`` (relative). A slice on which the candidate was not measured, or is not a number,
  counts as fallen. A slice that only the candidate has is reported and judges nothing.
- Approval needs evidence: cases from the field that this job held out and that neither model was trained
  on, at least ``min_evidence`` of them. Virtual data alone is none. Without evidence a person may approve,
  with a reason.
- NaN never passes, and neither does a figure that was recorded before instead of measured now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from common.app.training import Figure, GateRule, Metrics


class SliceVerdict(msgspec.Struct, frozen=True):
    """One slice: its values, how much worse the candidate is (relative), and whether that is allowed."""

    name: str
    candidate: float | None
    production: float | None
    worse_by: float | None
    passed: bool
    note: str = ""


class HeldOut(msgspec.Struct, frozen=True):
    """Samples kept from training: number of labelled held-out ones, and of those from virtual nodes.

    ``unknown`` names the versions among production and its ancestors that learned from samples which are not
    on record here, so that only the fixed split of groups vouches for what they have not seen.
    """

    labelled_samples: int = 0
    virtual_samples: int = 0
    unknown: list[str] = []


class Verdict(msgspec.Struct, frozen=True):
    """The verdict of the gate; ``reasons`` are empty if it passed.

    ``evidence`` counts the held-out cases from the field that both models were judged on, by what they are;
    ``basis`` is the text that names it.
    """

    passed: bool
    figure: str
    candidate: float | None
    production: float | None
    gain: float | None
    """Relative improvement over production; None where there is nothing to compare."""
    reasons: list[str]
    slices: list[SliceVerdict]
    evidence: dict[str, int]
    basis: str

    def report(self) -> dict[str, Any]:
        """As JSON values."""
        return msgspec.to_builtins(self)


_NOTHING = HeldOut()


def judge(
    rule: GateRule, candidate: Metrics, production: Metrics | None, held_out: HeldOut = _NOTHING
) -> Verdict:
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
        elif not gain >= rule.min_gain:
            reasons.append(
                f"{rule.figure} is {own:.6g}, production's {other:.6g}: better by {gain:.2%}, "
                f"at least {rule.min_gain:.2%} is required"
            )
    slices = _judge_slices(rule, candidate, production)
    reasons += [f"slice {s.name}: {s.note}" for s in slices if not s.passed]
    evidence = _evidence(candidate, held_out)
    cases = sum(evidence.values())
    if cases < rule.min_evidence:
        labelled = held_out.labelled_samples
        unusable = f", and none of the {labelled} labelled samples held out could be" if labelled else ""
        reasons.append(
            f"no evidence: it was judged on {cases} held-out cases from the field, at least "
            f"{rule.min_evidence} are needed{unusable if not cases else ''}. Label samples of more groups "
            "and train again, or approve by hand with a reason"
        )
    return Verdict(
        not reasons,
        rule.figure,
        own,
        other,
        _finite(gain),
        reasons,
        slices,
        evidence,
        _basis(evidence, production is not None, held_out),
    )


def _evidence(candidate: Metrics, held_out: HeldOut) -> dict[str, int]:
    counted = candidate.evidence
    if counted is None:
        counted = {"labelled samples": held_out.labelled_samples}
    return {name: count for name, count in counted.items() if count > 0}


def _basis(evidence: Mapping[str, int], compared: bool, held_out: HeldOut) -> str:
    """The basis of a verdict, as text."""
    if not evidence:
        return "nothing that was held out; virtual data alone is no evidence"
    cases = ", ".join(f"{count} {name}" for name, count in evidence.items())
    basis = f"{cases} from the field, held out from {'both models' if compared else 'training'}"
    if held_out.virtual_samples:
        basis += (
            f"; {held_out.virtual_samples} of the {held_out.labelled_samples} labelled samples held out came "
            "from nodes with virtual sensors"
        )
    if held_out.unknown:
        learners = ", ".join(held_out.unknown)
        basis += f"; the samples that {learners} learned from are not on record here"
    return basis


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
    return _finite(figure.value) if figure is not None and not figure.recorded else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _worse_by(rule: GateRule, own: float, other: float) -> float:
    """Relative deterioration of ``own`` against ``other``; infinite if ``other`` is zero."""
    difference = other - own if rule.higher_is_better else own - other
    if difference == 0:
        return 0.0
    return difference / abs(other) if other != 0 else math.copysign(math.inf, difference)

"""Learning from the field: what clinicians said about strips, and the corrections that follow from it.

A sample is 30 s of one lead (`apps.ecg.edge.excerpts`). A label of kind ``beats`` names all beats
between two times, one of kind ``rhythm`` the rhythm; what is outside was not seen, and is neither learnt nor
judged. Between the times of a label,

- a peak of the device near a named beat is a beat of that class,
- a peak without one, which a clinician has removed, is learnt as Q and judged as a false beat,
- a named beat without a peak, which a clinician has added, counts as missed in the patient's score. Nothing
  is learnt from it: the model classifies peaks, it does not find them.

`fit_correction` moves a linear correction of the model's scores (multinomial logistic regression with the
model's own scores as offset), held near to where it was in two ways: by a penalty, and by known recordings,
on which what the model says now is what is wanted of it (learning without forgetting: Li, Hoiem 2017). So the
field is the only force, and what a job without mistakes to learn from makes is nearly what there was.

A patient of the field counts like a known one, however many strips there are, and all of them together like
all known ones at most: a single strip moves the model little, many patients move it half of the way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.ring import MISSING
from apps.ecg.training.examples import FIBRILLATION, UNKNOWN, Examples, Truth, beat_rows
from apps.ecg.training.graph import Correction
from apps.ecg.training.scoring import WINDOW_S, matched
from common.app.training import Label, LabelledSample

PENALTY = 0.02
STEPS = 200
_SILENT_ON_AF = frozenset({"VT", "pause", "unknown"})
"""Rhythms that AF may lie under: who names the run says nothing of what the atria do."""
_WARM_BEATS = 3
"""First beats of a strip that are not learnt from or judged: there is no template yet."""


def strips_of(samples: Sequence[LabelledSample]) -> tuple[list[Examples], list[str]]:
    """Strips that can be learnt from, as examples of their patient, and why others cannot."""
    strips: list[Examples] = []
    refused: list[str] = []
    for labelled in samples:
        try:
            found = _strip(labelled)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            found = f"it is no strip, or a label of it is none: {error!r}"
        if isinstance(found, Examples):
            strips.append(found)
        elif found:
            refused.append(f"{labelled.sample.group}: {found}")
    return strips, refused


@dataclass(frozen=True, slots=True)
class _Said:
    """What a label says of a strip between two of its samples."""

    begin: int
    end: int
    body: Mapping[str, Any]


def _strip(labelled: LabelledSample) -> Examples | str | None:
    sample, attributes = labelled.sample, labelled.sample.attributes
    rate, began_ns = float(attributes["rate_hz"]), int(attributes["began_ns"])
    steps, peaks = np.asarray(sample.arrays["signal"])[:, 0], sample.arrays["peaks"].astype(np.int64)
    kinds = sample.arrays["kinds"]
    signal = np.where(steps == MISSING, np.nan, steps * float(attributes["lsb_mv"]))
    beats, rhythms = (
        _said(labelled.labels, kind, began_ns, rate, len(signal)) for kind in ("beats", "rhythm")
    )
    if not beats and not rhythms:
        return None
    if len(peaks) != len(kinds) or len(peaks) <= _WARM_BEATS or np.any(np.diff(peaks) <= 0):
        return f"{len(peaks)} peaks and {len(kinds)} classes"
    rows = beat_rows(signal, rate, peaks)
    truth, extra, missed = _beats(beats, peaks, rate)
    rhythms = [each for each in rhythms if each.body["rhythm"] not in _SILENT_ON_AF]
    spans = tuple((each.begin, each.end) for each in rhythms)
    fibrillating = tuple((e.begin, e.end) for e in rhythms if e.body["rhythm"] in FIBRILLATION)
    count = len(rows)  # The last beats have none: what comes after them is not there.
    known = Truth(rows.samples, truth[:count], (), fibrillating, spans)
    return Examples(sample.group, 0, rate, rows, truth[:count], extra[:count], missed, known)


def _said(labels: Sequence[Label], kind: str, began_ns: int, rate_hz: float, length: int) -> list[_Said]:
    """What labels of a kind say of a strip of ``length`` samples; where two overlap, the newer one counts.

    A label of beats that does not tell its end was seen up to its last beat.
    """
    found: list[tuple[str, _Said]] = []
    about = [label for label in labels if label.kind in (kind, "unreadable")]
    for label in sorted(about, key=lambda label: -label.created_ns):
        first_ns = int(label.body["began_ns"])
        last_ms = max((beat["at_ms"] for beat in label.body.get("beats") or ()), default=0.0)
        last_ns = int(label.body.get("ended_ns", first_ns + 1e6 * last_ms))
        begin, end = (round((at_ns - began_ns) / 1e9 * rate_hz) for at_ns in (first_ns, last_ns))
        apart = all(end <= each.begin or begin >= each.end for _, each in found)
        if begin < length and end > 0 and apart:
            found.append((label.kind, _Said(begin, end, label.body)))
    return [each for of_kind, each in found if of_kind == kind]


def _beats(
    said: Sequence[_Said], peaks: NDArray[np.int64], rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Class of each peak, whether there is no beat at it, and the classes of beats without a peak.

    A peak that nobody has seen is `UNKNOWN`; so is one at the border of what was seen, unless it is named.
    """
    window = round(WINDOW_S * rate_hz)
    named = sorted(
        (each.begin + round(beat["at_ms"] / 1e3 * rate_hz), KINDS.index(beat["kind"]))
        for each in said
        for beat in each.body["beats"]
    )
    samples, kinds = np.array(named, np.int64).reshape(-1, 2).T
    at = matched(peaks, samples, window)
    extra = np.zeros(len(peaks), bool)
    for each in said:
        extra |= (at < 0) & (peaks >= each.begin + window) & (peaks < each.end - window)
    truth = np.where(extra, KINDS.index("Q"), UNKNOWN)
    truth[at >= 0] = kinds[at[at >= 0]]
    truth[:_WARM_BEATS], extra[:_WARM_BEATS] = UNKNOWN, False
    missed = (samples > peaks[_WARM_BEATS - 1]) & (samples < peaks[-1])
    missed[at[at >= 0]] = False
    return truth, extra, kinds[missed]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows for a correction: standardized features, the trees' scores and the probabilities that are wanted,
    both ``(n, targets)``, and weights."""

    scaled: NDArray[np.float32]
    offsets: NDArray[np.float64]
    wanted: NDArray[np.float64]
    weights: NDArray[np.float64]


def field_weight(field: Collection[str], known: Collection[str]) -> float:
    """What the patients of the field weigh against all known ones; both are the patients of rows."""
    return min(1.0, len(set(field)) / len(set(known)))


def balanced(truth: NDArray[np.int64], groups: NDArray, total: float) -> NDArray[np.float64]:
    """Weights that sum to ``total``: groups count equal, classes in a group by the root of their number."""
    weights = np.zeros(len(truth))
    for group in np.unique(groups):
        inside = groups == group
        share = np.bincount(truth[inside])[truth[inside]].astype(float) ** -0.5
        weights[inside] = share / share.sum()
    return weights * (total / max(weights.sum(), 1e-9))


def fit_correction(lessons: Sequence[Lesson], start: Correction, penalty: float = PENALTY) -> Correction:
    """The correction that explains the lessons, near to ``start``.

    One target is the log odds of class 1. Minimized by L-BFGS (Liu, Nocedal 1989).
    """
    from scipy.optimize import minimize

    scaled = np.concatenate([lesson.scaled for lesson in lessons]).astype(np.float64)
    offsets = np.concatenate([lesson.offsets for lesson in lessons])
    wanted = np.concatenate([lesson.wanted for lesson in lessons])
    weights = np.concatenate([lesson.weights for lesson in lessons])
    weights = weights / weights.sum()
    targets = offsets.shape[1]
    first = np.concatenate([start.weights, start.bias[np.newaxis]]).astype(np.float64)
    inputs = np.hstack([scaled, np.ones((len(scaled), 1))])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = flat.reshape(first.shape)
        scored = offsets + inputs @ moved
        if targets > 1:
            scored = scored - scored.max(axis=1, keepdims=True)
            logs = scored - np.log(np.exp(scored).sum(axis=1, keepdims=True))
            value, chances = -np.sum(weights @ (wanted * logs)), np.exp(logs)
        else:
            losses = wanted * np.logaddexp(0, -scored) + (1 - wanted) * np.logaddexp(0, scored)
            value, chances = np.sum(weights @ losses), 1 / (1 + np.exp(-scored))
        slope = inputs.T @ (weights[:, np.newaxis] * (chances - wanted))
        away = moved - first
        return float(value + penalty * np.sum(away**2)), (slope + 2 * penalty * away).ravel()

    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    moved = found.reshape(first.shape).astype(np.float32)
    return Correction(moved[:-1], moved[-1])

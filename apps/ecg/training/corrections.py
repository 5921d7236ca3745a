"""Corrections of the model from field labels: clinicians' reviews of strips.

A sample is 30 s of one lead (`apps.ecg.edge.reports.excerpts`). A label of kind ``beats`` has all beats
between two times, one of kind ``rhythm`` the rhythm; signal outside was not reviewed, and is neither used for
training nor for evaluation. Between the times of a label,

- a peak of the device near a labelled beat is a beat of that class,
- a peak without one, removed by the clinician, is trained as Q and evaluated as a false beat,
- a labelled beat without a peak, added by the clinician, counts as missed in the patient's score. It is not
  used for training: the model classifies peaks, it does not find them.

`fit_correction` moves a linear correction of the model's scores (multinomial logistic regression with the
model's own scores as offset), kept near its start in two ways: by a penalty, and by known recordings, on
which the current output is the target (learning without forgetting: Li, Hoiem 2017). So only field labels
move it, and a job without mistakes to correct leaves the model nearly unchanged.

A field patient weighs as much as a known one, independent of the number of strips, and all field patients at
most as much as all known ones: a single strip moves the model little, many patients move it half way.
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
"""Rhythms that may coexist with AF: their labels are no statement on the atria."""
_WARM_BEATS = 3
"""Number of beats at the start of a strip without training and evaluation, as there is no template yet."""


def strips_of(samples: Sequence[LabelledSample]) -> tuple[list[Examples], list[str]]:
    """Usable strips as examples of their patient, and the reasons against others."""
    strips: list[Examples] = []
    refused: list[str] = []
    for labelled in samples:
        try:
            found = _strip(labelled)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            found = f"malformed sample or label: {error!r}"
        if isinstance(found, Examples):
            strips.append(found)
        elif found:
            refused.append(f"{labelled.sample.group}: {found}")
    return strips, refused


@dataclass(frozen=True, slots=True)
class _StripLabel:
    """A label of a strip between two of its samples."""

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
        _labels(labelled.labels, kind, began_ns, rate, len(signal)) for kind in ("beats", "rhythm")
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
    count = len(rows)  # The last beats have no row: the signal after them is missing.
    known = Truth(rows.samples, truth[:count], (), fibrillating, spans)
    return Examples(sample.group, 0, rate, rows, truth[:count], extra[:count], missed, known)


def _labels(
    labels: Sequence[Label], kind: str, began_ns: int, rate_hz: float, length: int
) -> list[_StripLabel]:
    """Labels of a kind on a strip of ``length`` samples; of two that overlap, the newer one counts.

    A label of beats without an end extends to its last beat.
    """
    found: list[tuple[str, _StripLabel]] = []
    about = [label for label in labels if label.kind in (kind, "unreadable")]
    for label in sorted(about, key=lambda label: -label.created_ns):
        first_ns = int(label.body["began_ns"])
        last_ms = max((beat["at_ms"] for beat in label.body.get("beats") or ()), default=0.0)
        last_ns = int(label.body.get("ended_ns", first_ns + 1e6 * last_ms))
        begin, end = (round((at_ns - began_ns) / 1e9 * rate_hz) for at_ns in (first_ns, last_ns))
        apart = all(end <= each.begin or begin >= each.end for _, each in found)
        if begin < length and end > 0 and apart:
            found.append((label.kind, _StripLabel(begin, end, label.body)))
    return [each for of_kind, each in found if of_kind == kind]


def _beats(
    labels: Sequence[_StripLabel], peaks: NDArray[np.int64], rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Class of each peak, whether it is a false one, and the classes of beats without a peak.

    An unreviewed peak is `UNKNOWN`; so is one at the border of a label, unless it matches a beat.
    """
    window = round(WINDOW_S * rate_hz)
    named = sorted(
        (each.begin + round(beat["at_ms"] / 1e3 * rate_hz), KINDS.index(beat["kind"]))
        for each in labels
        for beat in each.body["beats"]
    )
    samples, kinds = np.array(named, np.int64).reshape(-1, 2).T
    at = matched(peaks, samples, window)
    extra = np.zeros(len(peaks), bool)
    for each in labels:
        extra |= (at < 0) & (peaks >= each.begin + window) & (peaks < each.end - window)
    truth = np.where(extra, KINDS.index("Q"), UNKNOWN)
    truth[at >= 0] = kinds[at[at >= 0]]
    truth[:_WARM_BEATS], extra[:_WARM_BEATS] = UNKNOWN, False
    missed = (samples > peaks[_WARM_BEATS - 1]) & (samples < peaks[-1])
    missed[at[at >= 0]] = False
    return truth, extra, kinds[missed]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Training rows of a correction: standardized features, the trees' scores and the target probabilities,
    both ``(n, targets)``, and weights."""

    scaled: NDArray[np.float32]
    offsets: NDArray[np.float64]
    wanted: NDArray[np.float64]
    weights: NDArray[np.float64]


def field_weight(field: Collection[str], known: Collection[str]) -> float:
    """Weight of the field patients relative to all known ones; both are the patients of rows."""
    return min(1.0, len(set(field)) / len(set(known)))


def balanced(truth: NDArray[np.int64], groups: NDArray[Any], total: float) -> NDArray[np.float64]:
    """Weights that sum to ``total``: equal groups, classes in a group by the root of their number."""
    weights = np.zeros(len(truth))
    for group in np.unique(groups):
        inside = groups == group
        share = np.bincount(truth[inside])[truth[inside]].astype(float) ** -0.5
        weights[inside] = share / share.sum()
    return weights * (total / max(weights.sum(), 1e-9))


def fit_correction(lessons: Sequence[Lesson], start: Correction, penalty: float = PENALTY) -> Correction:
    """The correction that fits the lessons, near ``start``.

    A single target is the log odds of class 1. Minimized by L-BFGS (Liu, Nocedal 1989).
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

"""Learning from the field: what clinicians said about strips, and the corrections that follow from it.

A sample is 30 s of one lead (`apps.ecg.streaming.excerpts`), a label of kind ``beats`` names classes of its
beats, one of kind ``rhythm`` says what rhythm there was between two times. A strip with a label has been
looked at: beats that the label does not name are as the device called them.

`fit_correction` moves a linear correction of the model's scores (multinomial logistic regression with the
model's own scores as offset), held near to where it was by a penalty, so that few strips move it little.
Known recordings are replayed with them, with the same weight, so that nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.ecg.examples import FIBRILLATION, UNKNOWN, Examples, Truth, beat_rows
from apps.ecg.graph import Correction
from apps.ecg.scoring import WINDOW_S, matched
from apps.ecg.streaming.beats import KINDS
from apps.ecg.streaming.ring import MISSING
from common.app import Label, LabelledSample

PENALTY = 0.02
STEPS = 200
_WARM_BEATS = 3
"""First beats of a strip that are not learnt from or judged: there is no template yet."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A labelled strip: its beats as examples, the rhythm that was named (AF or not), or None."""

    examples: Examples
    fibrillating: bool | None


def strips_of(samples: Sequence[LabelledSample]) -> tuple[list[Strip], list[str]]:
    """Strips that can be learnt from, and why others cannot."""
    strips: list[Strip] = []
    refused: list[str] = []
    for labelled in samples:
        found = _strip(labelled)
        if isinstance(found, Strip):
            strips.append(found)
        elif found:
            refused.append(f"{labelled.sample.group}: {found}")
    return strips, refused


def _strip(labelled: LabelledSample) -> Strip | str | None:
    sample, attributes = labelled.sample, labelled.sample.attributes
    try:
        rate, began_ns = float(attributes["rate_hz"]), int(attributes["began_ns"])
        steps, peaks = np.asarray(sample.arrays["signal"])[:, 0], sample.arrays["peaks"].astype(np.int64)
        kinds = sample.arrays["kinds"].astype(np.int64)
        signal = np.where(steps == MISSING, np.nan, steps * float(attributes["lsb_mv"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return f"it is no strip: {error!r}"
    ended_ns = began_ns + round(1e9 * len(signal) / rate)
    beats = _newest(label for label in labelled.labels if _about(label, "beats", began_ns, ended_ns))
    rhythm = _newest(label for label in labelled.labels if _about(label, "rhythm", began_ns, ended_ns))
    if beats is None and rhythm is None:
        return None
    if len(peaks) != len(kinds) or len(peaks) <= _WARM_BEATS or np.any(np.diff(peaks) <= 0):
        return f"{len(peaks)} peaks and {len(kinds)} classes"
    rows = beat_rows(signal, rate, peaks)
    truth = kinds[: len(rows)].copy() if beats is not None else np.full(len(rows), UNKNOWN)
    if beats is not None:
        offset_s = (int(beats.body["began_ns"]) - began_ns) / 1e9
        named = [
            (round((offset_s + beat["at_ms"] / 1e3) * rate), KINDS.index(beat["kind"]))
            for beat in sorted(beats.body["beats"], key=lambda beat: beat["at_ms"])
        ]
        at = matched(
            rows.samples, np.array([sample for sample, _ in named], np.int64), round(WINDOW_S * rate)
        )
        for place in np.flatnonzero(at >= 0):
            truth[place] = named[at[place]][1]
    truth[:_WARM_BEATS] = UNKNOWN
    fibrillating = None if rhythm is None else rhythm.body.get("rhythm") in FIBRILLATION
    spans = ((0, len(signal)),) if fibrillating else ()
    nothing = np.zeros(len(rows), bool)
    known = Truth(rows.samples, truth, (), spans)
    return Strip(
        Examples(sample.group, 0, rate, rows, truth, nothing, np.empty(0, np.int64), known), fibrillating
    )


def _about(label: Label, kind: str, began_ns: int, ended_ns: int) -> bool:
    """Whether a label of this kind is about the strip: beats in it, or a rhythm over a good part of it."""
    if label.kind != kind:
        return False
    body = label.body
    first = int(body.get("began_ns", 0))
    if kind == "beats":
        last = first + round(1e6 * max((beat["at_ms"] for beat in body.get("beats", ())), default=0))
        return first < ended_ns and last >= began_ns
    inside = min(ended_ns, int(body.get("ended_ns", 0))) - max(began_ns, first)
    return inside > 0.2 * (ended_ns - began_ns)


def _newest(labels: Iterable[Label]) -> Label | None:
    return max(labels, key=lambda label: label.created_ns, default=None)


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows for a correction: standardized features, the trees' scores ``(n, targets)``, classes, weights."""

    scaled: NDArray[np.float32]
    offsets: NDArray[np.float64]
    truth: NDArray[np.int64]
    weights: NDArray[np.float64]


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
    truth = np.concatenate([lesson.truth for lesson in lessons])
    weights = np.concatenate([lesson.weights for lesson in lessons])
    weights = weights / weights.sum()
    targets = offsets.shape[1]
    first = np.concatenate([start.weights, start.bias[np.newaxis]]).astype(np.float64)
    wanted = truth[:, np.newaxis] == (np.arange(targets) if targets > 1 else 1)
    inputs = np.hstack([scaled, np.ones((len(scaled), 1))])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = flat.reshape(first.shape)
        scored = offsets + inputs @ moved
        if targets > 1:
            scored = scored - scored.max(axis=1, keepdims=True)
            logs = scored - np.log(np.exp(scored).sum(axis=1, keepdims=True))
            value, chances = -np.sum(weights * logs[wanted]), np.exp(logs)
        else:
            signed = np.where(wanted, scored, -scored)[:, 0]
            value, chances = np.sum(weights * np.logaddexp(0, -signed)), 1 / (1 + np.exp(-scored))
        slope = inputs.T @ (weights[:, np.newaxis] * (chances - wanted))
        away = moved - first
        return float(value + penalty * np.sum(away**2)), (slope + 2 * penalty * away).ravel()

    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    moved = found.reshape(first.shape).astype(np.float32)
    return Correction(moved[:-1], moved[-1])

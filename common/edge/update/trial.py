"""Trial: judges a model on live readings against the one that it replaces.

The same core judges a candidate in shadow (the live model is the reference) and a new live model in its
soak (the previous model, which keeps running beside it, is the reference). It is independent of the app.
Guards, each over the last `WINDOW` readings:

``failures``      inference errors, NaN or outputs outside ``manifest.parameters["output_bounds"]`` on
                  readings that the reference could handle: too large a share, or several close together
``latency``       median run slower than ``max_latency_factor`` times the reference's, or slower than the
                  bundle promises while the reference is not slow as well; counted is the time that a run
                  works, not what it waits for others on a busy device (`common.model.inference.RunTime`)
``disagreement``  *on what production knew, a new model must agree*: where the reference's own drift output
                  shows a reading that is not novel, outputs must lie within ``max_disagreement`` of the
                  output's golden range; a model that learnt something new may differ on novel readings, and
                  on all of them where the node has found drift: a fault that the reference does not know
                  misleads it before it looks novel to it
``stuck``         an output that never changes while the reference's varies, unless it rests at a value
                  that the model declares as its saturation (`common.bundle.TensorSpec`): a remaining life of
                  0 at a machine that has reached its end. On readings that the reference knew, such a model
                  must still agree with it
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.arrays import Arrays
from common.bundle import DriftSpec, Manifest
from common.config.node import OtaSettings
from common.edge.inference.instance import Outcome
from common.errors import BundleIncompatible

WINDOW = 256
MIN_FAILURES = 2
BURST_FAILURES, BURST_READINGS = 3, 20
"""A model that fails only in some state of the world (the last days of a machine) fails in bursts."""
MIN_READINGS = 10
LATENCY_NOISE_S = 0.0002
"""Differences below this are the timer's and the scheduler's, not the model's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model may go on; ``reason`` is a word, ``detail`` the figures behind it."""

    good: bool
    reason: str = ""
    detail: str = ""


@dataclass
class Trial:
    """Counts of one trial. ``scales`` are the golden ranges of the reference's outputs."""

    manifest: Manifest
    reference: Manifest | None
    scales: Mapping[str, float]
    settings: OtaSettings
    compare: bool = True
    familiar: bool = True
    """False while the node has found drift from the reference: it then knows too little to be agreed with."""
    readings: int = 0
    known: int = 0
    """Readings that were compared because the reference knew their kind."""
    _failed: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=WINDOW))
    _work_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=WINDOW))
    _reference_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=WINDOW))
    _apart: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=WINDOW))
    _values: deque[tuple[dict[str, float], dict[str, float]]] = field(
        default_factory=lambda: deque[tuple[dict[str, float], dict[str, float]]](maxlen=WINDOW)
    )
    _last_error: str = ""
    _bounds: dict[str, tuple[float, float]] = field(init=False)
    _saturation: dict[str, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._bounds = output_bounds(self.manifest)
        self._saturation = {spec.name: spec.saturation for spec in self.manifest.outputs}

    def add(self, subject: Outcome, reference: Outcome | None) -> None:
        """Count one reading that both saw. ``reference`` is None where no other model runs."""
        self.readings += 1
        error = subject.error or self._out_of_bounds(subject.outputs)
        if reference is None or not reference.error:
            self._failed.append(bool(error))
            self._last_error = error or self._last_error
        if subject.work_s is not None and (reference is None or reference.work_s is not None):
            self._work_s.append(subject.work_s)
            if reference is not None and reference.work_s is not None:
                self._reference_s.append(reference.work_s)
        if reference is not None and subject.outputs is not None and reference.outputs is not None:
            self._compare(subject.outputs, reference.outputs)

    def verdict(self) -> Verdict:
        """The judgement so far; a bad one is final."""
        for judge in (self._judge_failures, self._judge_disagreement, self._judge_stuck, self._judge_latency):
            found = judge()
            if found is not None:
                return found
        return Verdict(True, detail=self._summary())

    def failures(self) -> int:
        """Failed readings in the window."""
        return sum(self._failed)

    def _judge_failures(self) -> Verdict | None:
        failed, seen = sum(self._failed), len(self._failed)
        burst = sum(islice(reversed(self._failed), BURST_READINGS)) >= BURST_FAILURES
        share = failed / max(seen, MIN_READINGS)
        if failed < MIN_FAILURES or (share < self.settings.failure_share and not burst):
            return None
        return Verdict(
            False, "failures", f"{failed} of the last {seen} readings failed; the last: {self._last_error}"
        )

    def _judge_disagreement(self) -> Verdict | None:
        if not self.familiar:
            return None
        apart, seen = sum(self._apart), len(self._apart)
        if seen < MIN_READINGS or apart / seen < self.settings.disagreement_share:
            return None
        return Verdict(
            False,
            "disagreement",
            f"on {apart} of {seen} readings of a kind that the previous model knew, outputs are further from "
            f"its than {self.settings.max_disagreement:g} of their range",
        )

    def _judge_stuck(self) -> Verdict | None:
        if not self.compare or len(self._values) < 2 * MIN_READINGS:
            return None
        for name, scale in self.scales.items():
            pairs = [(s[name], r[name]) for s, r in self._values if name in s and name in r]
            if len(pairs) < 2 * MIN_READINGS:
                continue
            spread, reference_spread = (float(np.ptp([pair[side] for pair in pairs])) for side in (0, 1))
            level = pairs[-1][0]
            saturated = any(abs(level - value) <= 1e-3 * scale for value in self._saturation.get(name, ()))
            if saturated:
                continue
            if spread <= 1e-6 * scale and reference_spread > self.settings.max_disagreement * scale:
                return Verdict(
                    False,
                    "stuck",
                    f"{name} stays the same over {len(pairs)} readings while the previous model's moves "
                    f"by {reference_spread:.4g}",
                )
        return None

    def _judge_latency(self) -> Verdict | None:
        if len(self._work_s) < MIN_READINGS:
            return None
        own_s = statistics.median(self._work_s)
        reference_s = statistics.median(self._reference_s) if self._reference_s else None
        limit_s = self.manifest.limits.latency_ms / 1e3
        slower = reference_s is not None and (
            own_s > self.settings.max_latency_factor * reference_s + LATENCY_NOISE_S
        )
        too_slow = own_s > limit_s and (reference_s is None or own_s > 2 * reference_s + LATENCY_NOISE_S)
        if not slower and not too_slow:
            return None
        beside = "" if reference_s is None else f", the previous model {reference_s * 1e3:.3g} ms"
        return Verdict(
            False, "latency", f"a run takes {own_s * 1e3:.3g} ms{beside}, promised are {limit_s * 1e3:g} ms"
        )

    def _compare(self, subject: Arrays, reference: Arrays) -> None:
        drift = self.reference.drift if self.reference else None
        pairs = {
            name: (subject[name], reference[name])
            for name in self.scales
            if name in subject
            and name in reference
            and np.shape(subject[name]) == np.shape(reference[name])
            and (drift is None or name != drift.output)
        }
        self._values.append(
            (
                {name: _level(pair[0]) for name, pair in pairs.items()},
                {name: _level(pair[1]) for name, pair in pairs.items()},
            )
        )
        if not self.compare or not self.familiar or not pairs:
            return
        if drift is not None and not _is_known(drift, reference):
            return
        self.known += 1
        furthest = max(
            float(np.mean(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))) / self.scales[name]
            for name, (a, b) in pairs.items()
        )
        self._apart.append(not furthest <= self.settings.max_disagreement)

    def _out_of_bounds(self, outputs: Arrays | None) -> str:
        bounds = self.manifest.parameters.get("output_bounds", {})
        for name, (low, high) in bounds.items() if outputs is not None else ():
            if outputs is not None and name in outputs and outputs[name].size:
                smallest, largest = float(np.min(outputs[name])), float(np.max(outputs[name]))
                if not (low <= smallest and largest <= high):
                    return f"{name} of {smallest:.4g}..{largest:.4g} is outside {low:g}..{high:g}"
        return ""

    def _summary(self) -> str:
        text = f"{self.readings} readings, {sum(self._failed)} failures"
        if self._work_s:
            text += f", {statistics.median(self._work_s) * 1e3:.3g} ms a run"
        if self._reference_s:
            text += f" (previous model {statistics.median(self._reference_s) * 1e3:.3g} ms)"
        if self.reference is None or not self.compare:
            return text + ", not compared with a previous model"
        if not self.familiar:
            return (
                text + ", agreement not judged: the readings have drifted from what the previous model knew"
            )
        if not self.known:
            return text + ", no reading of a kind that the previous model knew: agreement not judged"
        agreeing = len(self._apart) - sum(self._apart)
        return f"{text}, agrees with the previous model on {agreeing} of {len(self._apart)}"


def output_bounds(manifest: Manifest) -> dict[str, tuple[float, float]]:
    """Bounds that a model sets itself: ``parameters["output_bounds"] = {"rul": [0, 200]}``.

    Raises `BundleIncompatible` if they are not pairs of numbers.
    """
    declared = manifest.parameters.get("output_bounds", {})
    try:
        return msgspec.convert(declared, dict[str, tuple[float, float]])
    except msgspec.ValidationError as error:
        raise BundleIncompatible(f"output_bounds of {manifest.version}: {error}") from error


def _is_known(drift: DriftSpec, outputs: Arrays) -> bool:
    if drift.output not in outputs:
        return True
    return bool(float(np.max(outputs[drift.output])) <= drift.threshold)


def _level(value: NDArray[Any]) -> float:
    return float(np.mean(np.asarray(value, np.float64)))

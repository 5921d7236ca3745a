"""Drift: whether the readings are still like those that the model was trained on.

The bundle declares the output to watch and what was rare in training: ``output > threshold`` had the
probability ``rate``. `DriftDetector` runs a Bernoulli CUSUM on these exceedances (Page, Biometrika 41,
1954; Reynolds and Stoumbos, J. Quality Technology 31, 1999), tuned for a rate ten times as high:

    S <- clip(S + log-likelihood ratio of the exceedance, 0, LIMIT)

Drift begins when ``S`` reaches `LIMIT` and ends when it is back at 0. For independent readings the mean
time between false alarms is at least ``exp(LIMIT)`` readings; neighbouring readings are alike, and the
margin of `LIMIT` pays for that: about ``LIMIT / log(10)`` = 13 exceedances close together raise it. Where
readings come much faster than what they show changes (frames), ``DriftSpec.interval_s`` thins them out by
subject.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from common.app.edge import Arrays, Reading
from common.bundle import DriftSpec
from common.edge.update.adoption import Adoption
from common.messages import Event, Priority

DRIFT_TYPE = "edgeloop.drift"
LIMIT = 30.0
FACTOR = 10.0
RATE_READINGS = 200.0
"""Time constant of the exceedance rate that is reported."""
SUBJECTS_LIMIT = 1024
"""Subjects whose last counted reading is remembered; beyond it a reading of the oldest counts at once."""


@dataclass(slots=True)
class DriftDetector:
    """The detector for one model; another model needs a new one."""

    spec: DriftSpec
    cusum: float = 0.0
    exceed_rate: float = 0.0
    drifting: bool = False

    def update(self, outputs: Arrays) -> str | None:
        """Take in the outputs for one reading: ``drift`` or ``clear`` if that is news, else None."""
        values = outputs.get(self.spec.output)
        if values is None or not values.size:
            return None
        exceeds = bool(np.max(values) > self.spec.threshold)
        expected = min(max(self.spec.rate, 1e-6), 0.4)
        drifted = min(FACTOR * expected, 0.9)
        ratio = drifted / expected if exceeds else (1 - drifted) / (1 - expected)
        self.cusum = min(max(self.cusum + math.log(ratio), 0.0), LIMIT)
        self.exceed_rate += (exceeds - self.exceed_rate) / RATE_READINGS
        if not self.drifting and self.cusum >= LIMIT:
            self.drifting = True
            return "drift"
        if self.drifting and self.cusum <= 0.0:
            self.drifting = False
            return "clear"
        return None

    def event(self, news: str, subject: str, time_ns: int, version: str) -> Event:
        """The event for ``drift`` or ``clear``."""
        data = {
            "output": self.spec.output,
            "state": news,
            "exceed_rate": round(self.exceed_rate, 4),
            "threshold": self.spec.threshold,
            "cusum": round(self.cusum, 2),
            "version": version,
        }
        return Event(DRIFT_TYPE, subject, time_ns, Priority.EVENT, data)


class DriftWatch:
    """Drift from the training of the live model, whichever that is. Belongs to the process thread."""

    def __init__(self, adoption: Adoption) -> None:
        self._adoption = adoption
        self._detector: DriftDetector | None = None
        self._version = ""
        self._counted_ns: OrderedDict[str, int] = OrderedDict()

    @property
    def drifting(self) -> bool:
        return self._detector is not None and self._detector.drifting

    @property
    def novelty(self) -> tuple[float, float] | None:
        """The watched output for the last reading, and its threshold; None where there is none."""
        spec, outputs = self._adoption.manifest.drift, self._adoption.outputs
        values = outputs.get(spec.output) if spec is not None and outputs is not None else None
        if spec is None or values is None or not values.size:
            return None
        return float(np.max(values)), spec.threshold

    def watch(self, reading: Reading) -> Event | None:
        """Count the live model's outputs for ``reading``; the event where drift begins or ends."""
        detector, outputs = self._current(), self._adoption.outputs
        if detector is None or outputs is None or not self._counts(reading, detector.spec.interval_s):
            return None
        news = detector.update(outputs)
        if news is None:
            return None
        return detector.event(news, reading.subject, reading.captured_ns, self._version)

    def _counts(self, reading: Reading, interval_s: float) -> bool:
        """Whether enough time has passed since the subject's last reading that counted."""
        if interval_s <= 0:
            return True
        last_ns = self._counted_ns.get(reading.subject)
        if last_ns is not None and 0 <= reading.captured_ns - last_ns < interval_s * 1e9:
            return False
        self._counted_ns[reading.subject] = reading.captured_ns
        self._counted_ns.move_to_end(reading.subject)
        if len(self._counted_ns) > SUBJECTS_LIMIT:
            self._counted_ns.popitem(last=False)
        return True

    def saved(self) -> tuple[float, float, bool, str]:
        """CUSUM, exceedance rate, drifting, and the version that they are of."""
        detector = self._current()
        if detector is None:
            return 0.0, 0.0, False, self._version
        return detector.cusum, detector.exceed_rate, detector.drifting, self._version

    def restore(self, cusum: float, exceed_rate: float, drifting: bool, version: str) -> None:
        """Take over `saved`, if it is of the live model."""
        detector = self._current()
        if detector is not None and version == self._version:
            detector.cusum, detector.exceed_rate, detector.drifting = cusum, exceed_rate, drifting

    def _current(self) -> DriftDetector | None:
        manifest = self._adoption.manifest
        if manifest.version != self._version:
            self._version = manifest.version
            self._detector = DriftDetector(manifest.drift) if manifest.drift is not None else None
        return self._detector

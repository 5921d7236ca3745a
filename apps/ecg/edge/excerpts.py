"""Signal that may leave the device where the patient agrees: strips around alarms, windows to learn from."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.history import KnownBeat
from apps.ecg.edge.ring import LSB_MV, MISSING, to_mv

STRIP_SIDE_S = 5.0
WINDOW_S = 30.0
MOST_RATE_HZ = 500.0
MOST_BYTES = 88_000
"""Of a strip's samples; as base64 in an event they stay under the limit of the wire."""
NOVEL_SHARE = 0.2
"""Share of beats above novelty 1 that makes a window certainly worth learning from."""
MIN_SCORE = 0.5


def strip(
    steps: NDArray[np.int16], rate_hz: float, leads: Sequence[str], beats: Sequence[KnownBeat], begin: int
) -> dict[str, Any]:
    """Data of ``ecg.strip``: ``steps`` ``(samples, leads)`` from ``begin`` on, averaged down to what fits."""
    factor = math.ceil(max(rate_hz / MOST_RATE_HZ, steps.nbytes / MOST_BYTES))
    if factor > 1:
        whole = steps[: len(steps) // factor * factor].reshape(-1, factor, steps.shape[1])
        mean = np.rint(to_mv(whole).mean(axis=1) / LSB_MV)
        steps = np.where(np.isnan(mean), MISSING, np.nan_to_num(mean)).astype(np.int16)
    return {
        "rate_hz": rate_hz / factor,
        "leads": list(leads),
        "unit": "mV",
        "lsb_mv": LSB_MV,
        "samples_b64": base64.b64encode(steps.astype("<i2").tobytes()).decode(),
        "beats": [
            {
                "at_ms": round(1e3 * (beat.sample - begin) / rate_hz, 1),
                "kind": beat.kind,
                "probability": round(beat.probability, 3),
            }
            for beat in beats
        ],
    }


def worth(beats: Sequence[KnownBeat], rhythm_p: Sequence[float], alarmed: bool) -> dict[str, float]:
    """Why a window is worth learning from, as `common.app.edge.Sample` wants it; empty where it is not.

    ``low_margin`` is about the three least certain beats, or the least certain rhythm; ``alarm`` marks what a
    clinician will look at.
    """
    if not beats:
        return {}
    margins = sorted(beat.margin for beat in beats)[:3]
    doubts = [1 - sum(margins) / len(margins), *(1 - 2 * abs(p - 0.5) for p in rhythm_p)]
    novel = sum(beat.novelty > 1 for beat in beats) / len(beats)
    reasons = {"low_margin": _share(max(doubts)), "novelty": _share(novel / NOVEL_SHARE)}
    if alarmed:
        reasons["alarm"] = 1.0
    return reasons if max(reasons.values()) >= MIN_SCORE else {}


def arrays(
    steps: NDArray[np.int16], beats: Sequence[KnownBeat], rhythm_p: Sequence[float], begin: int
) -> dict[str, NDArray[Any]]:
    """Content of a sample: the window's signal ``(samples, 1)``, and what was made of it."""
    return {
        "signal": np.ascontiguousarray(steps),
        "peaks": np.array([beat.sample - begin for beat in beats], np.int32),
        "kinds": np.array([KINDS.index(beat.kind) for beat in beats], np.uint8),
        "rhythm_p": np.array(rhythm_p, np.float32),
    }


def _share(value: float) -> float:
    return float(min(1.0, max(0.0, value)))

"""Misplaced electrodes, detected from the averaged beats of a minute.

Two rules. In lead I P, QRS and T are normally positive; all negative indicates swapped arm electrodes, or
dextrocardia (Batchvarov et al.,
Europace 9:1081, 2007). A lead whose whole beat is inverted against the same patient's earlier beats was
reconnected; a change of rhythm or conduction does not invert P, QRS and T together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from apps.ecg.edge.filters import Floats
from apps.ecg.edge.intervals import Average

_P_S, _QRS_S, _T_S = (-0.26, -0.05), (-0.06, 0.08), (0.14, 0.5)
_MIN_MV = {"P": 0.01, "QRS": 0.15, "T": 0.04}
_TURNED = -0.9
"""Correlation with the patient's own beat below which a lead is inverted."""


@dataclass(frozen=True, slots=True)
class LeadFinding:
    """``leads_swapped`` or ``lead_inverted``, with the lead."""

    finding: Literal["leads_swapped", "lead_inverted"]
    lead: str
    text: str


class LeadCheck:
    """Reference beats of one patient's leads, and the active findings."""

    def __init__(self) -> None:
        self._usual: dict[str, Floats] = {}
        self._active: set[str] = set()

    def check(self, averages: Mapping[str, Average]) -> list[LeadFinding]:
        """New findings from the averaged beats of the next minute by lead, each once while it lasts."""
        found: list[LeadFinding] = []
        seen: dict[str, bool] = {}
        first = averages.get("I")
        if first is not None:
            seen["leads_swapped/I"] = _points_down(first)
        for lead, average in averages.items():
            wave = average.wave_mv - average.wave_mv.mean()
            usual = self._usual.setdefault(lead, wave)
            size = float(np.linalg.norm(wave) * np.linalg.norm(usual))
            seen[f"lead_inverted/{lead}"] = size > 0 and float(wave @ usual) < _TURNED * size
        for key, present in seen.items():
            finding, lead = key.split("/")
            if present and key not in self._active:
                found.append(_finding(finding, lead))
            (self._active.add if present else self._active.discard)(key)
        return found

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"usual": {k: v.copy() for k, v in self._usual.items()}, "active": sorted(self._active)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._usual = {str(k): np.array(v, np.float64) for k, v in state["usual"].items()}
        self._active = set(state["active"])


def _finding(finding: str, lead: str) -> LeadFinding:
    if finding == "leads_swapped":
        return LeadFinding(
            "leads_swapped",
            lead,
            "P, QRS and T are negative in lead I: swapped arm electrodes, or dextrocardia",
        )
    return LeadFinding("lead_inverted", lead, f"{lead} is inverted against this patient's earlier beats")


def _points_down(average: Average) -> bool:
    """Whether P, QRS and T are all significant and negative."""
    heights = {name: _height(average, span) for name, span in (("P", _P_S), ("QRS", _QRS_S), ("T", _T_S))}
    return all(height < -max(_MIN_MV[name], 5 * average.noise_mv) for name, height in heights.items())


def _height(average: Average, span_s: tuple[float, float]) -> float:
    """Signed height of the larger deflection of a wave."""
    rate_hz, r = average.rate_hz, average.r
    level = float(np.median(average.wave_mv[r - round(0.08 * rate_hz) : r - round(0.05 * rate_hz) + 1]))
    part = average.wave_mv[r + round(span_s[0] * rate_hz) : r + round(span_s[1] * rate_hz)] - level
    up, down = float(part.max()), float(part.min())
    return up if up >= -down else down

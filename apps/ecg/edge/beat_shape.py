"""Shape features of beats: QRS, P and T of the wave around an R peak relative to a template."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.filters import Floats

REACH_S = 0.5
"""Length of the wave on both sides of the R peak."""
STEP_S = 0.005
SHIFT_S = 0.06
"""Maximum shift for the alignment of a beat with its group: the R peak of a QRS complex with two nearly equal
peaks alternates between them."""
SHIFTS = round(SHIFT_S / STEP_S)
LINE_S = np.arange(-round(REACH_S / STEP_S) - SHIFTS, round(REACH_S / STEP_S) + SHIFTS + 1) * STEP_S
"""Times of the line around an R peak: the wave with room for shifts."""
_WAVE_S = LINE_S[SHIFTS:-SHIFTS]
WAVE_POINTS = len(_WAVE_S)
UNLIKE = 0.85
"""Correlation below which a beat is unlike the dominant one."""
SHAPE_NAMES = (
    "p_alike", "p_off", "p_height", "p_height_dominant", "p_off/usual", "t_alike", "t_off", "t_height",
    "t_height_dominant", "t_off/usual", "qrs_off", "qrs_off/usual", "width_s", "width_dominant_s",
    "width/dominant", "area", "area/dominant", "p_usual", "p_alike/usual", "rough", "rough/usual",
)  # fmt: skip


def _between(begin_s: float, end_s: float) -> slice:
    return slice(*np.searchsorted(_WAVE_S, [begin_s - 1e-9, end_s + 1e-9]).tolist())


QRS, _P, _T = _between(-0.10, 0.14), _between(-0.30, -0.07), _between(0.14, 0.5)
_POINTS = [part.stop - part.start for part in (QRS, _P, _T)]
_PARTS = np.array([QRS.start, QRS.stop, _P.start, _P.stop, _T.start])
"""For ``reduceat``: every other result is of a part; the T wave extends to the end."""


class _Part(NamedTuple):
    """One part of a beat and of the template: sums over its points, and heights."""

    points: int
    own: float
    template: float
    own_squared: float
    template_squared: float
    product: float
    own_area: float
    template_area: float
    own_height: float
    template_height: float

    def about_means(self) -> tuple[float, float, float]:
        """Sums of the squares and of the product, each about its own mean."""
        mean, template_mean = self.own / self.points, self.template / self.points
        return (
            max(0.0, self.own_squared - mean * self.own),
            max(0.0, self.template_squared - template_mean * self.template),
            self.product - mean * self.template,
        )

    def alike(self) -> tuple[float, float, float, float]:
        """Correlation, RMS difference about the means, and heights."""
        a, b, ab = self.about_means()
        off = math.sqrt(max(0.0, a + b - 2 * ab) / self.points)
        return ab / (math.sqrt(a * b) + 1e-4), off, self.own_height, self.template_height


def _parts(both: Floats) -> tuple[_Part, _Part, _Part]:
    """QRS, P and T of a wave and a template ``(2, n)``, scaled in place by the template's height."""
    heights = np.maximum.reduceat(both, _PARTS, axis=1) - np.minimum.reduceat(both, _PARTS, axis=1)
    scale = heights[1, 0] + 1e-3
    both /= scale
    terms = np.concatenate([both, both * both, both[:1] * both[1:], np.abs(both)])
    values = np.concatenate([np.add.reduceat(terms, _PARTS, axis=1), heights / scale])
    qrs, p, t = values[:, ::2].T.tolist()
    return _Part(_POINTS[0], *qrs), _Part(_POINTS[1], *p), _Part(_POINTS[2], *t)


def _width_s(steep: NDArray[np.bool_]) -> float:
    """From the first to the last steep point."""
    marks = steep.tobytes()
    return STEP_S * (marks.rfind(1) - marks.find(1))


class BeatShape:
    """Shape features of one patient's beats, with the running usual deviations from the template."""

    def __init__(self) -> None:
        self._usual_off = [0.1, 0.1, 0.1, 0.02]
        self._p_usual = 0.7

    def add(self, wave: Floats, template: Floats) -> list[float]:
        """Features `SHAPE_NAMES` of the next beat, in units of the template's amplitude."""
        both = np.array([wave, template])
        qrs, p, t = _parts(both)
        qrs_off = math.sqrt(max(0.0, qrs.own_squared + qrs.template_squared - 2 * qrs.product) / qrs.points)
        slopes = np.abs(both[:, QRS.start + 1 : QRS.stop] - both[:, QRS.start : QRS.stop - 1])
        steep = slopes > 0.25 * slopes[1].max()
        before = both[0, _P]
        bends = before[2:] - 2 * before[1:-1] + before[:-2]
        rough = math.sqrt(bends @ bends / len(bends))
        p_alike, t_alike = p.alike(), t.alike()
        offs = (p_alike[1], t_alike[1], qrs_off, rough)
        ratios = [math.log((o + 0.01) / (u + 0.01)) for o, u in zip(offs, self._usual_off, strict=True)]
        # In logs, so that outliers hardly move the usual deviations.
        moves = [math.exp(0.05 * max(-1.0, min(1.0, ratio))) for ratio in ratios]
        self._usual_off = [u * move for u, move in zip(self._usual_off, moves, strict=True)]
        width, width_dominant = _width_s(steep[0]), _width_s(steep[1])
        area = qrs.own_area / qrs.points
        p_usual = self._p_usual
        a, b, ab = qrs.about_means()
        if ab / (math.sqrt(a * b) + 1e-9) > UNLIKE:
            self._p_usual += 0.05 * (p_alike[0] - p_usual)
        return [
            *p_alike, ratios[0], *t_alike, ratios[1], qrs_off, ratios[2],
            width, width_dominant, width - width_dominant, area,
            math.log((area + 0.01) / (qrs.template_area / qrs.points + 0.01)),
            p_usual, p_alike[0] - p_usual, rough, ratios[3],
        ]  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"usual_off": list(self._usual_off), "p_usual": self._p_usual}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._usual_off = [float(off) for off in state["usual_off"]]
        self._p_usual = float(state["p_usual"])

"""A strip on ECG paper: 25 mm/s and 10 mm/mV, a line every millimetre and a heavier one every 5 mm.

Geometry is in millimetres of paper, x from the left, y from the top, the same for pages and printed reports.
Each lead has a row of whole 5 mm, with a calibration pulse of 1 mV and 200 ms before it::

    |<- MARGIN_MM ->|<- 25 mm a second ->
    +---------------+--------------------+
    |               | letters of beats   |  HEAD_MM
    | II  _|‾|_     | signal             |  a row for each lead
    |               | seconds            |  FOOT_MM
    +---------------+--------------------+

A lead's median lies on its baseline, which removes the electrode offset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

MM_PER_S = 25.0
MM_PER_MV = 10.0
MARGIN_MM = 10.0
HEAD_MM = 10.0
FOOT_MM = 5.0
SMALL_MM, LARGE_MM = 1.0, 5.0
MIN_MV = 0.5
"""Minimum room on each side of a baseline."""
MAX_MV = 3.0
"""The trace is clipped at this distance from the baseline, so that a bad electrode does not take the page."""
_PULSE_MM = ((1.0, 0.0), (2.5, 0.0), (2.5, -10.0), (7.5, -10.0), (7.5, 0.0), (9.0, 0.0))


@dataclass(frozen=True, slots=True)
class Row:
    """One lead: its ``trace`` in pieces ``(points, 2)`` of x and y, interrupted at missing samples."""

    lead: str
    top_mm: float
    bottom_mm: float
    baseline_mm: float
    trace: tuple[NDArray[np.float64], ...]

    @property
    def pulse(self) -> list[tuple[float, float]]:
        """The calibration pulse."""
        return [(x, self.baseline_mm + y) for x, y in _PULSE_MM]


@dataclass(frozen=True, slots=True)
class Paper:
    """The layout of a strip."""

    width_mm: float
    height_mm: float
    seconds: float
    rows: tuple[Row, ...]


def x_of(seconds: float) -> float:
    """x of a time of the strip, in mm."""
    return MARGIN_MM + seconds * MM_PER_S


def lay_out(values_mv: NDArray[np.float64], leads: Sequence[str], rate_hz: float) -> Paper:
    """Lay out ``values_mv`` ``(samples, leads)``, NaN where one is missing."""
    seconds = len(values_mv) / rate_hz
    times_mm = MARGIN_MM + np.arange(len(values_mv)) / rate_hz * MM_PER_S
    rows: list[Row] = []
    top_mm = HEAD_MM
    for number, lead in enumerate(leads):
        values = np.clip(values_mv[:, number] - _median(values_mv[:, number]), -MAX_MV, MAX_MV)
        above_mm, below_mm = (_room(_max_mv(side)) for side in (values, -values))
        above_mm = max(above_mm, 15.0)  # the calibration pulse stands 10 mm high, the lead's name over it
        baseline_mm = top_mm + above_mm
        points = np.column_stack([times_mm, baseline_mm - values * MM_PER_MV])
        rows.append(Row(lead, top_mm, baseline_mm + below_mm, baseline_mm, _pieces(points)))
        top_mm = baseline_mm + below_mm
    width_mm = math.ceil(x_of(seconds) / LARGE_MM) * LARGE_MM
    return Paper(width_mm, top_mm + FOOT_MM, seconds, tuple(rows))


def svg(paper: Paper, about: str, name: str = "strip") -> str:
    """The paper as SVG, in units of a millimetre; ``about`` is its text for screen readers.

    Colours are by the classes in ``strip.css``. ``name`` makes ids unique on a page.
    """
    width, height = _short(paper.width_mm), _short(paper.height_mm)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ecg-paper" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(about)}"><defs>'
        f"{_pattern(f'{name}-small', SMALL_MM, 'grid-small')}"
        f"{_pattern(f'{name}-large', LARGE_MM, 'grid-large')}"
        f'</defs><rect class="ground" width="{width}" height="{height}"/>'
        f'<rect width="{width}" height="{height}" fill="url(#{name}-small)"/>'
        f'<rect width="{width}" height="{height}" fill="url(#{name}-large)"/>'
    ]
    for row in paper.rows:
        pulse = " ".join(f"{_short(x)},{_short(y)}" for x, y in row.pulse)
        parts.append(f'<polyline class="trace" points="{pulse}"/>')
        parts.append(f'<path class="trace" d="{"".join(map(_path, row.trace))}"/>')
        parts.append(
            f'<text class="lead" x="1" y="{_short(row.baseline_mm - 11.2)}">{escape(row.lead)}</text>'
        )
    foot = _short(paper.height_mm - 1.5)
    parts += [
        f'<text class="seconds" x="{_short(x_of(second))}" y="{foot}">{second} s</text>'
        for second in range(int(paper.seconds) + 1)
        if x_of(second) < paper.width_mm - LARGE_MM
    ]
    return "".join([*parts, "</svg>"])


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _max_mv(values: NDArray[np.float64]) -> float:
    return float(np.max(values, initial=MIN_MV, where=np.isfinite(values)))


def _room(max_mv: float) -> float:
    return math.ceil((max_mv * MM_PER_MV + SMALL_MM) / LARGE_MM) * LARGE_MM


def _pieces(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    known = np.isfinite(points[:, 1])
    edges = np.flatnonzero(np.diff(known)) + 1
    return tuple(piece for piece in np.split(points, edges) if len(piece) > 1 and np.isfinite(piece[0, 1]))


def _path(piece: NDArray[np.float64]) -> str:
    return "M" + " ".join(f"{_short(x)},{_short(y)}" for x, y in piece.tolist())


def _pattern(name: str, size_mm: float, look: str) -> str:
    size = _short(size_mm)
    return (
        f'<pattern id="{name}" width="{size}" height="{size}" patternUnits="userSpaceOnUse">'
        f'<path class="{look}" d="M{size},0H0V{size}"/></pattern>'
    )


def _short(value: float) -> str:
    """A length with up to two decimals (0.01 mm)."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""What may be a beat, and how it looks: the front end of `apps.ecg.streaming.peaks`.

The lead is filtered into a *wave* (0.7 to 40 Hz) and an *envelope*, the smoothed root of the energy in the
band of the QRS complex (5 to 18 Hz; Pan and Tompkins 1985). Every local maximum of the envelope is a
candidate. A network tells from its inputs whether it is a beat: the wave around it, in units of its own size;
the envelope from `LOOK_BACK_S` before it, in units of the *level* of the last seconds; the candidate's own
size against that level; and the highest envelope of each of the last seconds. All are sampled at fixed times,
whatever the rate.

Only additions, multiplications, divisions and square roots are used, so no input depends on how many
candidates are computed at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from apps.ecg.streaming.filters import Filter, Floats, butterworth

LOOK_AHEAD_S = 0.26
"""Seen after a candidate."""
LAG_S = 0.069
"""The filters put a candidate so long after the R peak, as a rule."""
LOOK_BACK_S = 2.4
LEVEL_S = 8
"""The level is taken over so many seconds, the newest ending where the look ahead ends."""
DOMINANCE_S = 0.09
"""A candidate is the largest envelope within this distance to both sides."""
FLOOR_MV = 0.01
"""Envelope under which nothing is a beat."""

WAVE_S = np.arange(-32, 26) * 0.01
ENVELOPE_S = np.arange(-60, 7) * 0.04
_OWN = slice(*np.searchsorted(WAVE_S, [-0.175, 0.035]).tolist())
INPUTS = len(WAVE_S) + len(ENVELOPE_S) + 2 + LEVEL_S
SIGNED = len(WAVE_S)
"""The first inputs change sign when the lead's electrodes change places; the others stay."""


class FrontEnd:
    """The filters, over a stream."""

    def __init__(self, rate_hz: float) -> None:
        high, low = butterworth(1, 0.7, "high", rate_hz), butterworth(2, 40.0, "low", rate_hz)
        pole = butterworth(1, 7.0, "low", rate_hz)  # two real poles, so smoothed energy stays above 0
        self.filters = (
            Filter(np.concatenate([high, low])),
            Filter(butterworth(2, (5.0, 18.0), "band", rate_hz)),
            Filter(np.concatenate([pole, pole])),
        )

    def push(self, joined_mv: Floats) -> tuple[Floats, Floats]:
        """Wave and envelope, both ``(n,)``, of a signal without gaps."""
        wave, band, smooth = self.filters
        energy = band.push(joined_mv)
        return wave.push(joined_mv), np.sqrt(np.maximum(smooth.push(energy * energy), 0.0))


def maxima(envelope: Floats, width: int) -> NDArray[np.intp]:
    """Indices of candidates in ``envelope``, none within ``width`` of its ends."""
    middle, after = envelope[width:-width], envelope[width + 1 : len(envelope) - width + 1]
    rising = (middle > envelope[width - 1 : -width - 1]) & (middle >= after) & (middle > FLOOR_MV)
    tops = np.flatnonzero(rising) + width
    spans = np.stack([tops - width, tops + width], axis=1).ravel()
    highest = np.maximum(np.maximum.reduceat(envelope, spans)[::2], envelope[spans[1::2]])
    return tops[envelope[tops] == highest]


def inputs(
    wave: Floats,
    envelope: Floats,
    candidates: NDArray[np.intp],
    since_start: NDArray[np.intp],
    rate_hz: float,
) -> NDArray[np.float32]:
    """Inputs ``(k, INPUTS)`` of ``candidates``, indices into ``wave`` and ``envelope``.

    ``since_start`` is the number of samples of the stream before each candidate. Both signals reach `LEVEL_S`
    before and `LOOK_AHEAD_S` after each.
    """
    second, look = round(rate_hz), round(LOOK_AHEAD_S * rate_hz)
    bounds = (candidates + look)[:, None] + np.arange(-LEVEL_S, 1) * second
    seconds = np.maximum.reduceat(envelope, bounds.ravel()).reshape(bounds.shape)
    highest = np.sort(seconds[:, :-1], axis=1)  # what follows the last second is left out
    known = np.minimum(LEVEL_S, (since_start + look) // second + 1)
    level = highest[np.arange(len(candidates)), LEVEL_S - known + (known * 3) // 5] + 1e-9
    scale = 1.0 / level[:, None]
    on_wave, on_envelope = _grids(rate_hz)
    shape = _sampled(wave, candidates, on_wave)
    shape -= np.add.reduce(shape, axis=1, keepdims=True) / SIGNED
    size = np.maximum.reduce(np.abs(shape[:, _OWN]), axis=1, keepdims=True) + 1e-9
    parts = (
        shape / size,
        2 * scale * _sampled(envelope, candidates, on_envelope),
        2 * scale * envelope[candidates, None],
        0.3 * scale * size,
        scale * highest,
    )
    found = np.concatenate(parts, axis=1)
    return (found / (1.0 + 0.25 * np.abs(found))).astype(np.float32)  # within -4 to 4


_Grid = tuple[NDArray[np.intp], NDArray[np.floating]]


@lru_cache
def _grids(rate_hz: float) -> tuple[_Grid, _Grid]:
    """Where wave and envelope are sampled: whole samples, and what is left of each, ``(n,)``."""
    return _grid(WAVE_S * rate_hz), _grid(ENVELOPE_S * rate_hz)


def _grid(offsets: NDArray[np.floating]) -> _Grid:
    whole = np.floor(offsets)
    return whole.astype(np.intp), offsets - whole


def _sampled(signal: Floats, at: NDArray[np.intp], grid: _Grid) -> Floats:
    """``signal`` at the places of ``grid`` from each of ``at``, linearly interpolated, ``(len(at), n)``."""
    whole, share = grid
    left = at[:, None] + whole
    return signal.take(left) * (1 - share) + signal.take(left + 1) * share

"""Beat candidates and their network inputs: the front end of `apps.ecg.edge.peaks`.

The lead is filtered into a *wave* (0.7 to 40 Hz) and an *envelope*, the smoothed root of the energy in the
band of the QRS complex (5 to 18 Hz; Pan and Tompkins 1985). Every local maximum of the envelope is a
candidate. A network classifies it from its inputs: the wave around it, in units of its own size;
the envelope from `LOOK_BACK_S` before it, in units of the *level* of the last seconds; the candidate's own
size against that level; and the highest envelope of each of the last seconds. All are sampled at fixed times,
independent of the rate.

Only additions, multiplications, divisions and square roots are used, so inputs are independent of the number
of candidates computed at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.filters import Filter, Floats, butterworth

LOOK_AHEAD_S = 0.26
"""Signal used after a candidate."""
LAG_S = 0.069
"""Usual delay of a candidate after the R peak, by the filters."""
LOOK_BACK_S = 2.4
LEVEL_S = 8
"""Number of seconds of the level; the newest ends with the look-ahead."""
DOMINANCE_S = 0.09
"""A candidate is the largest envelope within this distance to both sides."""
FLOOR_MV = 0.01
"""Minimum envelope of a beat."""

WAVE_S = np.arange(-32, 26) * 0.01
ENVELOPE_S = np.arange(-60, 7) * 0.04
_OWN = slice(*np.searchsorted(WAVE_S, [-0.175, 0.035]).tolist())
INPUTS = len(WAVE_S) + len(ENVELOPE_S) + 2 + LEVEL_S
_SELF = len(WAVE_S) + len(ENVELOPE_S)
"""Index of the candidate's own envelope and size among the inputs; the maxima of the seconds follow."""
_HERE = len(ENVELOPE_S) - 7
"""Index of 0 in `ENVELOPE_S`."""
_LEVEL_AT = [LEVEL_S - known + known * 3 // 5 for known in range(LEVEL_S + 1)]
"""Index of the level among the sorted maxima of the last seconds, by the number of known ones."""
SIGNED = len(WAVE_S)
"""Number of inputs, the first ones, that change sign with the polarity of the lead."""


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
    rising = middle > envelope[width - 1 : -width - 1]
    rising &= middle >= after
    rising &= middle > FLOOR_MV
    tops = rising.nonzero()[0] + width
    spans = tops.repeat(2)
    spans[::2] -= width
    spans[1::2] += width
    highest = np.maximum(np.maximum.reduceat(envelope, spans)[::2], envelope.take(spans[1::2]))
    return tops[envelope.take(tops) == highest]


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
    grid, at = _grid(rate_hz), candidates[:, None]
    found = np.empty((len(candidates), INPUTS))
    shape, heights, highest = found[:, :SIGNED], found[:, SIGNED:_SELF], found[:, -LEVEL_S:]
    bounds = at + grid.seconds
    seconds = np.maximum.reduceat(envelope, bounds.ravel()).reshape(bounds.shape)
    highest[:] = seconds[:, :-1]  # without the part after the last second
    highest.sort(axis=1)
    known = [min(LEVEL_S, (before + look) // second + 1) for before in since_start.tolist()]
    levels = [ordered[_LEVEL_AT[n]] for ordered, n in zip(highest.tolist(), known, strict=True)]
    scale = np.array([[1.0 / (level + 1e-9)] for level in levels])
    _sample(wave, at + grid.wave, grid.wave_shares, shape)
    shape -= np.add.reduce(shape, axis=1, keepdims=True) / SIGNED
    size = np.maximum.reduce(np.abs(shape[:, _OWN]), axis=1, keepdims=True) + 1e-9
    shape /= size
    _sample(envelope, at + grid.envelope, grid.envelope_shares, heights)
    heights *= 2 * scale
    highest *= scale
    found[:, _SELF] = heights[:, _HERE]
    found[:, _SELF + 1 : _SELF + 2] = 0.3 * scale * size
    bound = np.abs(found)
    bound *= 0.25
    bound += 1.0
    found /= bound  # within -4 to 4
    return found.astype(np.float32)


class _Grid(NamedTuple):
    """Sampling positions around a candidate, in samples from it.

    ``seconds`` ``(LEVEL_S + 1,)`` are the limits of the seconds. Each of ``n`` positions lies between two
    samples: the ``n`` before come first, then the ``n`` after, each with its weight.
    """

    seconds: NDArray[np.intp]
    wave: NDArray[np.intp]
    wave_shares: NDArray[np.floating]
    envelope: NDArray[np.intp]
    envelope_shares: NDArray[np.floating]


@lru_cache
def _grid(rate_hz: float) -> _Grid:
    seconds = round(LOOK_AHEAD_S * rate_hz) + np.arange(-LEVEL_S, 1) * round(rate_hz)
    return _Grid(seconds, *_between(WAVE_S * rate_hz), *_between(ENVELOPE_S * rate_hz))


def _between(offsets: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    whole = np.floor(offsets)
    after = offsets - whole
    return np.concatenate([whole, whole + 1]).astype(np.intp), np.concatenate([1 - after, after])


def _sample(signal: Floats, at: NDArray[np.intp], shares: NDArray[np.floating], samples: Floats) -> None:
    """``signal`` interpolated linearly, from ``at`` ``(k, 2 n)`` and ``shares`` as in `_Grid`.

    The result is written into ``samples`` ``(k, n)``.
    """
    parts, n = signal.take(at), len(shares) // 2
    parts *= shares
    np.add(parts[:, :n], parts[:, n:], out=samples)

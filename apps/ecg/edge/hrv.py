"""Heart rate variability over a few minutes of normal beats.

Measures and bands are those of the Task Force of the ESC and NASPE (Circulation 93:1043, 1996). The spectrum
is Lomb's (1976) for unevenly sampled data, so that gaps (ectopic beats, bad signal) need no interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend, lombscargle

VLF_HZ = (0.0033, 0.04)
LF_HZ = (0.04, 0.15)
HF_HZ = (0.15, 0.40)
MIN_NN = 60
"""Minimum number of intervals."""
MIN_SPECTRUM_S = 120.0
"""Minimum sum of the intervals for a spectrum: LF needs about two minutes."""
NN_S = (0.25, 2.5)
"""Plausible intervals between neighbouring normal beats: 24 to 240 bpm."""
_OVERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Variability:
    """Result of `variability`; powers are None without enough data for a spectrum."""

    nn_count: int
    ectopic_share: float
    """Share of beats that are not normal."""
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_percent: float
    vlf_ms2: float | None
    lf_ms2: float | None
    hf_ms2: float | None

    @property
    def lf_hf(self) -> float | None:
        """Ratio of low to high frequency power."""
        return self.lf_ms2 / self.hf_ms2 if self.lf_ms2 is not None and self.hf_ms2 else None


def variability(
    times_s: NDArray[np.float64], normal: NDArray[np.bool_], joined: NDArray[np.bool_]
) -> Variability | None:
    """HRV of beats at ``times_s`` ``(n,)``, rising; None for fewer than `MIN_NN` intervals.

    ``normal`` ``(n,)`` marks beats of the sinus node. ``joined`` ``(n,)`` marks beats with good signal since
    the previous beat, so that none was missed. Only intervals between two normal beats count.
    """
    if len(times_s) < 2:
        return None
    rr = np.diff(times_s)
    is_nn = normal[1:] & normal[:-1] & joined[1:] & (rr >= NN_S[0]) & (rr <= NN_S[1])
    count = int(is_nn.sum())
    if count < MIN_NN:
        return None
    nn_ms = 1e3 * rr[is_nn]
    steps = 1e3 * np.diff(rr)[is_nn[1:] & is_nn[:-1]]
    powers: tuple[float | None, ...] = (None, None, None)
    if nn_ms.sum() >= 1e3 * MIN_SPECTRUM_S:
        powers = band_powers_ms2(times_s[1:][is_nn], nn_ms)
    return Variability(
        nn_count=count,
        ectopic_share=float(1 - normal.mean()),
        mean_nn_ms=float(nn_ms.mean()),
        sdnn_ms=float(nn_ms.std(ddof=1)),
        rmssd_ms=float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0,
        pnn50_percent=float(100 * np.mean(np.abs(steps) > 50)) if len(steps) else 0.0,
        vlf_ms2=powers[0],
        lf_ms2=powers[1],
        hf_ms2=powers[2],
    )


def band_powers_ms2(times_s: NDArray[np.float64], nn_ms: NDArray[np.float64]) -> tuple[float, float, float]:
    """Power in `VLF_HZ`, `LF_HZ` and `HF_HZ` of intervals ``nn_ms`` that end at ``times_s``, both ``(n,)``.

    Scaled so that a sine of amplitude a has the power a^2 / 2: its peak is a^2 n / 4 high, and as wide as
    1 / (sum of the intervals).
    """
    spanned_s = nn_ms.sum() / 1e3
    step_hz = 1 / (_OVERSAMPLING * spanned_s)
    frequencies_hz = np.arange(VLF_HZ[0], HF_HZ[1], step_hz)
    power = lombscargle(times_s - times_s[0], detrend(nn_ms), 2 * np.pi * frequencies_hz)
    density = power * 2 * spanned_s / len(nn_ms)
    vlf, lf, hf = (
        float(density[(frequencies_hz >= low) & (frequencies_hz < high)].sum() * step_hz)
        for low, high in (VLF_HZ, LF_HZ, HF_HZ)
    )
    return vlf, lf, hf

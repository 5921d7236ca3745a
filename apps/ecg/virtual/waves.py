"""Waveform of heart beats in up to twelve leads.

A beat is a sum of Gaussians about its R peak, as in the dynamical model of McSharry, Clifford, Tarassenko and
Smith, *A dynamical model for generating synthetic electrocardiogram signals*, IEEE Trans Biomed Eng 50(3),
2003; here in its explicit form, and in three dimensions (Sameni, Clifford, Jutten and Shamsollahi, EURASIP J
Adv Signal Process 2007): each wave is a heart vector, which Dower's matrix (Dower, Machado and Osborne, Clin
Cardiol 3, 1980) and Einthoven's triangle turn into leads. So leads agree with one another: III is II less I.

A wave may be steeper on one side, as T waves are. QT follows the rate as Fridericia's formula has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.ecg.virtual.traits import Traits

NORMAL, ATRIAL, VENTRICULAR, FUSION, FIBRILLATING, ABERRANT = range(6)
"""Shapes of beats. The last two are conducted beats of AF: without a P wave; with a wide QRS as well."""

BEAT_REACH_S = (0.75, 0.4)
"""Extent of a beat after its R peak, and before it."""

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEAD_ORDER = ("II", "V1", "V5", "I", "III", "aVR", "aVL", "aVF", "V2", "V3", "V4", "V6")
"""The leads of a recording with fewer than twelve: the first of these."""

_DOWER = {
    "I": (0.632, -0.235, 0.059), "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917), "V2": (0.044, 0.164, -1.387), "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601), "V5": (1.125, 0.127, -0.086), "V6": (0.831, 0.076, 0.23),
}  # fmt: skip
_ONSET, _OFFSET = 0.45, 0.55
"""Where the QRS complex begins and ends about the R peak, in shares of its width."""
_T_LEFT_S, _T_RIGHT_S = 0.058, 0.036
_EDGE = 2.5
"""A wave begins and ends so many standard deviations from its centre."""


def lead_matrix(leads: Sequence[str]) -> NDArray[np.float64]:
    """``(3, leads)``: projection of a heart vector on each lead."""
    seen = {name: np.array(vector) for name, vector in _DOWER.items()}
    seen["III"] = seen["II"] - seen["I"]
    seen["aVR"] = -(seen["I"] + seen["II"]) / 2
    seen["aVL"] = seen["I"] - seen["II"] / 2
    seen["aVF"] = seen["II"] - seen["I"] / 2
    return np.stack([seen[name] for name in leads], axis=1)


@dataclass(frozen=True, slots=True)
class Waves:
    """The waves of every shape: ``(shapes, 6)`` of P, Q, R, S, a late part of QRS, and T."""

    centre_s: NDArray[np.float64]
    left_s: NDArray[np.float64]
    right_s: NDArray[np.float64]
    vector_mv: NDArray[np.float64]
    """``(shapes, 6, 3)``"""
    onset_s: NDArray[np.float64]
    """``(shapes,)``: begin of QRS before the R peak; QT counts from here."""


def waves_of(traits: Traits) -> Waves:
    """The waves of a patient."""
    axis = np.deg2rad(traits.axis_deg)
    main = traits.r_mv * np.array([np.cos(axis), np.sin(axis), 0.15])
    septal, posterior = np.array(traits.septal) * traits.r_mv, np.array(traits.posterior) * traits.r_mv
    pvc = np.array(traits.pvc_vector)
    narrow_s, wide_s, block_s = traits.qrs_ms / 1000, 0.16 * traits.pvc_width, 0.14
    zero, repolarised = np.zeros(3), traits.t_share * (main + 0.6 * np.array([0.1, 0.0, -0.45]))

    def qrs(width_s: float) -> list[tuple[float, float]]:
        return [(-0.225 * width_s, 0.09 * width_s), (0.0, 0.12 * width_s), (0.275 * width_s, 0.11 * width_s)]

    def broad(width_s: float) -> list[tuple[float, float]]:
        return [(0.0, 0.16 * width_s), (0.0, 0.16 * width_s), (0.33 * width_s, 0.13 * width_s)]

    late = (0.075, 0.02)
    if traits.bundle_branch == "left":
        conducted = [(0.0, 0.13 * narrow_s)] * 3
        parts = [zero, main + 0.5 * posterior, zero]
        late, late_vector, t_wave = (0.36 * narrow_s, 0.11 * narrow_s), 0.75 * main, -0.9 * repolarised
    else:
        conducted, parts = qrs(narrow_s), [septal, main, posterior]
        late_vector, t_wave = zero, repolarised
    block_late = traits.r_mv * np.array([-0.55, -0.1, -0.6])
    fused = [
        (0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])) for a, b in zip(qrs(narrow_s), broad(wide_s), strict=True)
    ]
    half = [0.5 * septal, 0.5 * main + 0.5 * pvc, 0.5 * posterior - 0.15 * pvc]

    p_wave, pac_p = np.array(traits.p_vector), np.array(traits.pac_p_vector)
    return _table(traits.qtc_ms / 1000, traits.pr_ms / 1000, [
        (narrow_s, p_wave, conducted, parts, late, late_vector, t_wave),
        (narrow_s, pac_p, conducted, parts, late, late_vector, t_wave),
        (wide_s, zero, broad(wide_s), [zero, pvc, -0.4 * pvc], late, zero, -0.42 * pvc),
        (0.5 * (narrow_s + wide_s), p_wave, fused, half, late, zero, 0.5 * t_wave - 0.2 * pvc),
        (narrow_s, zero, conducted, parts, late, late_vector, t_wave),
        (block_s, zero, qrs(narrow_s), parts, (0.07, 0.019), block_late, 0.4 * t_wave - 0.25 * block_late),
    ])  # fmt: skip


_Shape = tuple[
    float,
    NDArray[np.float64],
    list[tuple[float, float]],
    list[NDArray[np.float64]],
    tuple[float, float],
    NDArray[np.float64],
    NDArray[np.float64],
]


def _table(qt_s: float, pr_s: float, shapes: list[_Shape]) -> Waves:
    centre, left, right, vectors, onsets = [], [], [], [], []
    for width_s, p_wave, parts, part_vectors, late, late_vector, t_wave in shapes:
        onset_s = _ONSET * width_s
        p_sigma_s = 0.02
        t_centre_s = qt_s + max(0.0, width_s - 0.1) - onset_s - _EDGE * _T_RIGHT_S
        centre.append([-onset_s - pr_s + _EDGE * p_sigma_s, *[c for c, _ in parts], late[0], t_centre_s])
        right.append([p_sigma_s, *[s for _, s in parts], late[1], _T_RIGHT_S])
        left.append([*right[-1][:-1], _T_LEFT_S])
        vectors.append([p_wave, *part_vectors, late_vector, t_wave])
        onsets.append(onset_s)
    return Waves(*map(np.array, (centre, left, right, vectors, onsets)))


def beat_vectors(
    waves: Waves,
    time_s: NDArray[np.float64],
    beat_s: NDArray[np.float64],
    shape: NDArray[np.intp],
    rr_s: NDArray[np.float64],
    size: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The heart vector in mV ``(n, 3)`` at ``time_s`` ``(n,)`` from beats.

    Each beat, of ``(b,)``, has its R peak at ``beat_s``, its QT by ``rr_s`` and its size.
    """
    if not len(beat_s):
        return np.zeros((len(time_s), 3))
    centre, left, right = waves.centre_s[shape], waves.left_s[shape], waves.right_s[shape]
    stretch = np.clip(np.cbrt(rr_s), 0.62, 1.15)  # of QT: Fridericia 1920
    onset = waves.onset_s[shape]
    centre[:, -1] = (centre[:, -1] + onset) * stretch - onset
    left[:, -1] *= stretch
    right[:, -1] *= stretch
    away = time_s - (beat_s[:, np.newaxis] + centre)[..., np.newaxis]
    width = np.where(away < 0, left[..., np.newaxis], right[..., np.newaxis])
    level = np.exp(-0.5 * np.square(away / width))
    vectors = waves.vector_mv[shape] * size[:, np.newaxis, np.newaxis]
    return np.tensordot(level, vectors, axes=([0, 1], [0, 1]))


def fibrillation_vectors(
    traits: Traits, time_s: NDArray[np.float64], strength: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fibrillatory waves ``(n, 3)`` in mV: a sawtooth whose rate and size waver, seen best in V1 and II.

    After Stridh and Soernmo, *Spatiotemporal QRST cancellation techniques*, IEEE Trans Biomed Eng 48, 2001.
    """
    phase = 2 * np.pi * traits.fibrillation_hz * time_s
    phase = phase + 0.9 * np.sin(2 * np.pi * 0.23 * time_s) + 0.5 * np.sin(2 * np.pi * 0.71 * time_s + 1.0)
    saw = sum(np.sin(k * phase + 0.3 * k) / k for k in (1, 2, 3))
    size = traits.fibrillation_mv * (1 + 0.3 * np.sin(2 * np.pi * 0.08 * time_s)) * strength
    return np.multiply.outer(saw * size, np.array([-0.2, 0.75, -0.9]))


def qrs_size_mv(waves: Waves, leads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Peak-to-peak amplitude of a normal beat's QRS in each lead, at least 0.2 mV."""
    time_s = np.arange(-0.12, 0.12, 0.002)
    one = np.ones(1)
    seen = beat_vectors(waves, time_s, np.zeros(1), np.array([NORMAL]), one, one) @ leads
    return np.maximum(np.ptp(seen, axis=0), 0.2)

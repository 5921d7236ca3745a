"""Traits of a virtual patient: drawn from the seed, modified by a variant, constant over time.

Ranges are those of resting adults; a variant makes a patient on whom a model trained on ordinary ones fails
at first (see `VARIANTS`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from common.errors import ConfigError

Vector = tuple[float, float, float]
"""A heart vector in mV: to the left, to the feet, to the back."""

OSCILLATIONS = 10
"""Sines in each band of the heart rate's variability."""


@dataclass(frozen=True, slots=True)
class Oscillation:
    """A sum of sines of fixed frequencies: a variability that is known at any time without a history."""

    frequencies_hz: tuple[float, ...]
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """The sum at ``time_s`` ``(n,)``."""
        turns = np.multiply.outer(time_s, np.array(self.frequencies_hz))
        return np.sin(2 * np.pi * turns + np.array(self.phases)) @ np.array(self.amplitudes)


@dataclass(frozen=True, slots=True)
class Traits:
    """A patient. Intervals are at 60 beats a minute; only QT and the T wave move with the rate."""

    heart_rate_bpm: float
    tachycardia_bpm: float
    bradycardia_bpm: float
    vt_bpm: float
    af_bpm: float
    af_rr_variation: float
    """Standard deviation of RR in AF over its mean."""
    pr_ms: float
    qrs_ms: float
    qtc_ms: float
    axis_deg: float
    r_mv: float
    p_vector: Vector
    pac_p_vector: Vector
    t_share: float
    """Size of the T wave against the R wave."""
    septal: Vector
    posterior: Vector
    pvc_vector: Vector
    pvc_width: float
    """Width of a ventricular beat against 160 ms."""
    pvc_coupling: float
    pac_coupling: float
    fibrillation_hz: float
    fibrillation_mv: float
    slow: Oscillation
    """Relative change of the heart rate over minutes and the day."""
    lf: Oscillation
    hf: Oscillation
    respiration_hz: float
    jitter_s: float
    bundle_branch: str = ""
    """``left`` where every conducted beat has a left bundle branch block."""
    aberrant: bool = False
    """Beats that end a short cycle after a long one in AF are conducted with a right bundle branch block."""


def draw_traits(seed: int, variant: str = "typical") -> Traits:
    """The patient of ``seed``. Raises `ConfigError` for an unknown variant."""
    if variant not in VARIANTS:
        raise ConfigError(f"variant={variant} is not one of {', '.join(VARIANTS)}")
    random = np.random.default_rng([seed, zlib.crc32(b"traits")])
    uniform, normal = random.uniform, random.normal
    respiration_hz = uniform(0.2, 0.32)
    focus = normal(0.0, 1.0, 3) * (1.0, 1.2, 0.6)
    focus *= uniform(1.3, 2.2) / np.linalg.norm(focus)
    if abs(0.235 * focus[0] + 1.066 * focus[1]) < 0.7:  # hardly seen in lead II: tilt it
        focus[1] += 1.0 if focus[1] >= 0 else -1.0
    lf_share, hf_share = uniform(0.015, 0.035), uniform(0.012, 0.03)
    ordinary = Traits(
        heart_rate_bpm=uniform(56.0, 88.0),
        tachycardia_bpm=uniform(125.0, 150.0),
        bradycardia_bpm=uniform(34.0, 44.0),
        vt_bpm=uniform(150.0, 195.0),
        af_bpm=uniform(90.0, 135.0),
        af_rr_variation=uniform(0.19, 0.27),
        pr_ms=uniform(135.0, 190.0),
        qrs_ms=uniform(82.0, 106.0),
        qtc_ms=uniform(385.0, 440.0),
        axis_deg=float(np.clip(normal(48.0, 15.0), 20.0, 85.0)),
        r_mv=float(np.clip(1.15 * np.exp(normal(0.0, 0.18)), 0.75, 1.8)),
        p_vector=_around(random, (0.06, 0.11, -0.01), 0.15),
        pac_p_vector=_around(random, (-0.01, 0.07, 0.05), 0.3),
        t_share=uniform(0.2, 0.36),
        septal=_around(random, (-0.12, -0.08, -0.2), 0.25),
        posterior=_around(random, (-0.05, -0.12, 0.4), 0.25),
        pvc_vector=(float(focus[0]), float(focus[1]), float(focus[2])),
        pvc_width=uniform(0.9, 1.15),
        pvc_coupling=uniform(0.55, 0.72),
        pac_coupling=uniform(0.6, 0.76),
        fibrillation_hz=uniform(5.5, 7.5),
        fibrillation_mv=uniform(0.035, 0.08),
        slow=Oscillation(
            (1 / 86400, *uniform(1 / 1500, 1 / 120, 6)),
            (0.08, *[0.012] * 6),
            tuple(uniform(0.0, 2 * np.pi, 7)),
        ),
        lf=_band(random, 0.1, 0.012, lf_share),
        hf=_band(random, respiration_hz, 0.012, hf_share),
        respiration_hz=respiration_hz,
        jitter_s=0.003,
    )
    return VARIANTS[variant](ordinary)


def _around(random: np.random.Generator, vector: Vector, share: float) -> Vector:
    x, y, z = np.array(vector) + random.normal(0.0, share, 3) * np.linalg.norm(vector)
    return float(x), float(y), float(z)


def _band(random: np.random.Generator, centre_hz: float, width_hz: float, deviation: float) -> Oscillation:
    """Sines about ``centre_hz`` that together have the standard deviation ``deviation``."""
    amplitudes = random.rayleigh(1.0, OSCILLATIONS)
    amplitudes *= deviation / np.sqrt(0.5 * np.sum(amplitudes**2))
    frequencies = np.abs(random.normal(centre_hz, width_hz, OSCILLATIONS))
    return Oscillation(
        tuple(frequencies), tuple(amplitudes), tuple(random.uniform(0.0, 2 * np.pi, OSCILLATIONS))
    )


def slow_fibrillation(traits: Traits) -> Traits:
    """The patient under drugs that slow the ventricles down when the atria fibrillate."""
    return replace(traits, af_bpm=72.0, af_rr_variation=0.075)


def _respiratory(traits: Traits) -> Traits:
    """Sinus rhythm as irregular as a trained young heart's: the rate swings by a fifth with each breath."""
    deviation = np.sqrt(0.5 * np.sum(np.square(traits.hf.amplitudes)))
    stronger = tuple(0.14 / deviation * amplitude for amplitude in traits.hf.amplitudes)
    return replace(traits, heart_rate_bpm=56.0, hf=replace(traits.hf, amplitudes=stronger))


VARIANTS: Mapping[str, Callable[[Traits], Traits]] = {
    "typical": lambda traits: traits,
    # AF under drugs: slow and nearly regular, recognizable only by the missing P and the coarse waves.
    "slow_af": lambda traits: replace(slow_fibrillation(traits), fibrillation_hz=4.6, fibrillation_mv=0.09),
    # Wide beats in AF that are conducted (N), and look like ventricular ones.
    "aberrant": lambda traits: replace(traits, aberrant=True),
    # Ventricular beats from high in the septum: narrow, barely early, along the axis of normal ones.
    "septal_pvc": lambda traits: replace(
        traits, pvc_width=0.62, pvc_coupling=0.78, pvc_vector=(0.75, 1.25, -0.55)
    ),
    "lbbb": lambda traits: replace(traits, bundle_branch="left", qrs_ms=150.0),
    "respiratory": _respiratory,
}
"""Changes to an ordinary patient by name."""

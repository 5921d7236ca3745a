"""Disturbances of a recording: baseline wander, mains, muscle, electrode motion, leads that are off.

Strength is a signal-to-noise ratio in dB as PhysioNet's noise stress test defines it (Moody, Muldrow and
Mark, *A noise stress test for arrhythmia detectors*, Computers in Cardiology 1984): the signal's power is
the square of the QRS complex's peak-to-peak amplitude over 8, the noise's its mean square. Each noise has
mean square 1 before it is scaled, and is independent in each lead.

Noise depends on (seed, kind, lead, time) only: it is made in blocks of 10 s, or of sines.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError

KINDS = ("baseline_wander", "mains", "muscle", "electrode_motion", "lead_off")
AMPLIFIER_MV = 0.004
"""Root mean square of the permanent noise."""
_BLOCK_S = 10.0
_MUSCLE_HZ = (20.0, 150.0)
_RUBBING_HZ = {"slow": 5.0, "fast": 16.0}
_JUMPS_HZ, _RISE_S, _FALL_S = 0.5, 0.04, (0.15, 0.6)
_TEXT = re.compile(r"(?P<kind>\w+)(:(?P<db>-?\d+(\.\d+)?))?(:(?P<window>[\d.]+-[\d.]+))?(@(?P<lead>\w+))?")


@dataclass(frozen=True, slots=True)
class Noise:
    """A disturbance with its time. ``snr_db`` is None for a lead that is off."""

    kind: str
    snr_db: float | None
    began_s: float = 0.0
    ended_s: float = math.inf
    lead: str | None = None
    """The affected lead; None for all."""


def parse_noise(text: str) -> tuple[Noise, ...]:
    """Noises from ``KIND[:DB][:FROM-TO][@LEAD],...`` such as ``muscle:6,lead_off:60-70@V1``.

    Raises `ConfigError`.
    """
    return tuple(_parse(word.strip()) for word in text.split(",")) if text.strip() else ()


def _parse(text: str) -> Noise:
    found = _TEXT.fullmatch(text)
    if (
        found is None
        or found["kind"] not in KINDS
        or (found["kind"] == "lead_off") == (found["db"] is not None)
    ):
        raise ConfigError(
            f"noise={text} is not KIND:DB[:FROM-TO][@LEAD] with one of {', '.join(KINDS)} "
            "(lead_off without DB); write for example muscle:6:30-60,lead_off:70-80@V1"
        )
    began_s, ended_s = parse_window(found["window"] or "0-inf", f"noise={text}")
    return Noise(found["kind"], float(found["db"]) if found["db"] else None, began_s, ended_s, found["lead"])


def parse_window(text: str, where: str) -> tuple[float, float]:
    """``FROM-TO`` in seconds. Raises `ConfigError` naming ``where``."""
    first, _, last = text.partition("-")
    try:
        began_s, ended_s = float(first), float(last)
    except ValueError:
        began_s, ended_s = 0.0, 0.0
    if not 0 <= began_s < ended_s:
        raise ConfigError(f"{where}: {text!r} is not FROM-TO in seconds")
    return began_s, ended_s


def noise_of(
    kind: str, seed: int, lead: str, first: int, count: int, rate_hz: float, mains_hz: float
) -> NDArray[np.float64]:
    """Noise ``(count,)`` of mean square 1 in the samples from ``first`` on; ``amplifier`` is white."""
    size = max(1, round(_BLOCK_S * rate_hz))
    blocks = range(first // size, (first + count - 1) // size + 1)
    parts = [_noise_block(kind, seed, lead, number, size, rate_hz, mains_hz) for number in blocks]
    start = first % size
    return np.concatenate(parts)[start : start + count]


@lru_cache(maxsize=128)
def _noise_block(
    kind: str, seed: int, lead: str, number: int, size: int, rate_hz: float, mains_hz: float
) -> NDArray[np.float64]:
    first = number * size
    time_s = (first + np.arange(size)) / rate_hz
    if kind == "amplifier":
        return _white(seed, f"{kind} {lead}", first, size, rate_hz)
    if kind == "baseline_wander":
        return _sines(time_s, seed, f"{kind} {lead}", (0.05, 0.6), 12)
    if kind == "mains":
        swell = 1 + 0.2 * np.sin(2 * np.pi * 0.07 * time_s)
        phase = 2 * np.pi * (mains_hz * time_s + 0.02 * np.sin(2 * np.pi * 0.11 * time_s))
        return swell * (np.sin(phase) + 0.15 * np.sin(3 * phase + 0.5)) / math.sqrt(1.02 * 0.5 * 1.0225)
    if kind == "muscle":
        taps = _muscle_taps(rate_hz)
        white = _white(seed, f"{kind} {lead}", first - len(taps) + 1, size + len(taps) - 1, rate_hz)
        bursts = 1 + 0.5 * _sines(time_s, seed, f"bursts {lead}", (0.05, 0.5), 6)
        return np.convolve(white, taps, "valid") * bursts / math.sqrt(1.25)
    return _electrode_motion(time_s, seed, lead)


def _sines(
    time_s: NDArray[np.float64], seed: int, name: str, band_hz: tuple[float, float], count: int
) -> NDArray[np.float64]:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    frequencies, phases = random.uniform(*band_hz, count), random.uniform(0, 2 * np.pi, count)
    return np.sin(2 * np.pi * np.multiply.outer(time_s, frequencies) + phases).sum(axis=1) / math.sqrt(
        count / 2
    )


def _white(seed: int, name: str, first: int, count: int, rate_hz: float) -> NDArray[np.float64]:
    """Standard normal samples from ``first`` on (which may be negative), independent of earlier calls."""
    block = max(1, round(_BLOCK_S * rate_hz))
    key = zlib.crc32(name.encode())
    parts = [
        _white_block(seed, key, number, block)
        for number in range(first // block, (first + count - 1) // block + 1)
    ]
    start = first % block
    return np.concatenate(parts)[start : start + count]


@lru_cache(maxsize=16)
def _white_block(seed: int, key: int, number: int, size: int) -> NDArray[np.float64]:
    values = np.random.default_rng([seed, key, number + 2**31, size]).standard_normal(size)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=8)
def _muscle_taps(rate_hz: float) -> NDArray[np.float64]:
    """A band-pass of unit power for white noise: the band of surface EMG, as far as ``rate_hz`` has it."""
    low, high = _MUSCLE_HZ[0] / rate_hz, min(_MUSCLE_HZ[1], 0.45 * rate_hz) / rate_hz
    place = np.arange(-int(0.05 * rate_hz), int(0.05 * rate_hz) + 1)
    taps = 2 * high * np.sinc(2 * high * place) - 2 * low * np.sinc(2 * low * place)
    taps *= np.hamming(len(place))
    return taps / np.sqrt(np.sum(taps**2))


def _electrode_motion(time_s: NDArray[np.float64], seed: int, lead: str) -> NDArray[np.float64]:
    """Slow rubbing, faster rubbing, and jumps that decay where an electrode shifts.

    Most of the power is below 5 Hz, and a twentieth in the band of QRS (5 to 18 Hz).
    """
    slow, fast = (_rubbing(time_s, seed, f"{name} {lead}", hz) for name, hz in _RUBBING_HZ.items())
    jumps = np.zeros(len(time_s))
    key = zlib.crc32(f"jumps {lead}".encode())
    for block in range(int(time_s[0] // _BLOCK_S) - 1, int(time_s[-1] // _BLOCK_S) + 1):
        random = np.random.default_rng([seed, key, block + 2**31])
        for _ in range(random.poisson(_JUMPS_HZ * _BLOCK_S)):
            start, fall = block * _BLOCK_S + random.uniform(0, _BLOCK_S), random.uniform(*_FALL_S)
            since = np.maximum(time_s - start, 0.0)
            jumps += random.normal() * (np.exp(-since / fall) - np.exp(-since / _RISE_S)) * (since > 0)
    falls = np.linspace(*_FALL_S, 64)
    energy = np.mean(falls / 2 + _RISE_S / 2 - 2 / (1 / falls + 1 / _RISE_S))
    jumps /= math.sqrt(_JUMPS_HZ * energy)  # Campbell's theorem: shot noise has rate times the shape's energy
    return math.sqrt(0.6) * slow + math.sqrt(0.15) * fast + math.sqrt(0.25) * jumps


def _rubbing(time_s: NDArray[np.float64], seed: int, name: str, grid_hz: float) -> NDArray[np.float64]:
    """Independent values on a grid with smooth steps between, of mean square 1."""
    place = time_s * grid_hz
    whole = np.floor(place).astype(np.intp)
    first = int(whole[0])
    values = _white(seed, name, first, int(whole[-1]) - first + 2, grid_hz)
    share = place - whole
    share = share * share * (3 - 2 * share)
    return ((1 - share) * values[whole - first] + share * values[whole - first + 1]) / math.sqrt(26 / 35)

"""Headers and sample formats of PhysioNet's records, after header(5) and signal(5) of the WFDB guide."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import SourceFormatError
from hardware.sensors.recording import utc_ns

DEFAULT_GAIN, DEFAULT_RATE_HZ = 200.0, 250.0
_RECORD = re.compile(r"(?P<name>\S+?)(?P<segments>/\d+)?\s+(?P<signals>\d+)(\s+(?P<rest>.*))?")
_START = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d+))? (\d{1,2})/(\d{1,2})/(\d{1,9})")
_FORMAT = re.compile(r"(?P<format>\d+)(x(?P<per_frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?")
_GAIN = re.compile(
    r"(?P<gain>[-+]?[\d.]+(e[-+]?\d+)?)(\((?P<baseline>-?\d+)\))?(/(?P<unit>\S+))?", re.IGNORECASE
)


def _two_in_three(raw: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Format 212: pairs of 12-bit numbers in three bytes."""
    low, middle, high = raw.reshape(-1, 3).astype(np.int32).T
    pairs = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1).ravel()
    return pairs - ((pairs & 0x800) << 1)


def _three_bytes(raw: NDArray[np.uint8]) -> NDArray[np.int32]:
    low, middle, high = raw.reshape(-1, 3).astype(np.int32).T
    values = low | middle << 8 | high << 16
    return values - ((values & 0x800000) << 1)


@dataclass(frozen=True, slots=True)
class Format:
    """Layout of samples in a file: ``samples`` of them in ``size`` bytes, and the value for none."""

    samples: int
    size: int
    missing: int
    decode: Callable[[NDArray[np.uint8]], NDArray[np.int32]]


def _plain(dtype: str, zero: int = 0) -> Callable[[NDArray[np.uint8]], NDArray[np.int32]]:
    return lambda raw: raw.view(dtype).astype(np.int32) - zero


FORMATS = {
    "16": Format(1, 2, -(2**15), _plain("<i2")),
    "24": Format(1, 3, -(2**23), _three_bytes),
    "32": Format(1, 4, -(2**31), _plain("<i4")),
    "61": Format(1, 2, -(2**15), _plain(">i2")),
    "80": Format(1, 1, -(2**7), _plain("u1", 2**7)),
    "160": Format(1, 2, -(2**15), _plain("<u2", 2**15)),
    "212": Format(2, 3, -(2**11), _two_in_three),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal line of the header. ``gain`` is 0 and ``name`` empty where the header has none."""

    file: str
    format: str
    per_frame: int
    offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A record's header. ``frames`` is 0 if it is absent; ``start`` is the start as it is written."""

    record: str
    rate_hz: float
    frames: int
    recorded_ns: int | None
    start: str
    signals: tuple[Signal, ...]


def parse_header(text: str, where: str) -> Header:
    """The header of a record. Raises `SourceFormatError` naming ``where`` and the line."""
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    found = _RECORD.fullmatch(lines[0][1]) if lines else None
    if found is None:
        raise SourceFormatError(f"{where} is not the header of a record: it must begin with RECORD SIGNALS")
    if found["segments"]:
        raise SourceFormatError(f"{where}: a record of several segments; give one of its segments")
    count, words = int(found["signals"]), (found["rest"] or "").split()
    if not 1 <= count <= len(lines) - 1:
        raise SourceFormatError(f"{where}: {count} signals are announced, {len(lines) - 1} described")
    try:
        rate_hz = float(words[0].split("/")[0]) if words else DEFAULT_RATE_HZ
        frames = int(words[1]) if len(words) > 1 else 0
    except ValueError:
        rate_hz, frames = 0.0, 0
    if not 0 < rate_hz <= 100_000 or frames < 0:
        raise SourceFormatError(f"{where}:{lines[0][0]}: {lines[0][1]!r} has no usable rate or length")
    signals = tuple(_signal(line, f"{where}:{number}") for number, line in lines[1 : count + 1])
    start = words[2:4]
    return Header(found["name"], rate_hz, frames, _recorded_ns(start), " ".join(start), signals)


def _signal(line: str, where: str) -> Signal:
    words = line.split(maxsplit=8)
    found = _FORMAT.fullmatch(words[1]) if len(words) > 1 else None
    gain = _GAIN.fullmatch(words[2]) if len(words) > 2 else None
    try:
        if found is None or (len(words) > 2 and gain is None):
            raise ValueError
        zero = int(words[4]) if len(words) > 4 else 0
        checksum = int(words[6]) if len(words) > 6 else None
        steps = float(gain["gain"]) if gain else 0.0
    except ValueError:
        raise SourceFormatError(f"{where}: {line!r} does not describe a signal") from None
    if found["format"] not in FORMATS or int(found["skew"] or 0):
        what = f"format {found['format']}" if found["format"] not in FORMATS else "a skewed signal"
        raise SourceFormatError(f"{where}: {what} cannot be read; formats: {', '.join(FORMATS)}, no skew")
    if Path(words[0]).name != words[0]:
        raise SourceFormatError(f"{where}: {words[0]!r} is not a file beside the header")
    return Signal(
        words[0],
        found["format"],
        max(1, int(found["per_frame"] or 1)),
        int(found["offset"] or 0),
        steps,
        int(gain["baseline"]) if gain and gain["baseline"] else zero,
        gain["unit"] if gain and gain["unit"] else "mV",
        checksum,
        words[8].strip() if len(words) > 8 else "",
    )


def _recorded_ns(words: list[str]) -> int | None:
    """The start of the record, where it has a time and a date."""
    found = _START.fullmatch(" ".join(words))
    if found is None:
        return None
    hour, minute, second, day, month, year = (int(found[part]) for part in (1, 2, 3, 5, 6, 7))
    try:
        return utc_ns(year, month, day, hour, minute, second, found[4] or "")
    except ValueError:
        return None

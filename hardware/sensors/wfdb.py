"""Records of PhysioNet: ``wfdb:PATH/RECORD?leads=MLII&chunk_s=1``, read with numpy only.

Written from the WFDB Applications Guide (Moody, PhysioNet): header(5) and signal(5). Formats 16, 24, 32, 61,
80, 160 and 212, several signals in a file, several samples of a signal in a frame, a byte offset. Records of
several segments, skewed signals and other formats are refused by name.

`hardware.sensors.ecg_labels` decides which signals are an ECG. A value for "no sample" is NaN. Defects of a
record that can still be read are reported before its first chunk: a file that ends early, a
checksum that does not agree, a signal without a gain (200 steps a millivolt are assumed, by header(5)),
a gain that cannot be (its samples are NaN).

A relative path that is not there is looked for under ``EDGELOOP_DATA``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.edge.sensing.sources import SourceUri
from common.errors import SourceFormatError
from hardware.sensors.ecg_labels import Labelled, choose, millivolts_in
from hardware.sensors.recording import (
    LARGEST_GAIN,
    LEAST_GAIN,
    RecordingSource,
    Stretch,
    paced,
    wanted_leads,
)
from hardware.sensors.wfdb_header import DEFAULT_GAIN, FORMATS, Header, Signal, parse_header

HEADER_LIMIT_BYTES = 262_144
_CHECK_FRAMES = 1 << 18


class SignalFile:
    """One file with the samples of one or more signals, frame by frame."""

    def __init__(self, path: Path, signals: list[Signal]) -> None:
        self._path = path
        self._format = FORMATS[signals[0].format]
        self._offset = signals[0].offset
        self.width = sum(signal.per_frame for signal in signals)
        """Samples in a frame."""
        try:
            size = path.stat().st_size - self._offset
        except OSError as error:
            raise SourceFormatError(f"the signal file {path} cannot be read: {error}") from error
        whole, rest = divmod(max(0, size), self._format.size)
        samples = whole * self._format.samples + (self._format.samples == 2 and rest == 2)
        self.frames = samples // self.width

    def read(self, first: int, count: int) -> NDArray[np.int32]:
        """Frames ``(count, width)`` as stored; ``count`` is less only at the end of the file."""
        group, size = self._format.samples, self._format.size
        begin, end = first * self.width, (first + count) * self.width
        skipped = begin % group
        groups = -(-end // group) - begin // group
        with self._path.open("rb") as file:
            file.seek(self._offset + begin // group * size)
            raw = file.read(groups * size)
        raw += bytes(-len(raw) % size)  # an odd last sample of format 212 has two bytes
        samples = self._format.decode(np.frombuffer(raw, np.uint8))[skipped : skipped + end - begin]
        return samples[: len(samples) // self.width * self.width].reshape(-1, self.width)


@dataclass(frozen=True, slots=True)
class _Column:
    """Position of a signal in the frames of its file."""

    file: SignalFile
    signal: Signal
    begin: int

    @property
    def part(self) -> slice:
        return slice(self.begin, self.begin + self.signal.per_frame)

    @property
    def per_mv(self) -> float:
        """Steps of the converter in a millivolt."""
        return (self.signal.gain or DEFAULT_GAIN) / (millivolts_in(self.signal.unit) or math.nan)


class WfdbRecord:
    """`hardware.sensors.recording.Recording` over a header and its signal files."""

    def __init__(self, path: Path, wanted: tuple[str, ...] | None = None) -> None:
        """Open the record whose header is ``path``. Raises `SourceFormatError`."""
        try:
            with path.open("rb") as file:
                text = file.read(HEADER_LIMIT_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise SourceFormatError(f"the header {path} cannot be read: {error}") from error
        self._path = path
        self.header = parse_header(text, str(path))
        columns = _columns(path.parent, self.header)
        labelled = [Labelled(c.signal.name, c.signal.unit, c.signal.per_frame) for c in columns]
        chosen = choose(labelled, wanted, str(path))
        self._choice_problems = chosen.problems
        self._columns = [columns[number] for number in chosen.signals]
        per_frame = self._columns[0].signal.per_frame
        stored = min(column.file.frames for column in self._columns)
        self._frames = min(stored, self.header.frames) if self.header.frames else stored
        if not self._frames:
            raise SourceFormatError(f"{path}: the signal file holds no samples")
        self._per_frame = per_frame
        self.name = path.stem
        self.rate_hz = self.header.rate_hz * per_frame
        self.leads = chosen.names
        self.recorded_ns = self.header.recorded_ns
        self.low_pass_hz: float | None = None
        self.stretches = (Stretch(0, self._frames * per_frame, 0),)

    def problems(self) -> Iterator[str]:
        """Defects of the record; reads it once for the checksums."""
        yield from self._choice_problems
        if self.header.start and self.recorded_ns is None:
            yield (
                f"{self._path}: its start {self.header.start!r} is no time and date; the time of reading "
                "stands for it, unless start= gives one"
            )
        for name, column in zip(self.leads, self._columns, strict=True):
            signal = column.signal
            if not signal.gain:
                yield f"{self._path}: {name} has no gain; {DEFAULT_GAIN:g} steps a mV are assumed"
            elif not LEAST_GAIN <= column.per_mv <= LARGEST_GAIN:
                yield (
                    f"{self._path}: {name} has a gain of {signal.gain:g} a {signal.unit}, "
                    "which cannot be; its samples are left out"
                )
        if self._frames < self.header.frames:
            yield (
                f"{self._path}: the signal ends after {self._frames} of {self.header.frames} samples; "
                "the rest is missing"
            )
        elif self.header.frames:
            yield from self._checksum_problems()

    def read(self, first: int, count: int) -> NDArray[np.float64]:
        """Samples in mV ``(count, leads)``."""
        frame, skipped = divmod(first, self._per_frame)
        frames = -(-(first + count) // self._per_frame) - frame
        frames_of = {file: file.read(frame, frames) for file in {c.file for c in self._columns}}
        values = np.empty((count, len(self._columns)))
        for place, column in enumerate(self._columns):
            stored = frames_of[column.file][:, column.part].ravel()[skipped : skipped + count]
            millivolts = (stored - column.signal.baseline) / column.per_mv
            millivolts[stored == FORMATS[column.signal.format].missing] = np.nan
            values[:, place] = millivolts
            if not LEAST_GAIN <= column.per_mv <= LARGEST_GAIN:
                values[:, place] = np.nan
        return values

    def _checksum_problems(self) -> Iterator[str]:
        checked = [column for column in self._columns if column.signal.checksum is not None]
        sums = [0] * len(checked)
        for first in range(0, self._frames, _CHECK_FRAMES):
            count = min(_CHECK_FRAMES, self._frames - first)
            for place, column in enumerate(checked):
                sums[place] += int(column.file.read(first, count)[:, column.part].sum(dtype=np.int64))
        for column, total in zip(checked, sums, strict=True):
            if (total - (column.signal.checksum or 0)) % 65536:
                yield (
                    f"{self._path}: the checksum of {column.signal.name} does not agree: the signal file is "
                    "not as it was written"
                )


def _columns(folder: Path, header: Header) -> list[_Column]:
    columns = []
    for name, group in groupby(header.signals, key=lambda signal: signal.file):
        signals = list(group)
        if len({(signal.format, signal.offset) for signal in signals}) > 1:
            raise SourceFormatError(f"{folder / name}: the signals of a file must have one format")
        file, begin = SignalFile(folder / name, signals), 0
        for signal in signals:
            columns.append(_Column(file, signal, begin))
            begin += signal.per_frame
    return columns


def open_source(uri: SourceUri, speed: float) -> RecordingSource:
    """Open ``wfdb:PATH/RECORD?...``. Raises `SourceFormatError`."""
    wanted = wanted_leads(uri)
    target = uri.target.removesuffix(".hea")
    path = Path(f"{target}.hea")
    data = os.environ.get("EDGELOOP_DATA")
    if not path.exists() and data and not path.is_absolute():
        path = Path(data) / path
    return paced(WfdbRecord(path, wanted), uri, speed)

"""Recordings in EDF and EDF+: ``edf:FILE?leads=II,V5&chunk_s=1``, read with numpy only.

Written from Kemp et al., *A simple format for exchange of digitized polygraphic recordings*,
Electroencephalogr Clin Neurophysiol 82, 1992, and Kemp and Olivan, *European data format 'plus'*, Clin
Neurophysiol 114, 2003. Annotations are not read, but for the times of the data records of a discontinuous
recording (EDF+D), so its gaps show. The header's patient field is not read either: the subject is the file's
name. The start time has no time zone in the header; it is taken for UTC.

Taken are the signals that say that they are an ECG (``ECG``, ``EKG`` or a lead's name), else all in volts;
of these, those at the rate of the first. What is wrong with a file that can still be read is told before its
first chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.edge.sources import SourceUri
from common.errors import SourceFormatError
from hardware.sensors.recording import (
    LARGEST_GAIN,
    LEAST_GAIN,
    MILLIVOLTS,
    RecordingSource,
    Stretch,
    paced,
    wanted_leads,
)

ANNOTATIONS = "EDF Annotations"
_FIXED_BYTES = 256
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Bytes of each field of a signal's header, in order."""
_LEAD = re.compile(r"(ECG|EKG)?[\s:_-]*((ML)?I{1,3}|AV[RLF]|V[1-9]|MV[1-9]|)", re.IGNORECASE)
_ONSET = re.compile(rb"([+-]\d+(\.\d+)?)(\x15\d+(\.\d+)?)?\x14")


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal of the header. ``begin`` is where its samples are in a data record, in samples."""

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    samples: int
    begin: int

    @property
    def name(self) -> str:
        """The label without the kind of signal before it: ``ECG II`` is lead ``II``."""
        return re.sub(r"^(ECG|EKG)[\s:_-]+", "", self.label, flags=re.IGNORECASE)

    @property
    def scale(self) -> float:
        """Millivolts in a step of the converter; 0 where the header makes no sense."""
        steps = self.digital[1] - self.digital[0]
        millivolts = (self.physical[1] - self.physical[0]) * MILLIVOLTS[self.unit.lower()]
        return millivolts / steps if steps > 0 else 0.0

    @property
    def believed(self) -> bool:
        return self.scale != 0 and LEAST_GAIN <= 1 / abs(self.scale) <= LARGEST_GAIN

    def millivolts(self, stored: NDArray[np.int16]) -> NDArray[np.float64]:
        """Samples as stored in mV; NaN where the scale is not to be believed."""
        if not self.believed:
            return np.full(len(stored), np.nan)
        offset = self.physical[0] * MILLIVOLTS[self.unit.lower()]
        return offset + (stored.astype(np.float64) - self.digital[0]) * self.scale


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file. ``records`` is -1 where the recorder was stopped before it could say."""

    kind: str
    recorded_ns: int | None
    records: int
    record_s: float
    size: int
    signals: tuple[Signal, ...]

    @property
    def width(self) -> int:
        """Samples in a data record, of all signals."""
        return sum(signal.samples for signal in self.signals)


def parse_header(raw: bytes, where: str) -> Header:
    """The header at the begin of a file. Raises `SourceFormatError` naming ``where`` and the field."""
    if len(raw) < _FIXED_BYTES or raw[:8] != b"0       ":
        raise SourceFormatError(f"{where} is not an EDF file: it must begin with version 0")
    count = _whole(raw[252:256], "number of signals", where)
    size, records = (
        _whole(raw[184:192], "header size", where),
        _whole(raw[236:244], "number of records", where),
    )
    record_s = _number(raw[244:252], "duration of a data record", where)
    if not 1 <= count <= 4096 or size != _FIXED_BYTES * (count + 1):
        raise SourceFormatError(f"{where}: a header of {size} bytes does not go with {count} signals")
    if len(raw) < size or record_s <= 0 or records < -1:
        raise SourceFormatError(f"{where}: the header ends early, or its data records have no duration")
    fields: list[list[bytes]] = []
    at = _FIXED_BYTES
    for width in _FIELDS:
        fields.append([raw[at + k * width : at + (k + 1) * width] for k in range(count)])
        at += width * count
    labels, _, units, pmin, pmax, dmin, dmax, _, samples, _ = fields
    signals, begin = [], 0
    for k in range(count):
        label = _text(labels[k])
        place = f"{where}, signal {label!r}"
        number = _whole(samples[k], "number of samples", place)
        if number < 1:
            raise SourceFormatError(f"{place}: {number} samples in a data record")
        signals.append(
            Signal(
                label,
                _text(units[k]),
                (_number(pmin[k], "physical minimum", place), _number(pmax[k], "physical maximum", place)),
                (_whole(dmin[k], "digital minimum", place), _whole(dmax[k], "digital maximum", place)),
                number,
                begin,
            )
        )
        begin += number
    return Header(
        _text(raw[192:236])[:5], _recorded_ns(raw[168:184]), records, record_s, size, tuple(signals)
    )


def _text(field: bytes) -> str:
    return field.decode("latin-1").strip(" \0")


def _number(field: bytes, name: str, where: str) -> float:
    try:
        value = float(_text(field))
    except ValueError:
        value = float("nan")
    if not -1e12 < value < 1e12:
        raise SourceFormatError(f"{where}: the {name} is {_text(field)!r}, not a number")
    return value


def _whole(field: bytes, name: str, where: str) -> int:
    value = _number(field, name, where)
    if value != int(value):
        raise SourceFormatError(f"{where}: the {name} is {_text(field)!r}, not a whole number")
    return int(value)


def _recorded_ns(field: bytes) -> int | None:
    """The start of the recording; years below 85 are of this century (1992, 2.1.3.2)."""
    try:
        day, month, year, hour, minute, second = (
            int(word) for word in re.split(r"\D", _text(field[:8]) + "." + _text(field[8:]))
        )
        year += 1900 if year >= 85 else 2000
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return None


class EdfFile:
    """`hardware.sensors.recording.Recording` over an EDF or EDF+ file."""

    def __init__(self, path: Path, wanted: tuple[str, ...] | None = None) -> None:
        """Open ``path``. Raises `SourceFormatError`."""
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                raw = file.read(_FIXED_BYTES)
                count = int(raw[252:256]) if raw[252:256].strip().isdigit() else 0
                raw += file.read(_FIXED_BYTES * count)
        except OSError as error:
            raise SourceFormatError(f"{path} cannot be read: {error}") from error
        self._path = path
        self.header = header = parse_header(raw, str(path))
        self._signals = _chosen(header, wanted, str(path))
        stored = (size - header.size) // (2 * header.width)
        self._records = stored if header.records < 0 else min(stored, header.records)
        if not self._records:
            raise SourceFormatError(f"{path} holds no data records")
        self._per_record = self._signals[0].samples
        self.name = path.stem
        self.rate_hz = self._per_record / header.record_s
        self.leads = tuple(signal.name for signal in self._signals)
        self.recorded_ns = header.recorded_ns
        self.stretches = tuple(self._find_stretches())

    def problems(self) -> Iterator[str]:
        """What is wrong with the file."""
        for signal in self._signals:
            if not signal.believed:
                yield (
                    f"{self._path}: {signal.label} has {signal.physical[0]:g} to {signal.physical[1]:g} "
                    f"{signal.unit} for {signal.digital[0]} to {signal.digital[1]}, which cannot be; "
                    "its samples are left out"
                )
        if self._records < self.header.records:
            yield (
                f"{self._path}: the file ends after {self._records} of {self.header.records} data records; "
                "the rest is missing"
            )

    def read(self, first: int, count: int) -> NDArray[np.float64]:
        """Samples in mV ``(count, leads)``."""
        record, skipped = divmod(first, self._per_record)
        records = -(-(first + count) // self._per_record) - record
        stored = self._stored(record, records)
        values = np.empty((count, len(self._signals)))
        for place, signal in enumerate(self._signals):
            part = stored[:, signal.begin : signal.begin + signal.samples].ravel()
            values[:, place] = signal.millivolts(part[skipped : skipped + count])
        return values

    def _stored(self, record: int, count: int) -> NDArray[np.int16]:
        width = self.header.width
        with self._path.open("rb") as file:
            file.seek(self.header.size + 2 * record * width)
            raw = file.read(2 * count * width)
        return np.frombuffer(raw, "<i2").reshape(-1, width)

    def _find_stretches(self) -> Iterator[Stretch]:
        """All data records in one, or for EDF+D those that follow each other without a gap."""
        begin, first = 0, 0
        if self.header.kind == "EDF+D":
            onsets = self._onsets()
            for record in range(1, self._records):
                if abs(onsets[record] - onsets[record - 1] - self.header.record_s) * self.rate_hz > 0.5:
                    yield self._stretch(begin, record, first)
                    begin, first = record, round((onsets[record] - onsets[0]) * self.rate_hz)
        yield self._stretch(begin, self._records, first)

    def _stretch(self, begin: int, end: int, first: int) -> Stretch:
        return Stretch(begin * self._per_record, (end - begin) * self._per_record, first)

    def _onsets(self) -> list[float]:
        """When each data record began, from the first annotation in it (2003, 2.2.4)."""
        keeper = next((s for s in self.header.signals if s.label == ANNOTATIONS), None)
        onsets: list[float] = []
        for record in range(self._records):
            found = None
            if keeper is not None:
                words = self._stored(record, 1)[0, keeper.begin : keeper.begin + keeper.samples]
                found = _ONSET.match(words.tobytes())
            if found is None:
                raise SourceFormatError(f"{self._path}: data record {record + 1} does not say when it began")
            onsets.append(float(found[1]))
        if any(b <= a for a, b in pairwise(onsets)):
            raise SourceFormatError(f"{self._path}: its data records are not in order of time")
        return onsets


def _chosen(header: Header, wanted: tuple[str, ...] | None, where: str) -> list[Signal]:
    there = [s for s in header.signals if s.label != ANNOTATIONS and s.unit.lower() in MILLIVOLTS]
    if wanted is not None:
        by_name = {signal.label: signal for signal in there} | {signal.name: signal for signal in there}
        absent = [name for name in wanted if name not in by_name]
        if absent:
            names = ", ".join(signal.name for signal in there) or "none"
            raise SourceFormatError(f"{where} has no lead {absent[0]!r} in volts; it has {names}")
        there = [by_name[name] for name in wanted]
        if len({signal.samples for signal in there}) > 1:
            raise SourceFormatError(f"{where}: the leads {', '.join(wanted)} are not at one rate")
    else:
        there = [signal for signal in there if signal.label and _LEAD.fullmatch(signal.label)] or there
    if not there:
        raise SourceFormatError(f"{where} has no signal in volts")
    return [signal for signal in there if signal.samples == there[0].samples]


def open_source(uri: SourceUri, speed: float) -> RecordingSource:
    """Open ``edf:FILE?...``. Raises `SourceFormatError`."""
    return paced(EdfFile(Path(uri.target), wanted_leads(uri)), uri, speed)

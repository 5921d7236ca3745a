"""Recordings in EDF and EDF+: ``edf:FILE?leads=II,V5&chunk_s=1``, read with numpy only.

Written from Kemp et al., *A simple format for exchange of digitized polygraphic recordings*,
Electroencephalogr Clin Neurophysiol 82, 1992, and Kemp and Olivan, *European data format 'plus'*, Clin
Neurophysiol 114, 2003. Annotations are not read, but for the times of the data records: the first one holds
the fraction of a second of the start, those of a discontinuous recording (EDF+D) its gaps. The header's
patient field is not read either: the subject is the file's name. The start has no time zone in the header; it
is taken for UTC. Its year is that of an EDF+ recording field (``Startdate 02-MAR-2191``) where there is one,
since the start date has two digits for it.

`hardware.sensors.ecg_labels` decides which signals are an ECG. Defects of a file that can still be read
are reported before its first chunk.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.edge.sensing.sources import SourceUri
from common.errors import SourceFormatError
from hardware.sensors.ecg_labels import Chosen, Labelled, choose, millivolts_in
from hardware.sensors.recording import (
    LARGEST_GAIN,
    LEAST_GAIN,
    RecordingSource,
    Stretch,
    paced,
    utc_ns,
    wanted_leads,
)

ANNOTATIONS = "EDF Annotations"
_FIXED_BYTES = 256
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Bytes of each field of a signal's header, in order."""
_STARTDATE = re.compile(r"Startdate (\d{1,2})-([A-Z]{3})-(\d{4,6})\b", re.IGNORECASE)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LOW_PASS = re.compile(r"\bLP\s*:?\s*(\d+(?:\.\d+)?)\s*Hz", re.IGNORECASE)
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
    prefiltering: str

    @property
    def per_unit(self) -> float:
        """Millivolts in the unit; NaN for no voltage."""
        return millivolts_in(self.unit) or math.nan

    @property
    def scale(self) -> float:
        """Millivolts in a step of the converter; 0 where the header makes no sense."""
        steps = self.digital[1] - self.digital[0]
        millivolts = (self.physical[1] - self.physical[0]) * self.per_unit
        return millivolts / steps if steps > 0 else 0.0

    @property
    def believed(self) -> bool:
        return self.scale != 0 and LEAST_GAIN <= 1 / abs(self.scale) <= LARGEST_GAIN

    def millivolts(self, stored: NDArray[np.int16]) -> NDArray[np.float64]:
        """Samples as stored in mV; NaN where the scale is not to be believed."""
        if not self.believed:
            return np.full(len(stored), np.nan)
        offset = self.physical[0] * self.per_unit
        return offset + (stored.astype(np.float64) - self.digital[0]) * self.scale


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file. ``records`` is -1 if the recorder stopped before it wrote the number."""

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
    labels, _, units, pmin, pmax, dmin, dmax, filters, samples, _ = fields
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
                _text(filters[k]),
            )
        )
        begin += number
    kind = _text(raw[192:236])[:5]
    full_date = _STARTDATE.match(_text(raw[88:168])) if kind.startswith("EDF+") else None
    return Header(kind, _recorded_ns(raw[168:184], full_date), records, record_s, size, tuple(signals))


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


def _recorded_ns(field: bytes, full_date: re.Match[str] | None) -> int | None:
    """The start of the recording; years below 85 are of this century (1992, 2.1.3.2)."""
    try:
        day, month, year, hour, minute, second = (
            int(word) for word in re.split(r"\D", _text(field[:8]) + "." + _text(field[8:]))
        )
        year += 1900 if year >= 85 else 2000
        if full_date is not None:
            day, month, year = int(full_date[1]), _MONTHS.index(full_date[2].upper()) + 1, int(full_date[3])
        return utc_ns(year, month, day, hour, minute, second)
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
        self._chosen = _choose(header, wanted, str(path))
        self._signals = [_signals(header)[number] for number in self._chosen.signals]
        stored = (size - header.size) // (2 * header.width)
        self._records = stored if header.records < 0 else min(stored, header.records)
        if not self._records:
            raise SourceFormatError(f"{path} holds no data records")
        self._per_record = self._signals[0].samples
        self.name = path.stem
        self.rate_hz = self._per_record / header.record_s
        self.leads = self._chosen.names
        self.recorded_ns = None if header.recorded_ns is None else header.recorded_ns + self._late_ns()
        edges = [float(found[1]) for s in self._signals if (found := _LOW_PASS.search(s.prefiltering))]
        self.low_pass_hz = min(edges, default=None)
        self.stretches = tuple(self._find_stretches())

    def problems(self) -> Iterator[str]:
        """Defects of the file."""
        yield from self._chosen.problems
        if self.recorded_ns is None:
            yield f"{self._path}: its start is no date; the time of reading stands for it (or give start=)"
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

    def _late_ns(self) -> int:
        """Delay of the first data record after the header's start: a fraction of a second."""
        onset = self._onset(0) if self.header.kind.startswith("EDF+") else None
        return round((onset or Decimal()) * 10**9)

    def _onset(self, record: int) -> Decimal | None:
        """Begin of a data record, from the first annotation in it (2003, 2.2.4)."""
        annotations = next((s for s in self.header.signals if s.label == ANNOTATIONS), None)
        if annotations is None:
            return None
        words = self._stored(record, 1)[0, annotations.begin : annotations.begin + annotations.samples]
        found = _ONSET.match(words.tobytes())
        return Decimal(found[1].decode()) if found else None

    def _onsets(self) -> list[float]:
        """Begin of each data record."""
        onsets: list[float] = []
        for record in range(self._records):
            onset = self._onset(record)
            if onset is None:
                raise SourceFormatError(f"{self._path}: data record {record + 1} has no time of its begin")
            onsets.append(float(onset))
        if any(b <= a for a, b in pairwise(onsets)):
            raise SourceFormatError(f"{self._path}: its data records are not in order of time")
        return onsets


def _signals(header: Header) -> list[Signal]:
    """The signals that are none of annotations."""
    return [signal for signal in header.signals if signal.label != ANNOTATIONS]


def _choose(header: Header, wanted: tuple[str, ...] | None, where: str) -> Chosen:
    return choose([Labelled(s.label, s.unit, s.samples) for s in _signals(header)], wanted, where)


def open_source(uri: SourceUri, speed: float) -> RecordingSource:
    """Open ``edf:FILE?...``. Raises `SourceFormatError`."""
    return paced(EdfFile(Path(uri.target), wanted_leads(uri)), uri, speed)

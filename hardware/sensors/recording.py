"""A recorded signal in chunks of its recorded rate: the common part of ``wfdb:`` and ``edf:``.

Position ``p`` is the chunk ``p`` (from 1). A chunk never reaches over a gap in the recording: a gap shows in
``first_sample``, the index of a chunk's first sample counted from the recording's begin with the gaps in it,
and in the time of capture. In real time a chunk is yielded when its last sample is over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.clock import anchored_clock
from common.edge.sensing.sources import SourceUri
from common.errors import MessageError, ReadingError, SourceFormatError
from common.messages import parse_time
from hardware.sensors.pace import Pace

PARAMETERS = {
    "subject": "whose signal it is (name of the file)",
    "leads": "signals by label, in this order (all with a label of an ECG or a lead)",
    "chunk_s": "seconds in a chunk (1)",
    "start": "time of the first sample: recorded, now, or in UTC (as recorded, else now)",
}
IDENTITY_SAMPLES = 1024
"""Samples at the beginning by which a recording is known again."""

DAYS_A_CYCLE = 146_097
"""Days in 400 years, after which the Gregorian calendar repeats itself."""
LEAST_GAIN, LARGEST_GAIN = 1.0, 1e6
"""Steps of the converter in a millivolt between which a gain is believed."""
EARLIEST_NS, LATEST_NS = -9_214_560_000_000_000_000, 9_214_646_400_000_000_000
"""Begin of the years 1678 and 2262: times are nanoseconds in 64 bits, which hold little more."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples without a gap: ``samples`` stored from ``stored`` on, the first at ``first_sample`` in time."""

    stored: int
    samples: int
    first_sample: int


class Recording(Protocol):
    """An opened file."""

    name: str
    rate_hz: float
    leads: tuple[str, ...]
    recorded_ns: int | None
    """Start as the file has it, which may be outside of what 64 bits hold; None where it has none."""
    low_pass_hz: float | None
    """Upper edge of the recorder's filter; None if the file has none."""
    stretches: tuple[Stretch, ...]

    def problems(self) -> Iterator[str]:
        """Defects of a file that can still be read."""
        ...

    def read(self, first: int, count: int) -> NDArray[np.float64]:
        """Stored samples in mV ``(count, leads)``; NaN where one is missing."""
        ...


class RecordingSource:
    """`common.app.edge.Source` over a recording. Its problems are yielded first, each as a `ReadingError`.

    The attribute ``last`` (true) marks the last reading; ``low_pass_hz`` is that of the file, if any.
    """

    live = False
    virtual = False

    def __init__(
        self, recording: Recording, subject: str, chunk_s: float, start_ns: int | None, speed: float
    ) -> None:
        self.recording = recording
        self.rate_hz = recording.rate_hz
        self._subject = subject
        self._chunk = max(1, round(chunk_s * recording.rate_hz))
        self._start_ns = start_ns
        self._pace = Pace(speed)
        self.identity = _identity(recording)

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Chunks behind position ``after``. Raises `SourceFormatError` if the file cannot be read on."""
        recording, start_ns = self.recording, self._start_ns
        recorded = start_ns is not None
        for problem in recording.problems():
            yield ReadingError(problem)
        described = {} if recording.low_pass_hz is None else {"low_pass_hz": recording.low_pass_hz}
        last = recording.stretches[-1].stored + recording.stretches[-1].samples
        for position, stored, count, first in self._chunks():
            if after is not None and position <= after:
                continue
            if start_ns is None:
                start_ns = anchored_clock()() - self._ns(first + count)
            if not self._pace.wait_until(start_ns + self._ns(first + count)):
                return
            try:
                values = recording.read(stored, count)
            except OSError as error:
                raise SourceFormatError(f"{recording.name} cannot be read on: {error}") from error
            attributes = {"first_sample": first, **described}
            if stored + count == last:
                attributes["last"] = True
            yield Reading(
                self._subject,
                start_ns + self._ns(first),
                position,
                values,
                recording.leads,
                recording.rate_hz,
                attributes,
                recorded,
            )

    def close(self) -> None:
        self._pace.close()

    def _chunks(self) -> Iterator[tuple[int, int, int, int]]:
        position = 0
        for stretch in self.recording.stretches:
            for begin in range(0, stretch.samples, self._chunk):
                position += 1
                count = min(self._chunk, stretch.samples - begin)
                yield position, stretch.stored + begin, count, stretch.first_sample + begin

    def _ns(self, samples: int) -> int:
        return round(samples / self.recording.rate_hz * 1e9)


def _identity(recording: Recording) -> str:
    """A digest of how the recording begins, which stays while its file grows; empty if it cannot be read."""
    first = recording.stretches[0] if recording.stretches else Stretch(0, 0, 0)
    about = (recording.name, recording.rate_hz, recording.leads, recording.recorded_ns)
    try:
        values = recording.read(first.stored, min(first.samples, IDENTITY_SAMPLES))
    except (OSError, SourceFormatError):
        return ""
    return hashlib.sha256(repr(about).encode() + values.tobytes()).hexdigest()


def wanted_leads(uri: SourceUri) -> tuple[str, ...] | None:
    """The leads in the URI; None for all. Raises `SourceFormatError` for an unknown parameter."""
    unknown = sorted(set(uri.parameters) - set(PARAMETERS))
    if unknown:
        raise SourceFormatError(f"{uri.scheme}: does not know {unknown[0]!r}; it has {', '.join(PARAMETERS)}")
    leads = tuple(name.strip() for name in uri.parameters.get("leads", "").split(",") if name.strip())
    return leads or None


def paced(recording: Recording, uri: SourceUri, speed: float) -> RecordingSource:
    """The source over ``recording`` by the URI's parameters. Raises `SourceFormatError`."""
    text = uri.parameters.get("chunk_s", "1")
    try:
        chunk_s = float(text)
    except ValueError:
        chunk_s = math.nan
    if not 0.001 <= chunk_s <= 60:
        raise SourceFormatError(f"chunk_s={text} is not a number of seconds from 0.001 to 60")
    start = uri.parameters.get("start", "recorded")
    start_ns = recording.recorded_ns
    if start == "now":
        start_ns = None
    elif start != "recorded":
        try:
            start_ns = parse_time(start)
        except MessageError as error:
            raise SourceFormatError(f"start={start}: {error}") from None
    if start_ns is not None:
        last = recording.stretches[-1]
        end_ns = start_ns + round((last.first_sample + last.samples) / recording.rate_hz * 1e9)
        if not EARLIEST_NS <= start_ns <= end_ns <= LATEST_NS:
            raise SourceFormatError(
                f"{recording.name} was recorded in {_year(start_ns)}; times from 1678 to 2261 can be held: "
                "give start=now, or another start such as start=2026-01-31T08:00:00Z"
            )
    return RecordingSource(recording, uri.parameters.get("subject", recording.name), chunk_s, start_ns, speed)


def utc_ns(year: int, month: int, day: int, hour: int, minute: int, second: int, fraction: str = "") -> int:
    """Nanoseconds from 1970, of any year from 1 on; ``fraction`` are the digits of the second.

    Raises `ValueError` for what is no time.
    """
    cycles, rest = divmod(year - 1, 400)
    whole = datetime(rest + 1, month, day, hour, minute, second) - datetime(1970, 1, 1)
    seconds = (whole.days + DAYS_A_CYCLE * cycles) * 86_400 + whole.seconds
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0"))


def _year(time_ns: int) -> int:
    """The year of a time, also of one that no calendar type holds."""
    days = time_ns // (86_400 * 10**9) + date(1970, 1, 1).toordinal() - 1
    cycles, rest = divmod(days, DAYS_A_CYCLE)
    return date.fromordinal(rest + 1).year + 400 * cycles

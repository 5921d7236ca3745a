"""Decisions at the patient: signal quality, beats, rhythm, heart rate variability, intervals and alarms.

One reading is a chunk of one patient's signal: values ``(samples, leads)`` in mV, NaN where a sample is
missing, lead names as channels, the rate, and the capture time of its first sample. The attribute
``first_sample`` numbers the samples of the source, so that lost ones show. ``alarm_reset`` (true) and
``alarm_pause_s`` are what somebody at the patient does about alarms; ``virtual`` (true) says that the signal
is simulated, and then every event says so. ``last`` (true) marks the end of a recording, ``low_pass_hz`` is
the upper edge of the recorder's filter, where it is known. `apps.ecg.edge.monitor` decides what is said;
the rules here are

- The same signal gives the same events, whatever the lengths of its chunks.
- A chunk that cannot be read is refused, with the reason; the stream goes on with the next one.
- Lost samples up to `GAP_S` are filled as missing and told. After more, or with another rate or other leads,
  the patient's episodes end and the analysis begins anew. Alarms go on until the new signal shows otherwise.
- Where the source says that its signal ends, what is left is decided and reported; alarms stay as they are.
- Times follow the samples. Where the source's clock leaves them by more than `JUMP_S`, that is told and the
  clock is set; small drift is followed silently.
- ``max_patients`` are followed at a time. A newcomer beyond that is refused (`CapacityReached`); a patient
  without readings for ``forget_patient_after_hours`` is forgotten, whose episodes and alarms end then.

A reference application, not a medical device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from apps.ecg.app import EcgSettings
from apps.ecg.edge.filters import LEAST_RATE_HZ, MOST_RATE_HZ, Floats
from apps.ecg.edge.monitor import Monitor
from common.app.edge import EdgeContext, Reading, Sample, State
from common.errors import InferenceError, ReadingError
from common.messages import Event, Priority
from common.subjects import SubjectMap

LEADS_LIMIT = 12
LONGEST_S = 60.0
GAP_S = 10.0
JUMP_S = 1.0
DRIFT_S = 0.02
"""A clock that is off by less is not followed."""
TOLD_AGAIN_S = 60.0
"""The same finding about a source is told again after so long at the earliest."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A reading that can be used."""

    signal_mv: Floats
    leads: tuple[str, ...]
    rate_hz: float
    first: int | None
    captured_ns: int


@dataclass(slots=True)
class Patient:
    """The state of one patient. ``next_first`` is the source's number of the sample that comes next."""

    monitor: Monitor
    rate_hz: float
    leads: tuple[str, ...]
    next_first: int | None = None
    told: dict[str, int] = field(default_factory=dict)
    """Sample at which a finding about the source was last told."""
    held: list[Event | Sample] = field(default_factory=list)
    """What could not be given because the model failed."""
    over: bool = False
    """Whether the source has ended: what follows begins anew."""


class EcgEdge:
    """`common.app.edge.EdgeApp` of the ECG app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: EcgSettings = context.settings
        self._model = context.model
        self._patients = SubjectMap[Patient](
            self._settings.max_patients,
            self._settings.forget_patient_after_hours * 3600,
            setting="max_patients",
        )

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:  # noqa: ARG002
        chunk = _checked(reading)
        patient = self._patients.find(reading.subject, reading.captured_ns)
        results: list[Event | Sample] = []
        if patient is not None:
            place = _continuation(patient, chunk)
            if isinstance(place, str):
                raise ReadingError(f"reading {reading.position} of {reading.subject} {place}")
            if place.restart:
                results += patient.held
                if not patient.over:
                    results += [
                        each for each in patient.monitor.finish() if not isinstance(each, InferenceError)
                    ]
                patient = self._begin(reading, chunk, results, patient)
            else:
                results += patient.held
                patient.held = []
        else:
            place = _NEXT
            patient = self._begin(reading, chunk, results)
        for gone in self._patients.keep(reading.subject, reading.captured_ns, patient):
            results += _forgotten(gone.state)
        failed: InferenceError | None = None
        for given in _go_on(patient, place, chunk, reading.attributes):
            if isinstance(given, InferenceError):
                failed = given
            else:
                results.append(given)
        if failed is not None:
            patient.held = results
            raise failed
        return results

    def snapshot(self) -> State:
        return self._patients.snapshot(_saved)

    def restore(self, state: State) -> None:
        self._patients.restore(state, self._restored)

    def _restored(self, subject: str, saved: Mapping[str, Any]) -> Patient:
        leads = tuple(saved["leads"])
        monitor = Monitor(subject, saved["rate_hz"], leads, 0, self._settings, self._model)
        monitor.restore(saved["monitor"])
        return Patient(
            monitor,
            saved["rate_hz"],
            leads,
            saved["next_first"],
            dict(saved["told"]),
            [Event(kind, of, ns, Priority(rank), data) for kind, of, ns, rank, data in saved["held"]],
            bool(saved.get("over")),
        )

    def _begin(
        self, reading: Reading, chunk: Chunk, results: list[Event | Sample], earlier: Patient | None = None
    ) -> Patient:
        """A patient whose analysis begins; what is known at once goes to ``results``."""
        subject, rate_hz, leads = reading.subject, chunk.rate_hz, chunk.leads
        monitor = Monitor(subject, rate_hz, leads, chunk.captured_ns, self._settings, self._model)
        monitor.recording.virtual = reading.attributes.get("virtual") is True
        low_pass_hz = reading.attributes.get("low_pass_hz")
        edge_hz = float(low_pass_hz) if isinstance(low_pass_hz, int | float) else None
        results += monitor.begin(edge_hz, earlier.monitor if earlier else None)
        return Patient(monitor, rate_hz, leads, chunk.first)


def _saved(patient: Patient) -> dict[str, Any]:
    """The state of a patient as plain values."""
    return {
        "rate_hz": patient.rate_hz,
        "leads": list(patient.leads),
        "next_first": patient.next_first,
        "told": dict(patient.told),
        "held": [list(msgspec.structs.astuple(e)) for e in patient.held if isinstance(e, Event)],
        "over": patient.over,
        "monitor": patient.monitor.snapshot(),
    }


def _forgotten(patient: Patient) -> Iterator[Event | Sample]:
    """What ends with a patient who has been silent for too long."""
    yield from patient.held
    yield from patient.monitor.close()
    text = "no reading for as long as the settings allow: the patient is forgotten"
    yield patient.monitor.recording.finding("forgotten", None, text, patient.monitor.end)


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a chunk continues the signal: samples lost before it, and whether the analysis restarts.

    ``findings`` are ``(finding, text)``.
    """

    lost: int
    restart: bool
    findings: tuple[tuple[str, str], ...]
    set_clock: bool = False


_NEXT = Continuation(0, False, ())


def _continuation(patient: Patient, chunk: Chunk) -> Continuation | str:
    """How a chunk continues the signal; a text if it was processed already."""
    if patient.over:
        return Continuation(0, True, ())
    if chunk.rate_hz != patient.rate_hz:
        text = f"from {patient.rate_hz:g} to {chunk.rate_hz:g} Hz: the analysis begins anew"
        return Continuation(0, True, (("rate_changed", text),))
    if chunk.leads != patient.leads:
        text = f"from {', '.join(patient.leads)} to {', '.join(chunk.leads)}: the analysis begins anew"
        return Continuation(0, True, (("leads_changed", text),))
    monitor = patient.monitor
    ahead_s = (chunk.captured_ns - monitor.recording.timeline.ns(monitor.end)) / 1e9
    by_clock = round(ahead_s * patient.rate_hz) if ahead_s > JUMP_S else 0
    lost = by_clock
    if chunk.first is not None and patient.next_first is not None:
        lost = chunk.first - patient.next_first
        if lost < 0:
            if abs(ahead_s - lost / patient.rate_hz) <= JUMP_S:
                return f"holds samples from {chunk.first} on, which have been seen: it is left out"
            return Continuation(
                0, True, (("gap", "the source restarted its sample count: the analysis restarts"),)
            )
    if lost > GAP_S * patient.rate_hz:
        text = f"{lost / patient.rate_hz:.1f} s of signal are missing: the analysis begins anew"
        return Continuation(0, True, (("gap", text),))
    findings: list[tuple[str, str]] = []
    if lost:
        findings.append(("gap", f"{lost} samples ({lost / patient.rate_hz:.2f} s) are missing"))
    off_s = ahead_s - lost / patient.rate_hz
    if abs(off_s) > JUMP_S:
        way = "ahead" if off_s > 0 else "back"
        findings.append(("clock_jump", f"the clock of the source went {abs(off_s):.1f} s {way}"))
    set_clock = abs(off_s) > DRIFT_S
    return Continuation(lost, False, tuple(findings), set_clock) if findings or set_clock else _NEXT


def _go_on(
    patient: Patient, place: Continuation, chunk: Chunk, attributes: Mapping[str, Any]
) -> Iterator[Event | Sample | InferenceError]:
    """Take a chunk into its patient."""
    monitor = patient.monitor
    again = TOLD_AGAIN_S * patient.rate_hz
    for finding, text in place.findings:
        if monitor.end - patient.told.get(finding, -again) >= again:
            patient.told[finding] = monitor.end
            yield monitor.recording.finding(finding, None, text, monitor.end)
    if place.lost:
        yield from monitor.push(np.full((place.lost, len(patient.leads)), np.nan))
    if place.set_clock:
        monitor.recording.timeline.set(monitor.end, chunk.captured_ns)
    if attributes.get("alarm_reset") is True:
        yield from monitor.reset_alarms()
    pause_s = attributes.get("alarm_pause_s")
    if isinstance(pause_s, int | float):
        monitor.pause_alarms(float(pause_s))
    if chunk.first is not None:
        patient.next_first = chunk.first + len(chunk.signal_mv)
    yield from monitor.push(chunk.signal_mv)
    if attributes.get("last") is True:
        patient.over = True
        yield from monitor.finish()


def _checked(reading: Reading) -> Chunk:
    """The chunk of a reading. Raises `ReadingError`."""
    where = f"reading {reading.position} of {reading.subject}"
    values, rate_hz, leads = reading.values, reading.rate_hz, reading.channels
    if rate_hz is None or not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
        shown = "no rate" if rate_hz is None else f"{rate_hz:g} Hz"
        raise ReadingError(f"{where} has {shown}: an ECG has {LEAST_RATE_HZ:g} to {MOST_RATE_HZ:g} Hz")
    if values.ndim != 2 or values.shape[1] != len(leads) or values.dtype.kind not in "fiu":
        raise ReadingError(f"{where} has shape {values.shape} and {len(leads)} leads: (samples, leads) in mV")
    if not 1 <= len(leads) <= LEADS_LIMIT or len(set(leads)) < len(leads):
        raise ReadingError(
            f"{where} has the leads {', '.join(leads) or 'none'}: 1 to {LEADS_LIMIT} different ones"
        )
    if not 1 <= len(values) <= LONGEST_S * rate_hz:
        raise ReadingError(f"{where} has {len(values)} samples: a chunk has 1 to {LONGEST_S:g} s of signal")
    first = reading.attributes.get("first_sample")
    if first is not None and not isinstance(first, int):
        raise ReadingError(f"{where} has first_sample {first!r}: it is a whole number")
    return Chunk(np.asarray(values, np.float64), leads, float(rate_hz), first, reading.captured_ns)

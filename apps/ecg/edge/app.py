"""The ECG app on the node: signal quality, beats, rhythm, heart rate variability, intervals and alarms.

A reading is a chunk of one patient's signal: values ``(samples, leads)`` in mV, NaN for missing samples, lead
names as channels, the rate, and the capture time of its first sample. Attributes: ``first_sample`` numbers
the samples of the source, which reveals lost ones; ``alarm_reset`` (true) and ``alarm_pause_s`` are
operations at the bedside; ``virtual`` (true) marks simulated signal, and then every event; ``last`` (true)
marks the end of a recording; ``low_pass_hz`` is the upper edge of the recorder's filter. Findings and alarms
are made by `apps.ecg.edge.monitor`; the rules here are

- The same signal gives the same events for all chunk sizes.
- A malformed chunk is refused with the reason; the stream continues with the next one.
- Up to `GAP_S` of lost samples are filled as missing and reported. A longer gap, another rate or other leads
  end the patient's episodes and restart the analysis; alarms persist until the new signal ends them.
- At the end of the source's signal, remaining beats are classified and reported; alarms persist.
- Times follow the samples. A deviation of the source's clock by more than `JUMP_S` is reported and sets the
  clock; smaller drift is followed without a report.
- Up to ``max_patients`` are monitored at a time; further ones are refused (`CapacityReached`). A patient
  without readings for ``forget_patient_after_hours`` is forgotten, and the episodes and alarms end.

A reference application, not a medical device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from apps.ecg.app import EcgSettings
from apps.ecg.edge.filters import MAX_RATE_HZ, MIN_RATE_HZ, Floats
from apps.ecg.edge.monitor import Monitor
from common.app.edge import EdgeContext, Reading, Sample, State
from common.app.events import fields_of
from common.errors import InferenceError, ReadingError
from common.messages import Event, Priority
from common.subjects import SubjectMap

LEADS_LIMIT = 12
LONGEST_S = 60.0
GAP_S = 10.0
JUMP_S = 1.0
DRIFT_S = 0.02
"""Deviations of the clock below this are ignored."""
REPEAT_FINDING_S = 60.0
"""Minimum time between two equal findings on a source."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A validated reading."""

    signal_mv: Floats
    leads: tuple[str, ...]
    rate_hz: float
    first: int | None
    captured_ns: int


@dataclass(slots=True)
class Patient:
    """The state of one patient. ``next_first`` is the source's number of the next sample."""

    monitor: Monitor
    rate_hz: float
    leads: tuple[str, ...]
    next_first: int | None = None
    reported: dict[str, int] = field(default_factory=dict)
    """Sample of the last report of each finding on the source."""
    held: list[Event | Sample] = field(default_factory=list)
    """Results of a reading whose model run failed; they go with the next reading."""
    ended: bool = False
    """Whether the source has ended; further signal restarts the analysis."""


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
            follows = _continuation(patient, chunk)
            if isinstance(follows, str):
                raise ReadingError(f"reading {reading.position} of {reading.subject} {follows}")
            if follows.restart:
                results += patient.held
                if not patient.ended:
                    results += [
                        each for each in patient.monitor.finish() if not isinstance(each, InferenceError)
                    ]
                patient = self._begin(reading, chunk, results, patient)
            else:
                results += patient.held
                patient.held = []
        else:
            follows = _NEXT
            patient = self._begin(reading, chunk, results)
        for gone in self._patients.keep(reading.subject, reading.captured_ns, patient):
            results += _forgotten(gone.state)
        failed: InferenceError | None = None
        for result in _process(patient, follows, chunk, reading.attributes):
            if isinstance(result, InferenceError):
                failed = result
            else:
                results.append(result)
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
            dict(saved["reported"]),
            [_restored_event(event) for event in saved["held"]],
            bool(saved["ended"]),
        )

    def _begin(
        self, reading: Reading, chunk: Chunk, results: list[Event | Sample], earlier: Patient | None = None
    ) -> Patient:
        """A patient whose analysis begins; its first findings are added to ``results``."""
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
        "reported": dict(patient.reported),
        "held": [_saved_event(each) for each in patient.held if isinstance(each, Event)],
        "ended": patient.ended,
        "monitor": patient.monitor.snapshot(),
    }


def _saved_event(event: Event) -> list[Any]:
    return [
        event.type,
        event.subject,
        event.time_ns,
        int(event.priority),
        dict(fields_of(event)),
        event.recorded,
    ]


def _restored_event(saved: Sequence[Any]) -> Event:
    kind, subject, time_ns, priority, data, recorded = saved
    return Event(kind, subject, time_ns, Priority(priority), data, recorded)


def _forgotten(patient: Patient) -> Iterator[Event | Sample]:
    """The last results of a patient without readings."""
    yield from patient.held
    yield from patient.monitor.close()
    text = "no readings for the time of forget_patient_after_hours: the patient is forgotten"
    yield patient.monitor.recording.finding("forgotten", None, text, patient.monitor.end)


@dataclass(frozen=True, slots=True)
class Continuation:
    """Relation of a chunk to the stream: samples lost before it, and whether the analysis restarts.

    ``findings`` are ``(finding, text)``.
    """

    lost: int
    restart: bool
    findings: tuple[tuple[str, str], ...]
    set_clock: bool = False


_NEXT = Continuation(0, False, ())


def _continuation(patient: Patient, chunk: Chunk) -> Continuation | str:
    """The relation of a chunk to the stream; the reason of refusal for one that was processed already."""
    if patient.ended:
        return Continuation(0, True, ())
    if chunk.rate_hz != patient.rate_hz:
        text = f"from {patient.rate_hz:g} to {chunk.rate_hz:g} Hz: the analysis restarts"
        return Continuation(0, True, (("rate_changed", text),))
    if chunk.leads != patient.leads:
        text = f"from {', '.join(patient.leads)} to {', '.join(chunk.leads)}: the analysis restarts"
        return Continuation(0, True, (("leads_changed", text),))
    monitor = patient.monitor
    ahead_s = (chunk.captured_ns - monitor.recording.timeline.ns(monitor.end)) / 1e9
    by_clock = round(ahead_s * patient.rate_hz) if ahead_s > JUMP_S else 0
    lost = by_clock
    if chunk.first is not None and patient.next_first is not None:
        lost = chunk.first - patient.next_first
        if lost < 0:
            if abs(ahead_s - lost / patient.rate_hz) <= JUMP_S:
                return f"has samples from {chunk.first} on, which were processed already"
            return Continuation(
                0, True, (("gap", "the source restarted its sample numbers: the analysis restarts"),)
            )
    if lost > GAP_S * patient.rate_hz:
        text = f"{lost / patient.rate_hz:.1f} s of signal are missing: the analysis restarts"
        return Continuation(0, True, (("gap", text),))
    findings: list[tuple[str, str]] = []
    if lost:
        findings.append(("gap", f"{lost} samples ({lost / patient.rate_hz:.2f} s) are missing"))
    off_s = ahead_s - lost / patient.rate_hz
    if abs(off_s) > JUMP_S:
        way = "forward" if off_s > 0 else "back"
        findings.append(("clock_jump", f"the clock of the source was set {way} by {abs(off_s):.1f} s"))
    set_clock = abs(off_s) > DRIFT_S
    return Continuation(lost, False, tuple(findings), set_clock) if findings or set_clock else _NEXT


def _process(
    patient: Patient, follows: Continuation, chunk: Chunk, attributes: Mapping[str, Any]
) -> Iterator[Event | Sample | InferenceError]:
    """Process a chunk of a patient."""
    monitor = patient.monitor
    interval = REPEAT_FINDING_S * patient.rate_hz
    for finding, text in follows.findings:
        if monitor.end - patient.reported.get(finding, -interval) >= interval:
            patient.reported[finding] = monitor.end
            yield monitor.recording.finding(finding, None, text, monitor.end)
    if follows.lost:
        yield from monitor.push(np.full((follows.lost, len(patient.leads)), np.nan))
    if follows.set_clock:
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
        patient.ended = True
        yield from monitor.finish()


def _checked(reading: Reading) -> Chunk:
    """The chunk of a reading. Raises `ReadingError`."""
    where = f"reading {reading.position} of {reading.subject}"
    values, rate_hz, leads = reading.values, reading.rate_hz, reading.channels
    if rate_hz is None or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        shown = "no rate" if rate_hz is None else f"{rate_hz:g} Hz"
        raise ReadingError(f"{where} has {shown}: an ECG needs {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz")
    if values.ndim != 2 or values.shape[1] != len(leads) or values.dtype.kind not in "fiu":
        raise ReadingError(
            f"{where} has shape {values.shape} and {len(leads)} leads; expected (samples, leads) in mV"
        )
    if not 1 <= len(leads) <= LEADS_LIMIT or len(set(leads)) < len(leads):
        raise ReadingError(
            f"{where} has the leads {', '.join(leads) or 'none'}; expected 1 to {LEADS_LIMIT} different ones"
        )
    if not 1 <= len(values) <= LONGEST_S * rate_hz:
        raise ReadingError(f"{where} has {len(values)} samples; expected 1 to {LONGEST_S:g} s of signal")
    first = reading.attributes.get("first_sample")
    if first is not None and not isinstance(first, int):
        raise ReadingError(f"{where} has first_sample {first!r}; expected a whole number")
    return Chunk(np.asarray(values, np.float64), leads, float(rate_hz), first, reading.captured_ns)

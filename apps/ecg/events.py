"""Events of the ECG app. The subject of each is a patient's pseudonym.

The bounds are those of the cloud's columns and of FHIR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from common.app.events import EventData, EventTypes
from common.errors import MessageError
from common.messages import Priority

if TYPE_CHECKING:
    from common.app.cloud import ReceivedEvent

PATIENT = re.compile(r"[A-Za-z0-9-]{1,24}")
"""Accepted subjects: they become part of the ids of FHIR resources."""
EARLIEST_NS, LATEST_NS = -9_214_560_000_000_000_000, 9_214_646_400_000_000_000
"""Accepted times, from the begin of 1678 to that of 2262: within a database column of 64 bits, with some
months of margin for arithmetic at both ends. Sources refuse others (`hardware.sensors.recording`)."""

TimeNs = Annotated[int, msgspec.Meta(ge=EARLIEST_NS, le=LATEST_NS)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Word = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
"""Printable ASCII, as FHIR requires."""
Version = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*\Z")]
Kind = Annotated[str, msgspec.Meta(pattern="^[NSVFQ]$")]
"""Class of a beat by ANSI/AAMI EC57."""


class EcgEvent(EventData, frozen=True, kw_only=True):
    """Fields of all events."""

    version: Version
    """of the model"""
    virtual: bool = False
    """whether the signal is simulated"""


class BeatCounts(msgspec.Struct, frozen=True, rename="upper"):
    """Number of beats by class: N, S, V, F, Q."""

    n: Count = 0
    s: Count = 0
    v: Count = 0
    f: Count = 0
    q: Count = 0


class Rates(EcgEvent, frozen=True, kw_only=True):
    """Heart rate, beats and rhythm of each 10 s of signal."""

    TYPE = "ecg.rates"
    PRIORITY = Priority.TELEMETRY
    began_ns: TimeNs
    seconds: Seconds
    heart_rate_bpm: float | None
    """null with fewer than 3 RR intervals"""
    beats: BeatCounts
    """on good signal, by class"""
    good_share: Share
    """of the signal"""
    rhythm: Word
    """`sinus`, `AF`, `VT`, `tachycardia`, `bradycardia`, `pause` or `unknown`"""
    lead: Annotated[str, msgspec.Meta(max_length=40)] = ""
    """the analysed one"""
    pacing_spikes: Count = 0


class Quality(EcgEvent, frozen=True, kw_only=True):
    """The signal of a lead became good or bad."""

    TYPE = "ecg.quality"
    PRIORITY = Priority.EVENT
    lead: Word
    good: bool
    reasons: Annotated[list[Word], msgspec.Meta(max_length=10)]
    """`lead_off`, `flat`, `saturated` or `noise`; empty if good"""


class Rhythm(EcgEvent, frozen=True, kw_only=True):
    """An episode of rhythm began or ended."""

    TYPE = "ecg.rhythm"
    PRIORITY = Priority.EVENT
    episode: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    """its id, the same at begin and end"""
    label: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9-]{1,15}$")]
    """`AF`, `VT`, `tachycardia`, `bradycardia` or `pause`"""
    state: Literal["began", "ended"]
    began_ns: TimeNs
    ended_ns: TimeNs | None
    beats: Count
    """so far"""
    heart_rate_bpm: float | None

    def __post_init__(self) -> None:
        ended = self.ended_ns
        if (ended is None) is (self.state == "ended") or (ended is not None and ended < self.began_ns):
            raise ValueError(f"the episode {self.episode} {self.state} with ended_ns {ended}")


class Hrv(EcgEvent, frozen=True, kw_only=True):
    """Heart rate variability over 5 minutes (Task Force 1996)."""

    TYPE = "ecg.hrv"
    PRIORITY = Priority.TELEMETRY
    began_ns: TimeNs
    seconds: Seconds
    nn_count: Count
    """intervals between normal beats"""
    ectopic_share: Share
    """of the beats"""
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_percent: float
    vlf_ms2: float | None
    """powers: null without enough data for a spectrum"""
    lf_ms2: float | None
    hf_ms2: float | None
    lf_hf: float | None


class Intervals(EcgEvent, frozen=True, kw_only=True):
    """Intervals of the averaged beat of each minute; null where a wave was not found."""

    TYPE = "ecg.intervals"
    PRIORITY = Priority.TELEMETRY
    began_ns: TimeNs
    seconds: Seconds
    beats: Count
    """in the average"""
    rr_ms: float
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_bazett_ms: float | None
    qtc_fridericia_ms: float | None
    lead: Word


class Alarm(EcgEvent, frozen=True, kw_only=True):
    """An alarm changed its state (`apps.ecg.edge.alarms`)."""

    TYPE = "ecg.alarm"
    PRIORITY = Priority.ALARM
    alarm: Word
    """see the table in `apps.ecg.edge.conditions`"""
    priority: Literal["high", "medium", "low"]
    state: Literal["raised", "ended", "latched", "reset"]
    raised_ns: TimeNs
    delay_s: float
    """from onset of the condition to the alarm"""
    value: float | None
    limit: float | None
    text: Text


class StripBeat(msgspec.Struct, frozen=True):
    """A beat of a strip, in milliseconds from its start."""

    at_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)]
    kind: Kind
    probability: Share | None = None


class Strip(EcgEvent, frozen=True, kw_only=True):
    """10 s of signal around an alarm, with the consent `strips` or `learning`."""

    TYPE = "ecg.strip"
    PRIORITY = Priority.EVENT
    began_ns: TimeNs
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    leads: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=15)]
    unit: Literal["mV"]
    lsb_mv: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """value of a step"""
    samples_b64: bytes
    """int16, little-endian, `(samples, leads)`; -32768 is missing"""
    beats: Annotated[list[StripBeat], msgspec.Meta(max_length=1000)]
    """time, class and probability"""
    alarm: Annotated[str, msgspec.Meta(max_length=40)]
    rhythm: Annotated[str, msgspec.Meta(max_length=40)]

    def __post_init__(self) -> None:
        width = 2 * len(self.leads)
        if not self.samples_b64 or len(self.samples_b64) % width:
            raise ValueError(f"{len(self.samples_b64)} bytes do not hold {len(self.leads)} leads")
        if len(set(self.leads)) < len(self.leads):
            raise ValueError(f"a lead is repeated: {', '.join(self.leads)}")


class Finding(EcgEvent, frozen=True, kw_only=True):
    """A finding about the signal or the source: leads swapped, a gap, findings withheld, ..."""

    TYPE = "ecg.finding"
    PRIORITY = Priority.EVENT
    finding: Word
    lead: Annotated[str, msgspec.Meta(max_length=40)] | None
    """null for one about the whole recording or the source"""
    text: Text


EVENTS = EventTypes("ecg", Rates, Quality, Rhythm, Hrv, Intervals, Alarm, Strip, Finding)


def decode(event: ReceivedEvent) -> EventData | None:
    """The data of an event; None for a type that is not declared here, as of a newer node.

    Raises `MessageError` for invalid data, or a subject that is not a pseudonym.
    """
    data = EVENTS.decode(event)
    if data is not None and not PATIENT.fullmatch(event.subject):
        raise MessageError(
            f"{event.subject[:40]!r} is not the pseudonym of a patient: letters, digits and '-', up to 24"
        )
    return data

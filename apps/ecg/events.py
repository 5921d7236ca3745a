"""What the data of the ECG app's events must look like for the cloud to take it."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from common.app.cloud import ReceivedEvent
from common.errors import MessageError

PATIENT = re.compile(r"[A-Za-z0-9-]{1,24}")
"""Subjects that are taken: they become part of the ids of FHIR resources."""
EARLIEST_NS, LATEST_NS = -9_214_560_000_000_000_000, 9_214_646_400_000_000_000
"""Times that are taken, from the begin of 1678 to that of 2262: within what a database column of 64 bits
holds, with some months to reckon with at both ends. Sources refuse others
(`hardware.sensors.recording`)."""

TimeNs = Annotated[int, msgspec.Meta(ge=EARLIEST_NS, le=LATEST_NS)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Word = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
"""Printable ASCII, as resources of FHIR take it."""
Version = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*\Z")]
Kind = Annotated[str, msgspec.Meta(pattern="^[NSVFQ]$")]


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """Common to all."""

    version: Version
    virtual: bool = False


class BeatCounts(msgspec.Struct, frozen=True, rename="upper"):
    """Beats by AAMI class."""

    n: Count = 0
    s: Count = 0
    v: Count = 0
    f: Count = 0
    q: Count = 0


class Rates(EventData, frozen=True, kw_only=True):
    """``ecg.rates``."""

    began_ns: TimeNs
    seconds: Seconds
    heart_rate_bpm: float | None
    beats: BeatCounts
    good_share: Share
    rhythm: Word


class Quality(EventData, frozen=True, kw_only=True):
    """``ecg.quality``."""

    lead: Word
    good: bool
    reasons: Annotated[list[Word], msgspec.Meta(max_length=10)] = []


class Rhythm(EventData, frozen=True, kw_only=True):
    """``ecg.rhythm``."""

    episode: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    label: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9-]{1,15}$")]
    """What FHIR takes in an id."""
    state: Annotated[str, msgspec.Meta(pattern="^(began|ended)$")]
    began_ns: TimeNs
    ended_ns: TimeNs | None
    beats: Count
    heart_rate_bpm: float | None


class Hrv(EventData, frozen=True, kw_only=True):
    """``ecg.hrv``."""

    began_ns: TimeNs
    seconds: Seconds
    nn_count: Count
    ectopic_share: Share
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_percent: float
    vlf_ms2: float | None = None
    lf_ms2: float | None = None
    hf_ms2: float | None = None
    lf_hf: float | None = None


class Intervals(EventData, frozen=True, kw_only=True):
    """``ecg.intervals``."""

    began_ns: TimeNs
    seconds: Seconds
    beats: Count
    rr_ms: float
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_bazett_ms: float | None = None
    qtc_fridericia_ms: float | None = None
    lead: Word


class Alarm(EventData, frozen=True, kw_only=True):
    """``ecg.alarm``."""

    alarm: Word
    priority: Annotated[str, msgspec.Meta(pattern="^(high|medium|low)$")]
    state: Annotated[str, msgspec.Meta(pattern="^(raised|ended|latched|reset)$")]
    raised_ns: TimeNs
    delay_s: float = 0.0
    value: float | None = None
    limit: float | None = None
    text: Text = ""


class StripBeat(msgspec.Struct, frozen=True):
    """A beat of a strip, in milliseconds from its begin."""

    at_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)]
    kind: Kind
    probability: Share | None = None


class StripData(EventData, frozen=True, kw_only=True):
    """``ecg.strip``."""

    began_ns: TimeNs
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    leads: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=15)]
    unit: Annotated[str, msgspec.Meta(pattern="^mV$")] = "mV"
    lsb_mv: Annotated[float, msgspec.Meta(gt=0, le=1)]
    samples_b64: bytes
    beats: Annotated[list[StripBeat], msgspec.Meta(max_length=1000)] = []
    alarm: Annotated[str, msgspec.Meta(max_length=40)] = ""
    rhythm: Annotated[str, msgspec.Meta(max_length=40)] = "unknown"


class FindingData(EventData, frozen=True, kw_only=True):
    """``ecg.finding``."""

    finding: Word
    lead: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    text: Text = ""


_DECODERS: dict[str, Any] = {
    "ecg.rates": msgspec.json.Decoder(Rates),
    "ecg.quality": msgspec.json.Decoder(Quality),
    "ecg.rhythm": msgspec.json.Decoder(Rhythm),
    "ecg.hrv": msgspec.json.Decoder(Hrv),
    "ecg.intervals": msgspec.json.Decoder(Intervals),
    "ecg.alarm": msgspec.json.Decoder(Alarm),
    "ecg.strip": msgspec.json.Decoder(StripData),
    "ecg.finding": msgspec.json.Decoder(FindingData),
}


def read(event: ReceivedEvent) -> EventData | None:
    """The data of an event; None for a type that has no table.

    Raises `MessageError` for data that is not what its type promises, or a subject that is no pseudonym.
    """
    decoder = _DECODERS.get(event.type)
    if decoder is None:
        return None
    if not PATIENT.fullmatch(event.subject):
        raise MessageError(f"{event.subject[:40]!r} cannot name a patient: letters, digits and '-', up to 24")
    try:
        data: EventData = decoder.decode(event.body)
    except msgspec.MsgspecError as error:
        raise MessageError(f"the data of {event.type} cannot be taken: {error}") from error
    if isinstance(data, StripData):
        width = 2 * len(data.leads)
        if not data.samples_b64 or len(data.samples_b64) % width:
            raise MessageError(
                f"a strip of {len(data.samples_b64)} bytes does not hold {len(data.leads)} leads"
            )
        if len(set(data.leads)) < len(data.leads):
            raise MessageError(f"a strip has one lead twice: {', '.join(data.leads)}")
    if isinstance(data, Rhythm):
        ended = data.ended_ns
        if (ended is None) is (data.state == "ended") or (ended is not None and ended < data.began_ns):
            raise MessageError(f"the episode {data.episode} has {data.state} at {ended}: that cannot be")
    return data

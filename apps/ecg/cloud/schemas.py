"""Response schemas of the ECG app's routes. Times are UTC nanoseconds, days are UTC days."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from apps.ecg.cloud.reviews import TrueBeat


class PatientPublic(BaseModel):
    """Latest state of a patient.

    ``af_burden_percent`` is over ``day``, the day of ``last_ns``; null without good signal.
    """

    patient: str
    site: str
    node: str
    version: str
    virtual: bool
    first_ns: int
    last_ns: int
    heart_rate_bpm: float | None
    rhythm: str
    good_share: float
    """Of the newest window."""
    open_alarms: int
    """Raised or latched."""
    unreviewed_strips: int
    day: str
    af_burden_percent: float | None


class PatientPage(BaseModel):
    """A page of patients, most recent data first, and the cursor of the next page."""

    items: list[PatientPublic]
    next: str | None


class Totals(BaseModel):
    """Findings over an hour or a day.

    ``withheld_s`` is the part of ``monitored_s`` with bad signal, without findings. Percentages are of the
    good signal or of its beats; null without any.
    """

    began_ns: int
    monitored_s: float
    withheld_s: float
    heart_rate_bpm: float | None
    """Time-weighted mean."""
    min_bpm: float | None
    max_bpm: float | None
    beats: dict[str, int]
    """By AAMI class: N, S, V, F, Q."""
    v_percent: float | None
    s_percent: float | None
    af_burden_percent: float | None
    time_quality: str = ""
    """Worst quality of doubtful times: ``corrected``, ``unknown`` or ``unsynchronised``."""


class EpisodePublic(BaseModel):
    """An episode of rhythm; ``ended_ns`` is null while ongoing."""

    episode: str
    label: str
    began_ns: int
    ended_ns: int | None
    beats: int
    heart_rate_bpm: float | None
    version: str
    time_quality: str = ""


class HrvPublic(BaseModel):
    """Heart rate variability over 5 minutes."""

    began_ns: int
    seconds: float
    nn_count: int
    ectopic_share: float
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_percent: float
    vlf_ms2: float | None
    lf_ms2: float | None
    hf_ms2: float | None
    lf_hf: float | None
    time_quality: str = ""


class IntervalsPublic(BaseModel):
    """Hourly means of the intervals of averaged beats; null where a wave was never found."""

    began_ns: int
    beats: int
    rr_ms: float | None
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_bazett_ms: float | None
    qtc_fridericia_ms: float | None
    time_quality: str = ""


class AlarmPublic(BaseModel):
    """An alarm; ``state`` is ``raised``, ``latched``, ``ended`` or ``reset``."""

    alarm: str
    priority: str
    state: str
    raised_ns: int
    ended_ns: int | None
    delay_s: float
    value: float | None
    limit: float | None
    text: str
    time_quality: str = ""


class QualityPublic(BaseModel):
    """A change of a lead's signal quality, with its reasons."""

    at_ns: int
    lead: str
    good: bool
    reasons: list[str]
    time_quality: str = ""


class FindingPublic(BaseModel):
    """A finding about the signal; ``lead`` is empty for one about the whole recording or the source."""

    at_ns: int
    finding: str
    lead: str
    text: str
    time_quality: str = ""


class Day(BaseModel):
    """A patient's day. Lists are in order of time and bounded by `apps.ecg.cloud.queries.LIST_LIMIT`."""

    patient: str
    day: str
    totals: Totals
    hours: list[Totals]
    episodes: list[EpisodePublic]
    """Episodes that overlap the day."""
    alarms: list[AlarmPublic]
    hrv: list[HrvPublic]
    intervals: list[IntervalsPublic]
    quality: list[QualityPublic]
    findings: list[FindingPublic]
    strips: int
    unreviewed_strips: int
    versions: list[str]
    """Model versions behind the hours."""
    cut: list[str]
    """Names of truncated lists."""


class DaySummary(BaseModel):
    """A day with data."""

    day: str
    totals: Totals


class DayPage(BaseModel):
    """A page of days, newest first, and the cursor of the next page."""

    items: list[DaySummary]
    next: str | None


class TrendPoint(BaseModel):
    """Heart rate and ectopic beats of one bucket."""

    at_ns: int
    seconds: float
    heart_rate_bpm: float | None
    min_bpm: float | None
    max_bpm: float | None
    v: int
    s: int
    good_share: float
    af_share: float
    """Share of windows in atrial fibrillation."""


class Trend(BaseModel):
    """Heart rate over time in buckets of ``bucket_s``; ``next_ns`` begins the next page, null at the end."""

    patient: str
    bucket_s: int
    points: list[TrendPoint]
    next_ns: int | None


class StripPublic(BaseModel):
    """A strip without samples. ``true_beats`` and ``true_rhythm`` are the clinician's."""

    id: str
    patient: str
    began_ns: int
    ended_ns: int
    rate_hz: float
    leads: list[str]
    alarm: str
    priority: str
    rhythm: str
    beats: list[dict[str, Any]]
    """``at_ms`` from the start, ``kind`` (N S V F Q) and ``probability``."""
    reason: float
    """Rank in the review queue, 0 to 3 (highest first)."""
    version: str
    time_quality: str = ""
    reviewed_ns: int | None
    reviewed_by: str
    verdict: str
    true_beats: list[TrueBeat] | None
    true_rhythm: str
    note: str


class StripPage(BaseModel):
    """A page of strips, and the cursor of the next page."""

    items: list[StripPublic]
    next: str | None


class StripSignal(StripPublic):
    """A strip with its samples: base64 of int16, little-endian, ``(samples, leads)``, in steps of ``lsb_mv``.

    -32768 is missing. `apps.ecg.cloud.strips.decode_samples` reads them.
    """

    lsb_mv: float
    samples_b64: str

"""The ECG app, as edge and cloud find it. A reference application, not a medical device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from common.app.spec import AppSpec

Bpm = Annotated[float, msgspec.Meta(ge=15, le=300)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]


class EcgSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the ECG app."""

    consent: Literal["findings", "strips", "learning"] = "findings"
    """What the patient lets leave the device: findings and rates only; also 10 s of signal around an alarm;
    also 30 s of signal at a time to learn from."""
    leads: list[str] = []
    """Leads to analyse, the first usable one is taken; empty for the usual order (II, MLII, I, V5, ...)."""
    tachycardia_bpm: Bpm = 120.0
    """Heart rate above which there is an episode of tachycardia."""
    bradycardia_bpm: Bpm = 45.0
    """Heart rate under which there is an episode of bradycardia."""
    extreme_tachycardia_bpm: Bpm = 150.0
    """Alarm limit of the heart rate."""
    extreme_bradycardia_bpm: Bpm = 35.0
    """Alarm limit of the heart rate."""
    rate_delay_s: Seconds = 5.0
    """How long a heart rate is beyond its alarm limit before the alarm."""
    asystole_s: Annotated[float, msgspec.Meta(ge=2, le=10)] = 4.0
    """Alarm when there has been no beat for so long."""
    pause_s: Annotated[float, msgspec.Meta(ge=1.5, le=10)] = 2.0
    """An interval from which on there is an episode of pause."""
    pause_alarm_s: Annotated[float, msgspec.Meta(ge=1.5, le=10)] = 3.0
    """Alarm when a pause lasts for so long."""
    vt_beats: Annotated[int, msgspec.Meta(ge=3, le=30)] = 3
    """Ventricular beats in a row that are a ventricular tachycardia."""
    vt_bpm: Bpm = 100.0
    """Their least rate."""
    ventricular_beats_per_minute: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10
    """Alarm when there are more ventricular beats in a minute."""
    lead_off_s: Seconds = 5.0
    """How long no lead is connected before the alarm."""
    latching: bool = True
    """Whether alarms of high priority stay until they are reset."""
    max_patients: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    """Patients followed at a time, 1 MB of memory each (2 MB with the consent ``learning``); newcomers beyond
    that are refused."""
    forget_patient_after_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 24.0
    """Hours without readings after which a patient is forgotten; episodes and alarms end then."""


SPEC = AppSpec(
    name="ecg",
    title="ECG",
    settings=EcgSettings,
    starter=Path(__file__).with_name("starter"),
    edge="apps.ecg.edge.app:EcgEdge",
    cloud="apps.ecg.cloud.projection:EcgCloud",
    train="apps.ecg.training.job",
    virtual="apps.ecg.virtual.patient:open_source",
    virtual_kinds=("patient",),
    pages="apps.ecg.pages.patients:add_pages",
    pseudonyms=True,
    capacity="max_patients",
    rates_hz=(125.0, 1000.0),
)

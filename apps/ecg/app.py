"""The ECG app: its settings and its `AppSpec`. A reference application, not a medical device."""

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
    """Patient's consent to data leaving the device: ``findings`` (findings and rates), ``strips`` (also 10 s
    of signal around an alarm), ``learning`` (also windows of 30 s for training). Decided in the node's own
    settings file only."""
    leads: list[str] = []
    """Leads in order of preference, the first good one is analysed; empty for II, MLII, I, V5, V2, V1."""
    tachycardia_bpm: Bpm = 120.0
    """Heart rate above which an episode of tachycardia begins."""
    bradycardia_bpm: Bpm = 45.0
    """Heart rate below which an episode of bradycardia begins."""
    extreme_tachycardia_bpm: Bpm = 150.0
    """Upper alarm limit of the heart rate."""
    extreme_bradycardia_bpm: Bpm = 35.0
    """Lower alarm limit of the heart rate."""
    rate_delay_s: Seconds = 5.0
    """Delay of a heart rate alarm: duration beyond the limit."""
    asystole_s: Annotated[float, msgspec.Meta(ge=2, le=10)] = 4.0
    """Time without a beat for an asystole alarm."""
    pause_s: Annotated[float, msgspec.Meta(ge=1.5, le=10)] = 2.0
    """Minimum interval of a pause episode."""
    pause_alarm_s: Annotated[float, msgspec.Meta(ge=1.5, le=10)] = 3.0
    """Time without a beat for a pause alarm."""
    vt_beats: Annotated[int, msgspec.Meta(ge=3, le=30)] = 3
    """Minimum number of consecutive ventricular beats of a ventricular tachycardia."""
    vt_bpm: Bpm = 100.0
    """Minimum rate of a ventricular tachycardia."""
    ventricular_beats_per_minute: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10
    """Alarm limit of ventricular beats in a minute."""
    lead_off_s: Seconds = 5.0
    """Delay of the alarm that no lead is connected."""
    latching: bool = True
    """Whether alarms of high priority persist until reset."""
    max_patients: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    """Maximum number of patients at a time, 1 MB of memory each (2 MB with the consent ``learning``); further
    ones are refused."""
    forget_patient_after_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 24.0
    """Time without readings after which a patient is forgotten, and the episodes and alarms end."""


SPEC = AppSpec(
    name="ecg",
    title="ECG",
    settings=EcgSettings,
    starter=Path(__file__).with_name("starter"),
    edge="apps.ecg.edge.app:EcgEdge",
    cloud="apps.ecg.cloud.projection:EcgCloud",
    events="apps.ecg.events:EVENTS",
    train="apps.ecg.training.job",
    virtual="apps.ecg.virtual.patient:open_source",
    virtual_kinds=("patient",),
    pages="apps.ecg.pages.patients:add_pages",
    pseudonyms=True,
    capacity="max_patients",
    own_settings=("consent",),
    rates_hz=(125.0, 1000.0),
)

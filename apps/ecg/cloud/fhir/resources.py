"""FHIR resources from rows, as JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from apps.ecg.cloud import schemas
from apps.ecg.cloud.fhir import codes
from apps.ecg.cloud.fhir.codes import Json, concept, quantity
from apps.ecg.cloud.fhir.ids import SYSTEM, ResourceId, device_id
from apps.ecg.cloud.strips import MISSING
from apps.ecg.cloud.tables import DAY_NS, Device, Episode, HrvWindow, Patient, Strip
from common.time_notes import time_statement

SHIFTED_NS = 2 * DAY_NS
NOTICE = "A reference application, not a medical device."
PROCEDURE = [concept("Procedure", (codes.CATEGORY, "procedure"))]
VITAL_SIGNS = [concept("Vital signs", (codes.CATEGORY, "vital-signs"))]
_NOTE = [{"text": NOTICE}]


def instant(time_ns: int) -> str:
    """A time in FHIR's format, in milliseconds."""
    whole = datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{time_ns % 10**9 // 10**6:03d}Z"


def is_over(ended_ns: int, now_ns: int) -> bool:
    """Whether an hour or a day is complete.

    A time more than two days in the future is that of a recording with shifted dates, not of a live signal.
    """
    return ended_ns <= now_ns or ended_ns > now_ns + SHIFTED_NS


def patient_resource(row: Patient) -> Json:
    """A patient, identified by pseudonym only."""
    return {
        "resourceType": "Patient",
        "id": row.patient,
        "meta": _meta(row.virtual),
        "identifier": [{"system": SYSTEM, "value": row.patient}],
        "active": True,
        "managingOrganization": {"display": row.site},
    }


def device_resource(row: Device) -> Json:
    """A node, or a version of the model as software."""
    node = row.kind == "node"
    value = f"{row.site}/{row.name}" if node else row.name
    resource = {
        "resourceType": "Device",
        "id": device_id(row.kind, row.name),
        "meta": _meta(row.virtual),
        "identifier": [{"system": SYSTEM, "value": f"{row.kind}:{value}"}],
        "status": "active",
        "deviceName": [
            {
                "name": row.name if node else "edgeloop ECG model",
                "type": "user-friendly-name" if node else "model-name",
            }
        ],
        "type": concept("ECG analysis at the edge" if node else "ECG analysis software"),
        "note": _NOTE,
    }
    return resource if node else resource | {"version": [{"value": row.name}]}


def measured(
    key: ResourceId,
    code: Json,
    value: Json,
    *,
    ended_ns: int,
    node: str,
    final: bool,
    virtual: bool = False,
    category: list[Json] = PROCEDURE,
    components: Iterable[Json] = (),
    method: str = "",
    time_quality: str = "",
) -> Json:
    """An Observation of a quantity over a span of time, with a note on doubtful times."""
    status = "final" if final else "preliminary"
    resource = _observation(key, code, ended_ns, node, status, virtual, time_quality)
    resource |= {"category": category, "valueQuantity": value}
    if method:
        resource["method"] = concept(method)
    return resource | ({"component": list(components)} if components else {})


def component(code: Json, value: float | None, unit: str, ucum: str | None = None) -> list[Json]:
    """A component, if there is a value."""
    return [] if value is None else [{"code": code, "valueQuantity": quantity(value, unit, ucum)}]


def hrv_observation(row: HrvWindow, virtual: bool) -> Json:
    """Heart rate variability over 5 minutes (Task Force 1996)."""
    parts = [
        ("rmssd", "RMSSD", row.rmssd_ms, "ms", None),
        ("pnn50", "pNN50", row.pnn50_percent, "%", None),
        ("mean-nn", "Mean of NN intervals", row.mean_nn_ms, "ms", None),
        ("vlf", "Very low frequency power", row.vlf_ms2, "ms²", "ms2"),
        ("lf", "Low frequency power", row.lf_ms2, "ms²", "ms2"),
        ("hf", "High frequency power", row.hf_ms2, "ms²", "ms2"),
        ("lf-hf", "Ratio of low to high frequency power", row.lf_hf, "1", None),
    ]
    return measured(
        ResourceId(row.patient, "hrv", row.began_ns),
        codes.SDNN,
        quantity(row.sdnn_ms, "ms"),
        ended_ns=row.began_ns + round(row.seconds * 1e9),
        node=row.node,
        final=True,
        virtual=virtual,
        time_quality=row.time_quality,
        components=[
            each
            for code, text, value, unit, ucum in parts
            for each in component(concept(text, (codes.OWN, code)), value, unit, ucum)
        ],
    )


def episode_observation(row: Episode, virtual: bool) -> Json:
    """An episode of rhythm; preliminary while ongoing."""
    status = "preliminary" if row.ended_ns is None else "final"
    key = ResourceId(row.patient, f"rhy-{row.label}", row.began_ns)
    resource = _observation(key, codes.RHYTHM, row.ended_ns, row.node, status, virtual, row.time_quality)
    resource |= {"category": PROCEDURE, "valueCodeableConcept": codes.rhythm(row.label)}
    parts = component(codes.HEART_RATE, row.heart_rate_bpm, "beats/minute", "/min")
    parts += component(concept("Beats", (codes.OWN, "beats")), row.beats, "beats", "{beats}")
    return resource | {"component": parts}


def strip_observation(row: Strip, virtual: bool) -> Json:
    """A strip: the signal of each lead, with beats and rhythm by the clinician, else by the edge."""
    status = {"": "preliminary", "corrected": "corrected"}.get(row.verdict, "final")
    key = ResourceId(row.patient, "strip", row.began_ns)
    resource = _observation(key, codes.STRIP, row.ended_ns, row.node, status, virtual, row.time_quality)
    raw = np.frombuffer(row.samples, "<i2").reshape(-1, len(row.leads))
    parts: list[Json] = [
        {"code": codes.lead(lead), "valueSampledData": _sampled(raw[:, index].tolist(), row)}
        for index, lead in enumerate(row.leads)
    ]
    beats = row.true_beats if row.true_beats is not None else row.beats
    if beats and row.verdict != "unreadable":
        classes = "; ".join(f"{beat['at_ms']:g} ms {beat['kind']}" for beat in beats)
        code = concept(
            "Beats by AAMI class (N S V F Q), time from the start of the strip", (codes.OWN, "beat-classes")
        )
        parts.append({"code": code, "valueString": classes})
    rhythm = row.true_rhythm or row.rhythm
    if row.verdict == "unreadable":
        absent = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
        parts.append({"code": codes.RHYTHM, "dataAbsentReason": concept("unreadable", (absent, "unknown"))})
    elif rhythm and rhythm != "unknown":
        parts.append({"code": codes.RHYTHM, "valueCodeableConcept": codes.rhythm(rhythm)})
    notes = resource.get("note", [])
    notes += [{"text": f"Alarm: {row.alarm}"}] if row.alarm else []
    notes += [{"text": row.note}] if row.note else []
    resource |= {"category": PROCEDURE, "component": parts}
    return resource | ({"note": notes} if notes else {})


def _sampled(samples: Sequence[int], row: Strip) -> Json:
    return {
        "origin": quantity(0, "mV"),
        "period": round(1000 / row.rate_hz, 9),
        "factor": row.lsb_mv,
        "dimensions": 1,
        "data": " ".join("E" if value == MISSING else str(value) for value in samples),
    }


def report_resource(
    key: ResourceId,
    *,
    ended_ns: int,
    totals: schemas.Totals,
    results: Sequence[ResourceId],
    status: str,
    virtual: bool,
) -> Json:
    """The report of one patient's day."""
    return {
        "resourceType": "DiagnosticReport",
        "id": str(key),
        "meta": _meta(virtual),
        "identifier": [{"system": SYSTEM, "value": str(key)}],
        "status": status,
        "category": [concept("Electrocardiac", (codes.SECTION, "EC"))],
        "code": codes.HOLTER,
        "subject": {"reference": f"Patient/{key.patient}"},
        "effectivePeriod": {"start": instant(key.began_ns), "end": instant(ended_ns)},
        "result": [{"reference": f"Observation/{result}"} for result in results],
        "conclusion": conclusion(totals),
    }


def conclusion(totals: schemas.Totals) -> str:
    """Summary of a day in a few sentences."""
    parts = [
        f"Monitored for {totals.monitored_s / 3600:.1f} h, {totals.withheld_s / 3600:.1f} h of it with a "
        "signal of insufficient quality for analysis."
    ]
    if totals.heart_rate_bpm is not None:
        parts.append(
            f"Mean heart rate {totals.heart_rate_bpm:.0f}/min, from {totals.min_bpm:.0f} to "
            f"{totals.max_bpm:.0f} over 10 s."
        )
    if totals.v_percent is not None and totals.s_percent is not None:
        parts.append(
            f"Ventricular ectopic beats {totals.beats['V']} ({totals.v_percent:.1f} %), supraventricular "
            f"{totals.beats['S']} ({totals.s_percent:.1f} %)."
        )
    if totals.af_burden_percent is not None:
        parts.append(
            f"Atrial fibrillation in {totals.af_burden_percent:.1f} % of the signal of good quality."
        )
    if totals.time_quality:
        parts.append(time_statement(totals.time_quality))
    return " ".join([*parts, NOTICE])


def provenance_resource(
    key: ResourceId, targets: Iterable[str], *, recorded_ns: int, agents: Sequence[Json], virtual: bool
) -> Json:
    """Origin of resources; ``targets`` are references."""
    return {
        "resourceType": "Provenance",
        "id": str(key),
        "meta": _meta(virtual),
        "target": [{"reference": target} for target in targets],
        "recorded": instant(recorded_ns),
        "agent": list(agents),
    }


def device_agent(kind: str, name: str) -> Json:
    """A node as ``performer`` of a measurement, or a model as ``assembler`` of findings."""
    role = "performer" if kind == "node" else "assembler"
    reference = {"reference": f"Device/{device_id(kind, name)}"}
    return {"type": concept(role.capitalize(), (codes.PARTICIPANT, role)), "who": reference}


def person_agent(name: str) -> Json:
    """A clinician as verifier."""
    return {"type": concept("Verifier", (codes.PARTICIPANT, "verifier")), "who": {"display": name}}


def _observation(
    key: ResourceId,
    code: Json,
    ended_ns: int | None,
    node: str,
    status: str,
    virtual: bool,
    time_quality: str,
) -> Json:
    period = {"start": instant(key.began_ns)}
    if ended_ns is not None:
        period["end"] = instant(ended_ns)
    return {
        "resourceType": "Observation",
        "id": str(key),
        "meta": _meta(virtual),
        "identifier": [{"system": SYSTEM, "value": str(key)}],
        "status": status,
        "code": code,
        "subject": {"reference": f"Patient/{key.patient}"},
        "effectivePeriod": period,
        "device": {"reference": f"Device/{device_id('node', node)}"},
        **({"note": [{"text": statement}]} if (statement := time_statement(time_quality)) else {}),
    }


def _meta(virtual: bool) -> Json:
    meta: Json = {"tag": [{"system": codes.OWN, "code": "reference-application", "display": NOTICE}]}
    if virtual:
        meta["security"] = [{"system": codes.REASON, "code": "HTEST", "display": "test health data"}]
    return meta

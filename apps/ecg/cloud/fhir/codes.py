"""Codes and units of the ECG app's FHIR resources.

LOINC for what was measured (QTc by both formulas, each under its own code and under 8636-3, which names no
method), SNOMED CT for rhythms, ISO/IEEE 11073 (MDC) for signals of leads, UCUM for units. Concepts
without a standard code (AF burden, RMSSD and powers of heart rate variability) have one of our own system.
"""

from __future__ import annotations

from typing import Any

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
MDC = "urn:oid:2.16.840.1.113883.6.24"
UCUM = "http://unitsofmeasure.org"
OWN = "urn:edgeloop:ecg:codes"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"

Json = dict[str, Any]


def concept(text: str, *codings: tuple[str, str]) -> Json:
    """A CodeableConcept of ``(system, code)`` pairs."""
    coded = [{"system": system, "code": code} for system, code in codings]
    return {"coding": coded, "text": text} if coded else {"text": text}


def quantity(value: float, unit: str, code: str | None = None) -> Json:
    """A Quantity in a UCUM unit; ``unit`` is its display text."""
    return {"value": round(float(value), 4), "unit": unit, "system": UCUM, "code": code or unit}


HEART_RATE = concept("Heart rate", (LOINC, "8867-4"))
SDNN = concept("Heart rate variability: standard deviation of NN intervals", (LOINC, "80404-7"))
PR = concept("PR interval", (LOINC, "8625-6"))
QRS = concept("QRS duration", (LOINC, "8633-0"))
QT = concept("QT interval", (LOINC, "8634-8"))
QTC_BAZETT = concept("QTc by Bazett's formula", (LOINC, "76635-2"), (LOINC, "8636-3"))
QTC_FRIDERICIA = concept("QTc by Fridericia's formula", (LOINC, "76634-5"), (LOINC, "8636-3"))
RHYTHM = concept("Heart rhythm", (LOINC, "8884-9"))
VENTRICULAR_BEATS = concept("Ventricular ectopic beats", (LOINC, "76126-2"))
AF_BURDEN = concept("Burden of atrial fibrillation", (OWN, "af-burden"))
STRIP = concept("ECG strip", (MDC, "131328"))
HOLTER = concept("Holter monitor study", (LOINC, "18754-2"))

RHYTHMS = {
    "sinus": concept("Sinus rhythm"),
    "AF": concept("Atrial fibrillation", (SNOMED, "49436004")),
    "VT": concept("Ventricular tachycardia", (SNOMED, "25569003")),
    "tachycardia": concept("Tachycardia", (SNOMED, "3424008")),
    "bradycardia": concept("Bradycardia", (SNOMED, "48867003")),
    "pause": concept("Pause", (OWN, "pause")),
}

_LEADS = {
    "I": 131329,
    "II": 131330,
    "V1": 131331,
    "V2": 131332,
    "V3": 131333,
    "V4": 131334,
    "V5": 131335,
    "V6": 131336,
    "III": 131389,
    "aVR": 131390,
    "aVL": 131391,
    "aVF": 131392,
}


def rhythm(label: str) -> Json:
    """The concept of a rhythm; text only where no code exists."""
    return RHYTHMS.get(label) or concept(label)


def lead(name: str) -> Json:
    """The concept of the signal of a lead. Text only for MLII and others that are not in MDC."""
    code = {key.upper(): value for key, value in _LEADS.items()}.get(name.upper())
    return concept(f"Lead {name}", (MDC, str(code))) if code else concept(f"Lead {name}")

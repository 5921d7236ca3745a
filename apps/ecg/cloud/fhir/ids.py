"""Ids of resources: stable, valid in FHIR (letters, digits, ``-`` and ``.``, at most 64), and parseable.

A resource of a patient and a time has ``<patient>.<kind>.<began_ns>``; a device ``node.<name>`` or
``model.<version>``. A patient's id is the pseudonym.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from apps.ecg.events import EARLIEST_NS, LATEST_NS, PATIENT

SYSTEM = "urn:edgeloop:ecg"
"""System of the resources' identifiers; the value is the id, for a device with its site."""
_PLAIN = re.compile(r"[A-Za-z0-9.-]{1,50}")
_TIME = re.compile(r"-?\d{1,19}", re.ASCII)
_KIND = re.compile(r"[a-zA-Z0-9-]{1,19}")


@dataclass(frozen=True, slots=True)
class ResourceId:
    """Patient, kind and begin that identify a resource; its text is the id."""

    patient: str
    kind: str
    began_ns: int

    def __str__(self) -> str:
        return f"{self.patient}.{self.kind}.{self.began_ns}"


def parse(text: str) -> ResourceId | None:
    """The key of an id; None for an id of another form."""
    patient, _, rest = text.partition(".")
    kind, _, began = rest.partition(".")
    if not PATIENT.fullmatch(patient) or not _KIND.fullmatch(kind):
        return None
    if not _TIME.fullmatch(began) or not EARLIEST_NS <= int(began) <= LATEST_NS:
        return None
    return ResourceId(patient, kind, int(began)) if str(int(began)) == began else None


def device_id(kind: str, name: str) -> str:
    """The id of a device of ``kind`` (``node`` or ``model``); of an invalid name, by its digest."""
    if _PLAIN.fullmatch(name):
        return f"{kind}.{name}"
    return f"{kind}.x-{hashlib.sha256(name.encode()).hexdigest()[:40]}"

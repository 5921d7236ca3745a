"""Readings of virtual patients through the ECG app, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from apps.ecg.app import EcgSettings
from apps.ecg.edge.app import EcgEdge
from apps.ecg.virtual.patient import open_source
from common.app.edge import EdgeContext, Reading, Sample
from common.app.events import fields_of
from common.messages import Event
from tests.apps.ecg.rules import RuleModel

START_NS = 1_790_000_000_000_000_000
START = "2026-09-21T14:13:20Z"


def edge(model: RuleModel | None = None, **changes: Any) -> EcgEdge:
    return EcgEdge(EdgeContext(EcgSettings(**changes), model or RuleModel()))


def virtual(seconds: float, **parameters: str) -> list[Reading]:
    """Chunks of a second from the virtual patient, with heart rate 70 by default."""
    uri = {
        "seed": "3",
        "rate_hz": "250",
        "heart_rate": "70",
        "pvc": "0",
        "pac": "0",
        "start": START,
        **parameters,
    }
    source = open_source("patient", uri, 0.0)
    found = []
    for reading in source.readings(None):
        if reading.position > seconds:
            break
        found.append(reading)
    return found


def run(app: EcgEdge, readings: Sequence[Reading]) -> list[Any]:
    """Results of the readings, events with their data as on the wire."""
    return [wire(result) for reading in readings for result in app.process(reading, reading.captured_ns)]


Result = TypeVar("Result", Event, Sample, Event | Sample)


def wire(result: Result) -> Result:
    """An event with its data as on the wire; a sample as it is."""
    return msgspec.structs.replace(result, data=fields_of(result)) if isinstance(result, Event) else result


def events(results: Sequence[Event | Sample], kind: str, **data: Any) -> list[Any]:
    """Events of a type and with these data, their data as on the wire."""
    found: list[Any] = [wire(r) for r in results if isinstance(r, Event) and r.type == f"ecg.{kind}"]
    return [r for r in found if all(r.data[k] == v for k, v in data.items())]


def odd(results: list[Event | Sample]) -> list[Any]:
    """Findings but those that are about every such signal."""
    usual = ("leads", "pacing_unseen", "short_signal")
    return [event for event in events(results, "finding") if event.data["finding"] not in usual]


def at_s(event: Event) -> float:
    return (event.time_ns - START_NS) / 1e9

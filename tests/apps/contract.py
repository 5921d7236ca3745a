"""What the contract tests share: installed apps, their virtual readings, comparable results."""

from __future__ import annotations

import itertools
from typing import Any

from common.app.cloud import ReceivedEvent
from common.app.edge import EdgeContext, Reading, Sample
from common.app.spec import AppSpec, find_app, installed_apps
from common.bundle import open_bundle
from common.messages import Event, decode_event, encode_event
from common.model.inference import load_model
from common.model.profile import find_profile


def installed() -> dict[str, AppSpec]:
    """Every registered app by name, in order, and the template."""
    return dict(sorted((installed_apps() | {"template": find_app("apps.template.app:SPEC")}).items()))


def context_of(spec: AppSpec) -> EdgeContext:
    """Default settings and the starter model."""
    return EdgeContext(
        spec.settings(), load_model(open_bundle(spec.starter, app=spec.name), find_profile("cpu"))
    )


def virtual_readings(spec: AppSpec, count: int, seed: str = "11") -> list[Reading]:
    """The first readings of the app's virtual sensor."""
    source = spec.load_virtual()(spec.virtual_kinds[0], {"seed": seed}, 0.0)
    try:
        return list(itertools.islice(source.readings(None), count))
    finally:
        source.close()


def comparable(result: Event | Sample) -> Any:
    """A result as something that compares by value."""
    if isinstance(result, Event):
        return result
    return (
        result.subject,
        result.group,
        dict(result.reasons),
        {k: v.tobytes() for k, v in result.arrays.items()},
    )


def as_received(event: Event) -> ReceivedEvent:
    """An event as the cloud's side of the app gets it."""
    wire = decode_event(encode_event(event, source="/s/n", epoch="e", seq=1))
    return ReceivedEvent(
        site="s",
        node="n",
        epoch=wire.epoch,
        seq=wire.seq,
        type=wire.type,
        subject=wire.subject,
        time_ns=event.time_ns,
        priority=event.priority,
        body=bytes(wire.data),
    )

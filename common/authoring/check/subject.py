"""The app that is checked, with what several checks need: its model, readings and results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.app.cloud import ReceivedEvent
from common.app.edge import EdgeApp, EdgeContext, Reading, Sample
from common.app.spec import AppSpec
from common.bundle import Bundle, open_bundle
from common.messages import Event, decode_event, encode_event
from common.model.inference import load_model
from common.model.profile import find_profile

READINGS = 400
SITE, NODE, EPOCH = "site", "check", "e1"


@dataclass
class AppUnderCheck:
    """An app with its starter, its first virtual readings and what its edge makes of them.

    ``folder`` is for files of the checks; ``postgresql`` the URL of an empty database, or empty.
    """

    spec: AppSpec
    folder: Path
    postgresql: str = ""

    @cached_property
    def starter(self) -> Bundle:
        return open_bundle(self.spec.starter, app=self.spec.name)

    @cached_property
    def context(self) -> EdgeContext:
        """Default settings and the starter model."""
        return EdgeContext(self.spec.settings(), load_model(self.starter, find_profile("cpu")))

    @cached_property
    def readings(self) -> Sequence[Reading]:
        """The first `READINGS` of the virtual source; their values cannot be written to."""
        readings = self.virtual_readings(READINGS)
        for reading in readings:
            reading.values.flags.writeable = False
        return readings

    @cached_property
    def results(self) -> Sequence[Event | Sample]:
        """What the edge makes of `readings`."""
        return process_all(self.new_edge(), self.readings)

    @property
    def events(self) -> list[Event]:
        return [result for result in self.results if isinstance(result, Event)]

    @cached_property
    def received(self) -> Sequence[ReceivedEvent]:
        """The events as the cloud receives them."""
        return [as_received(event, seq) for seq, event in enumerate(self.events, start=1)]

    def new_edge(self, **settings: Any) -> EdgeApp:
        """A new instance of the app's edge, on the starter."""
        context = (
            EdgeContext(self.spec.settings(**settings), self.context.model) if settings else self.context
        )
        return self.spec.load_edge()(context)

    def virtual_readings(self, count: int, seed: str = "11") -> list[Reading]:
        """The first readings of the app's virtual source."""
        source = self.spec.load_virtual()(self.spec.virtual_kinds[0], {"seed": seed}, 0.0)
        try:
            given = itertools.islice(source.readings(None), count)
            return [reading for reading in given if isinstance(reading, Reading)]
        finally:
            source.close()


def process_all(app: EdgeApp, readings: Iterable[Reading]) -> list[Event | Sample]:
    """What ``app`` makes of ``readings``, each processed at its capture time."""
    return [result for reading in readings for result in app.process(reading, reading.captured_ns)]


def as_received(event: Event, seq: int = 1) -> ReceivedEvent:
    """An event as the cloud's side of the app receives it, after its way over the wire."""
    wire = decode_event(encode_event(event, source=f"/{SITE}/{NODE}", epoch=EPOCH, seq=seq))
    return ReceivedEvent(
        site=SITE,
        node=NODE,
        epoch=EPOCH,
        seq=seq,
        type=wire.type,
        subject=wire.subject,
        time_ns=event.time_ns,
        priority=event.priority,
        body=bytes(wire.data),
    )


def comparable(result: Event | Sample) -> Any:
    """A result as something that compares by value."""
    if isinstance(result, Event):
        return result
    arrays = {name: array.tobytes() for name, array in result.arrays.items()}
    return result.subject, result.group, dict(result.reasons), arrays

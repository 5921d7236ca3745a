"""The app that is checked, with what several checks need: its model, readings and results."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.app.cloud import ReceivedEvent
from common.app.edge import Arrays, EdgeApp, EdgeContext, Model, Reading, Sample, Source
from common.app.spec import AppSpec
from common.bundle import Bundle, Manifest, open_bundle
from common.messages import Event, decode_event, encode_event
from common.model.inference import load_model
from common.model.profile import find_profile

READINGS = 400
SUBJECTS, READINGS_EACH = 5, 150
REMEMBERED_BYTES = 256 * 1024**2
SITE, NODE, EPOCH = "site", "check", "e1"


class RememberingModel:
    """A model that is run once for equal inputs: what checks repeat costs the app's own time only.

    Outputs beyond `REMEMBERED_BYTES` are computed every time.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._outputs: dict[bytes, Arrays] = {}
        self._size = 0

    @property
    def manifest(self) -> Manifest:
        return self._model.manifest

    def run(self, inputs: Arrays) -> Arrays:
        key = _digest(inputs)
        outputs = self._outputs.get(key)
        if outputs is None:
            outputs = self._model.run(inputs)
            self._size += sum(array.nbytes for array in outputs.values())
            if self._size <= REMEMBERED_BYTES:
                self._outputs[key] = outputs
        return {name: array.copy() for name, array in outputs.items()}


def _digest(inputs: Arrays) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(inputs.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


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
    def model(self) -> Model:
        """The starter model, as this device runs it."""
        return load_model(self.starter, find_profile())

    @cached_property
    def context(self) -> EdgeContext:
        """Default settings and the starter model."""
        return EdgeContext(self.spec.settings(), RememberingModel(self.model))

    @cached_property
    def readings(self) -> Sequence[Reading]:
        """The first `READINGS` of the virtual source; their values cannot be written to."""
        readings = self.virtual_readings(READINGS)
        for reading in readings:
            reading.values.flags.writeable = False
        return readings

    @cached_property
    def subjects(self) -> Mapping[str, Sequence[Reading]]:
        """Readings of several subjects, each from a virtual source of its own."""
        return {
            f"subject-{number}": [
                replace(reading, subject=f"subject-{number}")
                for reading in self.virtual_readings(READINGS_EACH, seed=str(20 + number))
            ]
            for number in range(SUBJECTS)
        }

    @cached_property
    def results(self) -> Sequence[Event | Sample]:
        """Results of the edge for `readings`."""
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
        source = self.open_virtual(seed)
        try:
            given = itertools.islice(source.readings(None), count)
            return [reading for reading in given if isinstance(reading, Reading)]
        finally:
            source.close()

    def open_virtual(self, seed: str = "11") -> Source:
        """The app's virtual source, as fast as it can be read."""
        parameters = {**self.spec.check_source, "seed": seed}
        return self.spec.load_virtual()(self.spec.virtual_kinds[0], parameters, 0.0)


def process_all(app: EdgeApp, readings: Iterable[Reading]) -> list[Event | Sample]:
    """Results of ``app`` for ``readings``, each processed at its capture time."""
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


def comparable(result: Event | Sample) -> object:
    """A result as something that compares by value."""
    if isinstance(result, Event):
        return result
    arrays = {name: array.tobytes() for name, array in result.arrays.items()}
    return result.subject, result.group, dict(result.reasons), arrays

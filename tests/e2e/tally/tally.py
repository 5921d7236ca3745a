"""The smallest whole app, installed beside edgeloop as a fifth team would: it keeps a tally.

Each reading makes a ``tally.count`` event that holds a chained checksum of all readings before it, so
one reading that is lost, doubled or out of order shows in every later event. Every 10th reading also
makes an ``event`` and every 50th an ``alarm``. The source is deterministic: position ``n`` always gives
the same values and the same capture time.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from common.app.cloud import ReceivedEvent
from common.app.edge import EdgeContext, Reading
from common.app.spec import AppSpec
from common.errors import ReadingError
from common.messages import Event, Priority

FIRST_NS = 1_790_000_000_000_000_000
PERIOD_NS = 1_000_000
WIDTH = 4


class TallySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tally has nothing to set."""


class TallyEdge:
    """`common.app.edge.EdgeApp` of the tally."""

    def __init__(self, context: EdgeContext) -> None:
        self._model = context.model
        self._count = 0
        self._checksum = 0

    def process(self, reading: Reading, now_ns: int) -> Iterator[Event]:
        if reading.values.shape != (WIDTH,):
            raise ReadingError(f"a tally reading has {WIDTH} values, not {reading.values.shape}")
        values = reading.values.astype(np.float32)
        total = float(self._model.run({"x": values[None, :]})["y"].reshape(-1)[0])
        self._count += 1
        self._checksum = zlib.crc32(values.tobytes(), self._checksum)
        return iter(self._events(reading, total))

    def _events(self, reading: Reading, total: float) -> list[Event]:
        data = {
            "count": self._count,
            "position": reading.position,
            "checksum": self._checksum,
            "total": round(total, 3),
            "version": self._model.manifest.version,
        }
        kinds = [("tally.count", Priority.TELEMETRY)]
        if self._count % 10 == 0:
            kinds.append(("tally.ten", Priority.EVENT))
        if self._count % 50 == 0:
            kinds.append(("tally.fifty", Priority.ALARM))
        return [Event(kind, reading.subject, reading.captured_ns, priority, data) for kind, priority in kinds]

    def snapshot(self) -> Mapping[str, Any]:
        return {"count": self._count, "checksum": self._checksum}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._count = int(state["count"])
        self._checksum = int(state["checksum"])


class TallyCloud:
    """`common.app.cloud.CloudApp` of the tally: it keeps no tables of its own."""

    schema_version = 1

    def tables(self) -> Sequence[Any]:
        return ()

    def project(self, session: Any, events: Sequence[ReceivedEvent]) -> None:
        """Nothing to bring up to date."""

    def router(self, deps: Any) -> Any:
        from fastapi import APIRouter

        return APIRouter()


class TallySource:
    """``virtual:tally?seed=1&count=5000&rate_hz=200``: ``count`` readings, then silence until closed."""

    live = False
    virtual = True

    def __init__(self, seed: int, count: int, rate_hz: float) -> None:
        self.seed = seed
        self.count = count
        self.rate_hz = rate_hz
        self._closed = threading.Event()

    def readings(self, after: int | None) -> Iterator[Reading]:
        first = 1 if after is None else after + 1
        started = time.monotonic()
        for position in range(first, self.count + 1):
            if self.rate_hz:
                due = started + (position - first) / self.rate_hz
                if self._closed.wait(max(0.0, due - time.monotonic())):
                    return
            yield Reading(
                subject=f"tally-{self.seed}",
                captured_ns=FIRST_NS + position * PERIOD_NS,
                position=position,
                values=np.random.default_rng((self.seed, position)).normal(size=WIDTH),
            )
        if self.rate_hz:
            self._closed.wait()

    def close(self) -> None:
        self._closed.set()


def open_source(kind: str, parameters: Mapping[str, str], speed: float) -> TallySource:
    rate_hz = float(parameters.get("rate_hz", "100")) * speed
    return TallySource(int(parameters["seed"]), int(parameters["count"]), rate_hz)


SPEC = AppSpec(
    name="tally",
    title="A tally, for tests",
    settings=TallySettings,
    starter=Path(__file__).with_name("starter"),
    edge="tally:TallyEdge",
    cloud="tally:TallyCloud",
    train="tally",
    virtual="tally:open_source",
    virtual_kinds=("tally",),
)

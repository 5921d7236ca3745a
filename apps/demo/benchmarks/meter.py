"""Meter: a benchmark app with many small events per reading, so that the loop dominates the cost.

Like detections in a camera frame or beats in an ECG chunk, many events follow from one run of a model. The
model (the largest of a reading's values) runs once per reading; each value is one ``meter.value`` event, of
the size of the industrial app's ``industrial.rul``. It has no entry point: `edgeloop bench` runs it by
``--app apps.demo.benchmarks.meter:SPEC``, and the cloud stores its events without a projection.

Its starter bundle is made by ``python -m apps.demo.benchmarks.meter FOLDER`` (needs the ``onnx`` package).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from common.app.cloud import ReceivedEvent, RouteDeps
from common.app.edge import EdgeContext, Reading
from common.app.spec import AppSpec
from common.bundle import Bundle, Limits, Lineage, Manifest, TensorSpec, seal, write_golden
from common.errors import ReadingError, SourceError
from common.messages import Event, Priority

if TYPE_CHECKING:
    from fastapi import APIRouter
    from sqlmodel import Session, SQLModel

VALUES = 100
"""Values per reading, one event each."""
FIRST_NS = 1_790_000_000_000_000_000
PERIOD_NS = 10_000_000
PACE_POLL_S = 0.01


class MeterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No settings."""


class MeterEdge:
    """`common.app.edge.EdgeApp` of the meter."""

    def __init__(self, context: EdgeContext) -> None:
        self._model = context.model
        self._version = context.model.manifest.version
        self._readings = 0

    def process(self, reading: Reading, now_ns: int) -> Sequence[Event]:  # noqa: ARG002
        if reading.values.ndim != 1 or not reading.values.size:
            raise ReadingError(f"a meter reading is a row of values, not of shape {reading.values.shape}")
        values = reading.values.astype(np.float32)
        peak = float(self._model.run({"values": values[np.newaxis]})["peak"][0, 0])
        self._readings += 1
        subject, time_ns, position = reading.subject, reading.captured_ns, reading.position
        limit, readings, version = round(1.2 * peak, 2), self._readings, self._version
        return [
            Event(
                "meter.value",
                subject,
                time_ns,
                Priority.TELEMETRY,
                {
                    "reading": position,
                    "channel": channel,
                    "value_units": round(value, 3),
                    "limit_units": limit,
                    "readings": readings,
                    "version": version,
                },
            )
            for channel, value in enumerate(values.tolist())
        ]

    def snapshot(self) -> Mapping[str, Any]:
        return {"readings": self._readings}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._readings = int(state["readings"])


class MeterCloud:
    """`common.app.cloud.CloudApp` of the meter, without tables."""

    schema_version = 1

    def tables(self) -> Sequence[type[SQLModel]]:
        return ()

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        """No tables."""

    def router(self, deps: RouteDeps) -> APIRouter:  # noqa: ARG002
        from fastapi import APIRouter

        return APIRouter()


class MeterSource:
    """``virtual:wave?name=m-1&pace=FILE``: a sine on `VALUES` channels, 100 readings a second by ``speed``.

    With ``speed`` 0 it runs at full speed, up to the position in ``FILE`` (an integer as text, replaced while
    the source runs), so that a benchmark can bound the events in transit.
    """

    live = False
    virtual = True

    def __init__(self, name: str, speed: float, pace: Path | None = None) -> None:
        self._name = name
        self._period_s = PERIOD_NS / 1e9 / speed if speed else 0.0
        self._pace = pace
        self._allowed = 0
        self._closed = threading.Event()

    def readings(self, after: int | None) -> Iterator[Reading]:
        phases = np.linspace(0, 2 * np.pi, VALUES, endpoint=False)
        position = 0 if after is None else after
        while self._may_give(position + 1):
            position += 1
            yield Reading(
                subject=self._name,
                captured_ns=FIRST_NS + position * PERIOD_NS,
                position=position,
                values=100.0 + 20.0 * np.sin(phases + 0.1 * position),
            )

    def close(self) -> None:
        self._closed.set()

    def _may_give(self, position: int) -> bool:
        """Wait until it is time for ``position``; False once the source is closed."""
        if self._period_s:
            return not self._closed.wait(self._period_s)
        while self._pace is not None and position > self._allowed and not self._closed.is_set():
            self._allowed = int(self._pace.read_text("ascii"))
            if position > self._allowed:
                self._closed.wait(PACE_POLL_S)
        return not self._closed.is_set()


def open_source(kind: str, parameters: Mapping[str, str], speed: float) -> MeterSource:
    """The virtual meter. Raises `SourceError`."""
    if kind != "wave" or set(parameters) - {"name", "pace"}:
        raise SourceError("the meter has one virtual source, virtual:wave?name=NAME&pace=FILE")
    pace = parameters.get("pace")
    return MeterSource(parameters.get("name", "meter"), speed, Path(pace) if pace else None)


def make_starter(folder: Path) -> Bundle:
    """Write the starter bundle into ``folder``: a graph of one node, the largest value of a row."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["values"], ["peak"], axes=[1], keepdims=1)],
        "meter",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, None])],
        [helper.make_tensor_value_info("peak", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    inputs = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    write_golden(folder, {"values": inputs}, {"peak": inputs.max(axis=1, keepdims=True)})
    return seal(
        folder,
        Manifest(
            app="meter",
            version="starter-1",
            task="measurement",
            inputs=[TensorSpec(name="values", dtype="float32", shape=[None, None])],
            outputs=[TensorSpec(name="peak", dtype="float32", shape=[None, 1])],
            precision="float32",
            licence="Apache-2.0",
            limits=Limits(latency_ms=50),
            lineage=Lineage(data={}, code="0.1.0"),
            tolerance={"peak": 0.0},
        ),
    )


SPEC = AppSpec(
    name="meter",
    title="Many events from one reading, for the bench",
    settings=MeterSettings,
    starter=Path(__file__).with_name("meter_starter"),
    edge="apps.demo.benchmarks.meter:MeterEdge",
    cloud="apps.demo.benchmarks.meter:MeterCloud",
    train="apps.demo.benchmarks.meter",
    virtual="apps.demo.benchmarks.meter:open_source",
    virtual_kinds=("wave",),
)

if __name__ == "__main__":
    make_starter(Path(sys.argv[1]))

"""Test builders: a small bundle, an app and a source around it, all seeded.

The model takes ``x`` of ``(batch, 4)`` and gives ``y``, the sum of its row times ``gain``, and ``novelty``,
its largest absolute value. The app ``sums`` makes of each reading a ``sums.value`` event with a running
count and checksum, and an alarm ``sums.high`` where the sum is above its limit.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from common.app.edge import EdgeContext, Reading, Sample
from common.app.spec import AppSpec
from common.bundle import Bundle, DriftSpec, Limits, Lineage, Manifest, TensorSpec, seal, write_golden
from common.errors import ReadingError, SourceError
from common.messages import Event, Priority

T = TypeVar("T")
WIDTH = 4
COLUMNS = ["a", "b", "c", "d"]
FIRST_NS = 1_790_000_000_000_000_000
PERIOD_NS = 1_000_000_000


def make_bundle(
    path: Path,
    *,
    version: str = "starter-1",
    app: str = "sums",
    gain: float = 1.0,
    sour: float | None = None,
    drift: DriftSpec | None = None,
    seed: int = 1,
) -> Bundle:
    """Write a whole bundle into ``path``. With ``sour``, an input above it makes the output NaN."""
    import onnx
    from onnx import TensorProto, helper

    path.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "gain"], ["y" if sour is None else "clean"]),
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("ReduceMax", ["size", "axes"], ["novelty"], keepdims=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("gain", TensorProto.FLOAT, [], [gain]),
    ]
    if sour is not None:
        nodes += [
            helper.make_node("Greater", ["novelty", "sour"], ["bad"]),
            helper.make_node("Where", ["bad", "nan", "clean"], ["y"]),
        ]
        constants += [
            helper.make_tensor("sour", TensorProto.FLOAT, [], [sour]),
            helper.make_tensor("nan", TensorProto.FLOAT, [], [float("nan")]),
        ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("novelty", TensorProto.FLOAT, [None, 1]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path / "model.onnx")
    x = np.random.default_rng(seed).uniform(-1, 1, size=(8, WIDTH)).astype(np.float32)
    outputs = {"y": x.sum(axis=1, keepdims=True) * np.float32(gain), "novelty": abs(x).max(1, keepdims=True)}
    write_golden(path, {"x": x}, outputs)
    return seal(
        path,
        Manifest(
            app=app,
            version=version,
            task="regression",
            inputs=[TensorSpec(name="x", dtype="float32", shape=[None, WIDTH], columns=COLUMNS)],
            outputs=[
                TensorSpec(name="y", dtype="float32", shape=[None, 1]),
                TensorSpec(name="novelty", dtype="float32", shape=[None, 1]),
            ],
            precision="float32",
            licence="Apache-2.0",
            limits=Limits(latency_ms=250),
            lineage=Lineage(data={"seeded": "0" * 64}, code="0.1.0", seed=seed),
            tolerance={"y": 1e-4, "novelty": 1e-4},
            drift=drift,
        ),
    )


class SumsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the test app."""

    alarm_above: float = 1.5
    """Sum above which there is an alarm."""
    sample_every: int = 0
    """Every so many readings one is offered for learning; 0 never."""
    score: float = 0.9
    """Score of such samples."""
    sample_values: int = 16
    """Numbers in such a sample."""


class SumsEdge:
    """`common.app.edge.EdgeApp` of the test app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: SumsSettings = context.settings
        self._model = context.model
        self._count = 0
        self._checksum = 0

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:
        if reading.values.shape != (WIDTH,) or not np.isfinite(reading.values).all():
            raise ReadingError(f"reading {reading.position} of {reading.subject} lacks one of {COLUMNS}")
        values = reading.values.astype(np.float32)
        total = float(self._model.run({"x": values[None]})["y"][0, 0])
        self._count += 1
        self._checksum = zlib.crc32(values.tobytes(), self._checksum)
        facts = {
            "count": self._count,
            "position": reading.position,
            "checksum": self._checksum,
            "sum": round(total, 4),
            "version": self._model.manifest.version,
        }
        results: list[Event | Sample] = [
            Event("sums.value", reading.subject, reading.captured_ns, Priority.TELEMETRY, facts)
        ]
        if total > self._settings.alarm_above:
            results.append(Event("sums.high", reading.subject, reading.captured_ns, Priority.ALARM, facts))
        if self._settings.sample_every and self._count % self._settings.sample_every == 0:
            numbers = np.random.default_rng(self._count).normal(size=self._settings.sample_values)
            results.append(
                make_sample(self._count, values=numbers, subject=reading.subject, score=self._settings.score)
            )
        return results

    def snapshot(self) -> Mapping[str, Any]:
        return {"count": self._count, "checksum": self._checksum}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._count, self._checksum = int(state["count"]), int(state["checksum"])


def make_sample(
    number: int = 1, *, score: float = 0.9, values: Any = None, subject: str = "machine-1"
) -> Sample:
    """A sample whose content depends on ``number``."""
    content = np.random.default_rng(number).normal(size=64) if values is None else values
    return Sample(
        subject=subject,
        group=f"{subject}/run-{number}",
        captured_ns=FIRST_NS + number * PERIOD_NS,
        reasons={"novelty": score},
        arrays={"values": np.asarray(content, np.float32)},
        attributes={"run": number},
    )


def make_reading(position: int, *, seed: int = 1, values: Any = None, subject: str = "machine-1") -> Reading:
    """The reading that a `SumsSource` with this seed gives at ``position``."""
    content = np.random.default_rng((seed, position)).uniform(-1, 1, size=WIDTH) if values is None else values
    return Reading(
        subject, FIRST_NS + position * PERIOD_NS, position, np.asarray(content, np.float64), tuple(COLUMNS)
    )


def make_event(
    number: int = 1,
    *,
    priority: Priority = Priority.TELEMETRY,
    type: str = "sums.value",
    subject: str = "machine-1",
    data: Mapping[str, Any] | None = None,
) -> Event:
    """An event as an app would make it."""
    return Event(type, subject, FIRST_NS + number, priority, {"number": number} if data is None else data)


class SumsSource:
    """``virtual:sums?seed=1&count=100&rate_hz=0``: ``count`` readings, with a rate then silence.

    ``fail_at`` is a position at which the source fails once, ``back_at`` one at which its clock goes back,
    ``strange_from`` one from which the readings are unlike those before.
    """

    live = False
    virtual = True

    def __init__(self, seed: int, count: int, rate_hz: float, **odd: int) -> None:
        self._seed, self._count, self._rate_hz = seed, count, rate_hz
        self._odd = odd
        self._closed = threading.Event()

    def readings(self, after: int | None) -> Iterator[Reading]:
        first = 1 if after is None else after + 1
        started = time.monotonic()
        for position in range(first, self._count + 1):
            if self._rate_hz:
                due = started + (position - first) / self._rate_hz
                if self._closed.wait(max(0.0, due - time.monotonic())):
                    return
            if self._odd.get("fail_at") == position:
                del self._odd["fail_at"]
                raise SourceError(f"the sensor was unplugged at {position}")
            yield self._reading(position)
        if self._rate_hz:
            self._closed.wait()

    def _reading(self, position: int) -> Reading:
        reading = make_reading(position, seed=self._seed)
        if position >= self._odd.get("back_at", self._count + 1):
            reading = replace(reading, captured_ns=reading.captured_ns - 3600 * PERIOD_NS)
        if position >= self._odd.get("strange_from", self._count + 1):
            reading = replace(reading, values=reading.values * 10)
        return reading

    def close(self) -> None:
        self._closed.set()


def open_sums(kind: str, parameters: Mapping[str, str], speed: float) -> SumsSource:
    return SumsSource(
        int(parameters.get("seed", "1")),
        int(parameters.get("count", "100")),
        float(parameters.get("rate_hz", "0")) * speed,
        **{k: int(parameters[k]) for k in ("fail_at", "back_at", "strange_from") if k in parameters},
    )


def make_app(starter: Path, name: str = "sums") -> AppSpec:
    """The test app with its starter bundle in ``starter`` (made if it is not there)."""
    if not (starter / "manifest.json").exists():
        make_bundle(starter, app=name)
    return AppSpec(
        name=name,
        title="Sums, for tests",
        settings=SumsSettings,
        starter=starter,
        edge="tests.builders:SumsEdge",
        cloud="tests.builders:SumsEdge",
        train="tests.builders",
        virtual="tests.builders:open_sums",
        virtual_kinds=("sums",),
    )


def sums_of(readings: Sequence[Reading]) -> list[float]:
    """Outputs of the starter model for ``readings``."""
    return [float(np.sum(reading.values.astype(np.float32))) for reading in readings]


def open_paths(top: Path) -> list[Path]:
    """Files and folders from ``top`` down that others than their owner have any right to."""
    found = [top, *top.rglob("*")]
    return sorted(
        path for path in found if not path.is_symlink() and path.exists() and path.stat().st_mode & 0o077
    )

"""More machines than a node may follow: the newcomer is refused where people look, the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from apps.industrial.app import SPEC, IndustrialSettings
from apps.industrial.domain import CHANNELS, RUL_CAP_CYCLES
from apps.industrial.edge.app import IndustrialEdge
from apps.industrial.events import MaintenanceDue, Rul
from apps.industrial.training.dataset import find_cmapss, load_engines
from apps.industrial.virtual.turbofan import simulate_run
from common.app.edge import EdgeContext, Reading
from common.bundle import open_bundle
from common.config.node import NodeSettings
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.messages import Event, WireEvent, decode_event
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.waiting import wait_for


def decided(folder: Path, limit: int) -> tuple[list[WireEvent], Node]:
    settings = NodeSettings(
        app="industrial",
        source="virtual:turbofan?seed=3&machines=3&name=engine",
        data=str(folder),
        profile="cpu",
        speed=0.0,
        settings={"max_machines": limit},
    )
    node = Node(settings, None, SPEC)
    node.start()
    wait_for(lambda: node.processing.handled >= 300, "300 readings")
    assert node.stop() == 0
    with closing(Outbox(folder / "outbox.sqlite", "/local/x", 10**9, lambda: 10**18)) as outbox:
        return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)], node


def test_a_refused_machine_is_one_event_and_stands_in_health(tmp_path: Path) -> None:
    events, node = decided(tmp_path / "full", 2)
    told = [(e.subject, msgspec.json.decode(e.data)) for e in events if e.type == "edgeloop.source"]
    ((subject, data),) = told
    assert (subject, data["problem"]) == ("engine-3", "capacity")
    assert "max_machines is 2" in data["detail"]
    health = [msgspec.json.decode(e.data) for e in events if e.type == "edgeloop.node.health"]
    assert node.processing.platform.refused.subjects == 1
    assert {"refused_subjects", "refused_readings"} <= set(health[-1])
    good, about = node.health.healthz()
    assert not good
    assert "engine-3 is refused" in about["problems"][0]
    assert {e.subject for e in events if e.type == "industrial.rul"} == {"engine-1", "engine-2"}


def test_with_room_for_all_nobody_is_refused(tmp_path: Path) -> None:
    events, node = decided(tmp_path / "room", 3)
    assert len({e.subject for e in events if e.type == "industrial.rul"}) == 3
    assert node.health.healthz()[0]
    assert not [e for e in events if e.type == "edgeloop.source"]


# -------------------------------------------------------------------------- a hundred engines on one node

ENGINES = 100


def of_each(app: IndustrialEdge, readings: Iterable[Reading]) -> dict[str, list[Event]]:
    """The app's events by engine."""
    found: dict[str, list[Event]] = {}
    for reading in readings:
        for result in app.process(reading, reading.captured_ns):
            if isinstance(result, Event):
                found.setdefault(result.subject, []).append(result)
    return found


def cycles_of(name: str, values: NDArray[np.float64]) -> list[Reading]:
    """A whole run as readings, one a second."""
    return [
        Reading(name, number * 10**9, number, row, CHANNELS, None, {"run": 0, "cycle": number})
        for number, row in enumerate(values, 1)
    ]


def in_turn(runs: Mapping[str, NDArray[np.float64]]) -> list[Reading]:
    """The runs interleaved cycle by cycle; one that has ended is passed over."""
    turns = zip_longest(*(cycles_of(name, values) for name, values in runs.items()))
    return [reading for turn in turns for reading in turn if reading is not None]


def check_in_turn(runs: Mapping[str, NDArray[np.float64]]) -> None:
    """All engines on one node with default settings: each decided on as if it were alone, and warned of."""
    model = load_model(open_bundle(SPEC.starter, app="industrial"), find_profile("cpu"))

    def app() -> IndustrialEdge:
        return IndustrialEdge(EdgeContext(IndustrialSettings(), model))

    together = of_each(app(), in_turn(runs))
    warned = [name for name in runs if any(isinstance(e.data, MaintenanceDue) for e in together[name])]
    assert len(warned) >= 0.9 * len(runs)
    squares: list[float] = []
    for name, values in runs.items():
        assert together[name] == of_each(app(), cycles_of(name, values))[name]
        truth = np.minimum(len(values) - np.arange(1, len(values) + 1), RUL_CAP_CYCLES)
        said = [e.data.rul_cycles for e in together[name] if isinstance(e.data, Rul)]
        squares += [(s - t) ** 2 for s, t in zip(said, truth, strict=True) if s is not None]
    assert np.sqrt(np.mean(squares)) < 15


@pytest.mark.timeout(1800)
def test_a_hundred_virtual_engines_in_turn_are_each_decided_on_as_if_alone() -> None:
    check_in_turn({f"engine-{n}": simulate_run("hpc", 77, 0, n).values for n in range(ENGINES)})


@pytest.mark.timeout(1800)
def test_a_hundred_engines_of_fd001_in_turn_are_each_decided_on_as_if_alone() -> None:
    folder = find_cmapss()
    if folder is None:
        pytest.skip("C-MAPSS FD001 is not under EDGELOOP_DATA (see datasets/cmapss.md)")
    engines = load_engines(folder)
    assert len(engines) == ENGINES
    check_in_turn({engine.name: engine.values for engine in engines})

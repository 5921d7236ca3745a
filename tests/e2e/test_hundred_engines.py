"""A hundred engines on one node are each decided on as if alone. No processes, but every cycle twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.industrial.app import SPEC, IndustrialSettings
from apps.industrial.domain import CHANNELS, RUL_CAP_CYCLES
from apps.industrial.edge.app import IndustrialEdge
from apps.industrial.events import MaintenanceDue, Rul
from apps.industrial.training.dataset import load_engines
from apps.industrial.virtual.turbofan import simulate_run
from common.app.edge import EdgeContext, Reading
from common.bundle import open_bundle
from common.messages import Event
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.datasets import cmapss_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
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
        estimates = [e.data.rul_cycles for e in together[name] if isinstance(e.data, Rul)]
        squares += [(s - t) ** 2 for s, t in zip(estimates, truth, strict=True) if s is not None]
    assert np.sqrt(np.mean(squares)) < 15


def test_a_hundred_virtual_engines_in_turn_are_each_decided_on_as_if_alone() -> None:
    check_in_turn({f"engine-{n}": simulate_run("hpc", 77, 0, n).values for n in range(ENGINES)})


def test_a_hundred_engines_of_fd001_in_turn_are_each_decided_on_as_if_alone() -> None:
    engines = load_engines(cmapss_folder())
    assert len(engines) == ENGINES
    check_in_turn({engine.name: engine.values for engine in engines})

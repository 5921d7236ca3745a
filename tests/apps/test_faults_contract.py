"""What every installed app promises about readings that lie, that are lost, and about restarts amid them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest

from common.app.edge import EdgeApp, EdgeContext, Reading
from common.app.events import fields_of
from common.app.spec import AppSpec
from common.edge.processing.state import decode_state, encode_state
from common.errors import ReadingError
from common.messages import Event, Priority
from tests.apps.contract import comparable, context_of, installed, virtual_readings

READINGS = 400
LYING_READINGS = 12


@pytest.fixture(scope="module", params=installed())
def spec(request: pytest.FixtureRequest) -> AppSpec:
    return installed()[request.param]


@pytest.fixture(scope="module")
def context(spec: AppSpec) -> EdgeContext:
    return context_of(spec)


@pytest.fixture(scope="module")
def readings(spec: AppSpec) -> list[Reading]:
    return virtual_readings(spec, READINGS)


def given(app: EdgeApp, readings: Sequence[Reading]) -> list[Any]:
    """What an app gives, refusals as their text."""
    results: list[Any] = []
    for reading in readings:
        try:
            results += [comparable(result) for result in app.process(reading, reading.captured_ns)]
        except ReadingError as error:
            results.append(str(error))
    return results


def with_value(reading: Reading, channel: str, value: float) -> Reading:
    values = reading.values.astype(np.float64)
    values[..., reading.channels.index(channel)] = value
    return replace(reading, values=values)


def mishandled(readings: Sequence[Reading]) -> list[Reading]:
    """The readings as a bad day brings them: some lost, doubled, late, cut or without a value."""
    rng = np.random.default_rng(5)
    found: list[Reading] = []
    for reading in readings:
        kind = rng.integers(0, 20)
        if kind == 0:
            continue
        if kind == 1:
            found.append(reading)
        if kind == 2 and len(found) > 3:
            found.append(found[-3])
        if kind == 3:
            reading = replace(reading, values=reading.values[..., :1], channels=reading.channels[:1])
        if kind == 4:
            reading = with_value(reading, reading.channels[-1], np.nan)
        found.append(reading)
    return found


def test_a_restart_at_any_point_of_a_bad_day_changes_nothing(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    day = mishandled(readings[:200])
    whole = given(spec.load_edge()(context), day)
    app, found = spec.load_edge()(context), []
    for begin in range(0, len(day), 7):
        saved = encode_state(app.snapshot())
        app = spec.load_edge()(context)
        app.restore(decode_state(saved))
        found += given(app, day[begin : begin + 7])
    assert found == whole


def test_an_app_that_comes_late_or_loses_readings_goes_on(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    for rest in (readings[60:160], readings[:160:2], [*readings[:40], *readings[90:160]]):
        results = given(spec.load_edge()(context), rest)
        assert any(isinstance(result, Event) for result in results)


def test_impossible_values_are_reported_by_sensor_and_never_clear_an_alarm(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    if not spec.ranges:
        pytest.skip("the app declares no ranges of its channels")
    app, coming = spec.load_edge()(context), iter(readings)
    for reading in coming:
        raised = app.process(reading, reading.captured_ns)
        if any(isinstance(each, Event) and each.priority is Priority.ALARM for each in raised):
            break
    following = list(itertools.islice(coming, LYING_READINGS))
    assert len(following) == LYING_READINGS, "an alarm is raised early enough"
    before = encode_state(app.snapshot())
    for channel, (low, high) in resolve_name(spec.ranges).items():
        for value in (low - 1.0, high + 1.0, 1e30, -np.inf):
            app = spec.load_edge()(context)
            app.restore(decode_state(before))
            events = [
                result
                for result in given(app, [with_value(reading, channel, value) for reading in following])
                if isinstance(result, Event)
            ]
            assert not [event for event in events if event.type.endswith("_cleared")], channel
            faults = [fields_of(event)["sensor"] for event in events if event.type.endswith(".sensor_fault")]
            assert faults == [channel]

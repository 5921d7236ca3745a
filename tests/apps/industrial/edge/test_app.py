"""Decisions at the machine: the alarm's hysteresis, runs that end, what is refused, what is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from apps.industrial.app import SPEC, IndustrialSettings
from apps.industrial.domain import CHANNELS, NOMINAL, SCALE, USED
from apps.industrial.edge.app import IndustrialEdge
from apps.industrial.edge.features import FEATURES, MIN_LATE_CYCLES
from apps.industrial.edge.knowledge import STALE_CYCLES
from apps.industrial.edge.machine import HISTORY_CYCLES
from apps.industrial.events import (
    MachineForgotten,
    MaintenanceCleared,
    MaintenanceDue,
    Rul,
    RulResumed,
    RulWithheld,
    RunRestarted,
    SensorFaultBegan,
    SensorFaultEnded,
)
from apps.industrial.virtual.turbofan import simulate_run
from common.app.edge import Arrays, EdgeContext, Reading, Sample
from common.bundle import open_bundle
from common.errors import ReadingError
from common.messages import Event, Priority
from common.model.inference import load_model
from common.model.profile import find_profile

Data = TypeVar("Data")
SETTINGS = IndustrialSettings(
    maintenance_horizon_cycles=30, alarm_hysteresis_cycles=10, alarm_confirm_cycles=3, explanation_sensors=2
)


class Scripted:
    """A model whose lower bounds and novelties are written down beforehand."""

    def __init__(self, lower: Sequence[float], novelty: float = 0.5) -> None:
        self.manifest = open_bundle(SPEC.starter).manifest
        self._lower = list(lower)
        self._novelty = novelty

    def run(self, inputs: Arrays) -> Arrays:
        rows = len(inputs["features"])
        assert inputs["features"].shape == (rows, FEATURES)
        lower = self._lower.pop(0) if rows == 1 else 0.0
        values = {"rul": lower + 5, "lower": lower, "upper": lower + 10, "novelty": self._novelty}
        return {name: np.full(rows, value, np.float32) for name, value in values.items()}


NEW = {"tra_pct": 100.0, "T2": 518.67, "P2": 14.62, "Nf_dmd": 2388.0, "PCNfR_dmd": 100.0}
"""Channels of a new engine at sea level that the model does not use."""


def cycle(number: int, run: int = 0, machine: str = "engine-1", **changed: float) -> Reading:
    values = np.array([NEW.get(name, 0.0) for name in CHANNELS])
    values[USED] = NOMINAL + 0.3 * SCALE * np.sin(number + np.arange(len(USED)))
    for name, value in changed.items():
        values[CHANNELS.index(name)] = value
    return Reading(machine, number * 10**9, number, values, CHANNELS, None, {"run": run, "cycle": number})


def feed(app: IndustrialEdge, readings: Sequence[Reading]) -> list[Event | Sample]:
    return [result for reading in readings for result in app.process(reading, reading.captured_ns)]


def types(results: Sequence[Event | Sample]) -> list[str]:
    return [r.type for r in results if isinstance(r, Event) and r.type != "industrial.rul"]


def sent(results: Sequence[Event | Sample], kind: type[Data]) -> list[Data]:
    """The data of the events of one type."""
    return [r.data for r in results if isinstance(r, Event) and isinstance(r.data, kind)]


def test_the_alarm_needs_confirmation_and_ends_only_well_above_the_horizon() -> None:
    lower = [29, 29, 31, 29, 29, 29, 29, 35, 39, 41, 29, 29]
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted(lower)))
    results = [feed(app, [cycle(i + 1)]) for i in range(len(lower))]
    due, cleared = ["industrial.maintenance_due"], ["industrial.maintenance_cleared"]
    assert [types(r) for r in results] == [[], [], [], [], [], due, [], [], [], cleared, [], []]
    event = results[5][1]
    assert isinstance(event, Event)
    assert event.priority is Priority.ALARM
    (alarm,) = sent(results[5], MaintenanceDue)
    assert alarm.horizon_cycles == 30
    assert len(alarm.sensors) == len(alarm.sensor_cycles) == 2


def test_a_run_that_ends_ends_its_alarm_and_starts_afresh() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([10] * 20)))
    feed(app, [cycle(i) for i in range(1, 6)])
    results = feed(app, [cycle(1, run=1)])
    assert types(results) == ["industrial.maintenance_cleared"]
    assert sent(results, MaintenanceCleared)[0].reason == "run ended"
    assert types(feed(app, [cycle(2, run=1)])) == []
    assert types(feed(app, [cycle(3, run=1)])) == ["industrial.maintenance_due"]


def test_an_ended_run_is_offered_whole_by_how_novel_it_was() -> None:
    for novelty, score in ((2.0, 1.0), (0.5, 0.0)):
        app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 20, novelty)))
        readings = [cycle(i, T24=640.0 + i) for i in range(1, 8)]
        samples = [r for r in feed(app, [*readings, cycle(1, run=1)]) if isinstance(r, Sample)]
        assert len(samples) == 1
        assert samples[0].group == "engine-1/run-0"
        assert samples[0].reasons == {"novelty": score}
        assert np.array_equal(samples[0].arrays["values"], np.array([r.values for r in readings], np.float32))
        assert (samples[0].attributes["first_cycle"], samples[0].attributes["last_cycle"]) == (1, 7)


def test_a_run_longer_than_the_memory_keeps_its_newest_cycles() -> None:
    cycles = HISTORY_CYCLES + 7
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * (cycles + 1))))
    results = feed(app, [*(cycle(i, T24=600 + i / 8) for i in range(1, cycles + 1)), cycle(1, run=1)])
    sample = next(r for r in results if isinstance(r, Sample))
    assert sample.attributes["first_cycle"] == 8
    kept = sample.arrays["values"][:, CHANNELS.index("T24")]
    assert np.array_equal(kept, 600 + np.arange(8, 1 + cycles, dtype=np.float32) / 8)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (cycle(2), "after 2"),
        (Reading("engine-1", 3, 3, np.zeros(5)), "shape"),
        (
            Reading("engine-1", 3, 3, cycle(3).values, CHANNELS, None, {"run": "x", "cycle": 3}),
            "whole numbers",
        ),
    ],
)
def test_an_unusable_cycle_is_refused_and_the_next_one_goes_on(reading: Reading, message: str) -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 9)))
    feed(app, [cycle(1), cycle(2)])
    with pytest.raises(ReadingError, match=message):
        feed(app, [reading])
    assert len(feed(app, [cycle(3)])) == 1


def test_channels_are_found_by_name_in_whatever_order_they_come() -> None:
    usual, other = (IndustrialEdge(EdgeContext(SETTINGS, Scripted([100, 100, 0]))) for _ in range(2))
    reading = cycle(1, T24=650.0, W32=20.0)
    names = (*reversed(CHANNELS), "oil_pressure")
    shuffled = replace(reading, values=np.append(reading.values[::-1], 3.5), channels=names)
    feed(usual, [reading])
    feed(other, [shuffled])
    mine, theirs = (app.snapshot()["subjects"][0]["state"] for app in (usual, other))
    assert np.array_equal(mine["history"], theirs["history"])
    assert all(
        np.array_equal(mine["features"][k], theirs["features"][k], equal_nan=True) for k in mine["features"]
    )
    with pytest.raises(ReadingError, match="none of them is a sensor"):
        feed(other, [replace(cycle(2), values=np.ones(1), channels=("oil_pressure",))])


def test_a_dead_sensor_that_the_model_does_not_use_blinds_nobody() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100])))
    assert len(feed(app, [cycle(1, P2=float("nan"))])) == 1


# ------------------------------------------------------------------------------------------- sensors


@pytest.mark.parametrize(
    ("value", "why"),
    [(0.0, "range"), (-3.0, "range"), (float("inf"), "range"), (float("nan"), "missing"), (690.0, "rate")],
)
def test_a_lying_sensor_is_reported_not_used_and_does_not_clear_the_alarm(value: float, why: str) -> None:
    lower = [10.0] * 5 + [90.0] * 4 + [10.0] * 9
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted(lower)))
    assert types(feed(app, [cycle(i) for i in range(1, 6)])) == ["industrial.maintenance_due"]
    lying = feed(app, [cycle(i, T24=value) for i in range(6, 10)])
    (fault,) = sent(lying, SensorFaultBegan)
    assert (fault.sensor, fault.why, fault.since_cycle) == ("T24", why, 6)
    assert fault.value == (value if np.isfinite(value) else None)
    assert "T24" in fault.text
    assert types(lying) == ["industrial.sensor_fault"], "the alarm stays, and nothing is repeated"
    well = feed(app, [cycle(i) for i in range(10, 16)])
    (over,) = sent(well, SensorFaultEnded)
    assert (over.sensor, over.since_cycle, over.cycle) == ("T24", 6, 14)
    history = app.snapshot()["subjects"][0]["state"]["history"][:, CHANNELS.index("T24")]
    assert np.flatnonzero(np.isnan(history)).tolist() == [5, 6, 7, 8]


def test_a_frozen_sensor_is_a_fault_and_what_is_constant_by_nature_is_not() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 60)))
    constant: dict[str, Any] = {"P15": 21.61, "epr": 1.3, "farB": 0.03}
    feed(app, [cycle(i, **constant) for i in range(1, 21)])
    results = feed(app, [cycle(i, T50=1400.0, **constant) for i in range(21, 41)])
    (fault,) = sent(results, SensorFaultBegan)
    assert (fault.sensor, fault.why, fault.value) == ("T50", "stuck", 1400.0)
    assert (fault.since_cycle, fault.cycle) == (21, 30)


def test_without_a_sensor_for_some_cycles_the_remaining_life_is_not_known() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 40)))
    feed(app, [cycle(i) for i in range(1, 21)])
    lost = feed(app, [cycle(i, W31=float("nan")) for i in range(21, 31)])
    points = sent(lost, Rul)
    given = [point.rul_cycles is not None for point in points]
    assert given == [True] * STALE_CYCLES + [False] * (10 - STALE_CYCLES)
    assert {(p.lower_cycles, p.upper_cycles, p.withheld) for p in points if p.withheld} == {
        (None, None, "sensors")
    }
    assert "W31" in points[-1].reason
    assert len(sent(lost, RulWithheld)) == 1
    back = feed(app, [cycle(i) for i in range(31, 38)])
    assert [event.cycle for event in sent(back, RulResumed)] == [35]


def test_all_sensors_dead_keeps_the_alarm_and_is_reported() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([10.0] * 4 + [125.0] * 30)))
    feed(app, [cycle(i) for i in range(1, 5)])
    dead = [replace(cycle(i), values=np.full(len(CHANNELS), np.nan)) for i in range(5, 30)]
    results = feed(app, dead)
    assert len(sent(results, SensorFaultBegan)) == len(USED)
    assert not sent(results, MaintenanceCleared)
    assert sent(results, Rul)[-1].rul_cycles is None


def test_an_absent_column_is_a_fault_and_not_a_refusal() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 40)))
    names = tuple(name for name in CHANNELS if name != "phi")
    places = [CHANNELS.index(name) for name in names]
    without = [replace(cycle(i), values=cycle(i).values[places], channels=names) for i in range(1, 9)]
    results = feed(app, without)
    (fault,) = sent(results, SensorFaultBegan)
    assert (fault.sensor, fault.why) == ("phi", "missing")
    assert {event.withheld for event in sent(results, Rul)} == {"sensors"}


# ------------------------------------------------------------------------------------ what is not known


def test_another_regime_is_not_known_and_is_not_learnt_from() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 40)))
    high = feed(app, [cycle(i, altitude_kft=42.0, mach=0.84) for i in range(1, 6)])
    points = sent(high, Rul)
    assert {(point.rul_cycles, point.withheld) for point in points} == {(None, "regime")}
    assert "altitude_kft is 42 kft" in points[0].reason
    assert len(sent(high, RulWithheld)) == 1
    assert sent(feed(app, [cycle(6)]), Rul)[0].rul_cycles is None, "too few cycles at sea level"


def test_what_is_unlike_anything_known_has_no_remaining_life() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([5.0] * 9, novelty=60_000.0)))
    results = feed(app, [cycle(i) for i in range(1, 8)])
    assert {event.withheld for event in sent(results, Rul)} == {"novel"}
    assert "another machine" in sent(results, RulWithheld)[0].reason
    assert not sent(results, MaintenanceDue)


def test_an_alarm_stands_while_the_remaining_life_is_withheld() -> None:
    """A notice that the remaining life is not known has less priority than the alarm, and never ends it."""
    lower = [10.0] * 4 + [125.0] * 6 + [10.0] * 12 + [125.0] * 12
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted(lower)))
    assert types(feed(app, [cycle(i) for i in range(1, 5)])) == ["industrial.maintenance_due"]
    away = feed(app, [cycle(i, altitude_kft=42.0, mach=0.84) for i in range(5, 8)])
    assert types(away) == ["industrial.rul_withheld"]
    assert isinstance(away[0], Event)
    assert away[0].priority < Priority.ALARM
    again = IndustrialEdge(EdgeContext(SETTINGS, Scripted(lower[7:])))
    again.restore(app.snapshot())
    still = feed(again, [cycle(i, altitude_kft=42.0, mach=0.84) for i in range(8, 11)])
    back = feed(again, [cycle(i) for i in range(11, 23)])
    assert not sent([*still, *back], MaintenanceCleared), "nor by a restart meanwhile"
    assert not sent([*still, *back], MaintenanceDue), "it is one alarm"
    well = feed(again, [cycle(i) for i in range(23, 35)])
    assert len(sent(well, MaintenanceCleared)) == 1, "only a known remaining life ends it"


def test_a_history_that_begins_late_has_no_remaining_life_until_it_is_long_enough() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 40)))
    results = feed(app, [cycle(i) for i in range(60, 90)])
    given = [event.rul_cycles is not None for event in sent(results, Rul)]
    assert given == [False] * (MIN_LATE_CYCLES - 1) + [True] * (31 - MIN_LATE_CYCLES)
    assert "begins late" in sent(results, RulWithheld)[0].reason


# ------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize("first", [1, 3])
def test_a_cycle_that_starts_again_is_a_new_run_and_is_reported(first: int) -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([10] * 40)))
    old = [cycle(i) for i in range(1, 20)]
    results = feed(app, [*old, *(cycle(i) for i in range(first, first + 3))])
    (restarted,) = sent(results, RunRestarted)
    assert (restarted.run, restarted.cycle) == (1, first)
    assert (restarted.ended_run, restarted.ended_cycle) == (0, 19)
    assert sent(results, MaintenanceCleared)[0].reason == "run ended"
    assert [event.run for event in sent(results, Rul)] == [0] * 19 + [1] * 3
    again = sent(feed(app, [cycle(1, run=1)]), Rul)
    assert again[0].run == 2, "a run that the source names comes after those that were counted"


def test_a_source_without_cycle_numbers_has_its_readings_counted() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * 40)))
    unnamed = [replace(cycle(i), attributes={}, position=7 * i) for i in range(1, 6)]
    assert [event.cycle for event in sent(feed(app, unnamed), Rul)] == [1, 2, 3, 4, 5]


def test_a_machine_without_readings_is_forgotten_and_its_run_offered_for_learning() -> None:
    app = IndustrialEdge(EdgeContext(IndustrialSettings(forget_machine_after_days=1), Scripted([100] * 9)))
    feed(app, [cycle(1), cycle(2)])
    day_ns = 86_400 * 10**9
    others = [replace(cycle(1 + n, machine="engine-2"), captured_ns=1 + n * day_ns // 2) for n in range(4)]
    gone = [result for result in feed(app, others) if result.subject == "engine-1"]
    forgotten, sample = gone
    assert isinstance(forgotten, Event)
    assert (forgotten.type, forgotten.priority) == ("industrial.machine_forgotten", Priority.EVENT)
    assert isinstance(forgotten.data, MachineForgotten)
    assert (forgotten.data.run, forgotten.data.cycle, forgotten.data.alarm) == (0, 2, False)
    assert isinstance(sample, Sample)
    assert sample.group == "engine-1/run-0"


def test_the_starter_warns_of_a_failing_virtual_engine_in_time_with_the_reason() -> None:
    model = load_model(open_bundle(SPEC.starter), find_profile("cpu"))
    lead_times = []
    for seed in range(5):
        run = simulate_run("hpc", seed)
        app = IndustrialEdge(EdgeContext(SETTINGS, model))
        readings = [
            Reading("engine-1", i, i, values, CHANNELS, None, {"run": 0, "cycle": i})
            for i, values in enumerate(run.values, 1)
        ]
        alarms = sent(feed(app, readings), MaintenanceDue)
        assert alarms, f"no alarm before engine {seed} failed"
        assert alarms[0].sensor_cycles[0] > 0
        lead_times.append(run.failure_cycle - alarms[0].cycle)
    assert min(lead_times) >= 10
    assert max(lead_times) <= 80

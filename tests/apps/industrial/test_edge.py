"""Decisions at the machine: the alarm's hysteresis, runs that end, what is refused, what is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from apps.industrial.app import SPEC, IndustrialSettings
from apps.industrial.edge import HISTORY_CYCLES, IndustrialEdge
from apps.industrial.features import CHANNELS, FEATURES, NOMINAL, USED
from apps.industrial.virtual import simulate_run
from common.app import Arrays, EdgeContext, Reading, Sample
from common.bundle import open_bundle
from common.edge.inference import load_model
from common.edge.profile import find_profile
from common.errors import ReadingError
from common.messages import Event, Priority

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


def cycle(number: int, run: int = 0, machine: str = "engine-1", **changed: float) -> Reading:
    values = np.zeros(len(CHANNELS))
    values[USED] = NOMINAL
    for name, value in changed.items():
        values[CHANNELS.index(name)] = value
    return Reading(machine, number * 10**9, number, values, CHANNELS, None, {"run": run, "cycle": number})


def feed(app: IndustrialEdge, readings: Sequence[Reading]) -> list[Event | Sample]:
    return [result for reading in readings for result in app.process(reading, reading.captured_ns)]


def types(results: Sequence[Event | Sample]) -> list[str]:
    return [r.type for r in results if isinstance(r, Event) and r.type != "industrial.rul"]


def test_the_alarm_needs_confirmation_and_ends_only_well_above_the_horizon() -> None:
    lower = [29, 29, 31, 29, 29, 29, 29, 35, 39, 41, 29, 29]
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted(lower)))
    results = [feed(app, [cycle(i + 1)]) for i in range(len(lower))]
    due, cleared = ["industrial.maintenance_due"], ["industrial.maintenance_cleared"]
    assert [types(r) for r in results] == [[], [], [], [], [], due, [], [], [], cleared, [], []]
    alarm = results[5][1]
    assert isinstance(alarm, Event)
    assert alarm.priority is Priority.ALARM
    assert alarm.data["horizon_cycles"] == 30
    assert len(alarm.data["sensors"]) == len(alarm.data["sensor_cycles"]) == 2


def test_a_run_that_ends_ends_its_alarm_and_starts_afresh() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([10] * 20)))
    feed(app, [cycle(i) for i in range(1, 6)])
    results = feed(app, [cycle(1, run=1)])
    assert types(results) == ["industrial.maintenance_cleared"]
    assert results[0].data["reason"] == "run ended"  # type: ignore[union-attr]
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
        assert np.array_equal(samples[0].arrays["values"], np.float32([r.values for r in readings]))
        assert (samples[0].attributes["first_cycle"], samples[0].attributes["last_cycle"]) == (1, 7)


def test_a_run_longer_than_the_memory_keeps_its_newest_cycles() -> None:
    cycles = HISTORY_CYCLES + 7
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100] * (cycles + 1))))
    results = feed(app, [*(cycle(i, T24=600 + i) for i in range(1, cycles + 1)), cycle(1, run=1)])
    sample = next(r for r in results if isinstance(r, Sample))
    assert sample.attributes["first_cycle"] == 8
    kept = sample.arrays["values"][:, CHANNELS.index("T24")]
    assert np.array_equal(kept, np.arange(608, 601 + cycles, dtype=np.float32))


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (cycle(3, T50=float("nan")), "lacks T50"),
        (cycle(3, Ps30=float("inf")), "lacks Ps30"),
        (cycle(2), "after 2"),
        (Reading("engine-1", 3, 3, np.zeros(5)), "shape"),
        (
            Reading("engine-1", 3, 3, cycle(3).values, CHANNELS, None, {"run": "x", "cycle": 3}),
            "whole numbers",
        ),
    ],
)
def test_an_unusable_cycle_is_refused_by_name_and_the_next_one_goes_on(
    reading: Reading, message: str
) -> None:
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
    assert all(np.array_equal(mine["features"][k], theirs["features"][k]) for k in mine["features"])
    with pytest.raises(ReadingError, match="lacks T24"):
        feed(other, [replace(cycle(2), values=np.ones(1), channels=("T30",))])


def test_a_dead_sensor_that_the_model_does_not_use_blinds_nobody() -> None:
    app = IndustrialEdge(EdgeContext(SETTINGS, Scripted([100])))
    assert len(feed(app, [cycle(1, P2=float("nan"))])) == 1


def test_a_machine_without_readings_is_forgotten_and_its_run_offered_for_learning() -> None:
    app = IndustrialEdge(EdgeContext(IndustrialSettings(forget_machine_after_days=1), Scripted([100] * 9)))
    feed(app, [cycle(1), cycle(2)])
    day_ns = 86_400 * 10**9
    others = [replace(cycle(1 + n, machine="engine-2"), captured_ns=1 + n * day_ns // 2) for n in range(4)]
    gone = [result for result in feed(app, others) if result.subject == "engine-1"]
    forgotten, sample = gone
    assert isinstance(forgotten, Event)
    assert (forgotten.type, forgotten.priority) == ("industrial.machine_forgotten", Priority.EVENT)
    assert {key: forgotten.data[key] for key in ("run", "cycle", "alarm")} == {
        "run": 0, "cycle": 2, "alarm": False,
    }  # fmt: skip
    assert isinstance(sample, Sample)
    assert sample.group == "engine-1/run-0"


def test_the_starter_warns_of_a_failing_virtual_engine_in_time_and_says_why() -> None:
    model = load_model(open_bundle(SPEC.starter), find_profile("cpu"))
    lead_times = []
    for seed in range(5):
        run = simulate_run("hpc", seed)
        app = IndustrialEdge(EdgeContext(SETTINGS, model))
        readings = [
            Reading("engine-1", i, i, values, CHANNELS, None, {"run": 0, "cycle": i})
            for i, values in enumerate(run.values, 1)
        ]
        alarms = [
            r for r in feed(app, readings) if isinstance(r, Event) and r.type == "industrial.maintenance_due"
        ]
        assert alarms, f"no alarm before engine {seed} failed"
        assert alarms[0].data["sensor_cycles"][0] > 0
        lead_times.append(run.failure_cycle - alarms[0].data["cycle"])
    assert min(lead_times) >= 10
    assert max(lead_times) <= 80

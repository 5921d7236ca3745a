from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from apps.industrial.domain import CHANNELS, NOMINAL, SCALE, USED, USED_CHANNELS
from apps.industrial.training.dataset import load_cmapss
from apps.industrial.virtual.turbofan import FAULTS, machines_of, open_source, parse_schedule, simulate_run
from common.errors import ConfigError, SourceError
from tests.datasets import cmapss_folder
from tests.waiting import PATIENCE_S


def drift(values: np.ndarray) -> np.ndarray:
    """Change over a life by used channel, in units of noise."""
    return (values[-8:, USED].mean(axis=0) - values[:20, USED].mean(axis=0)) / SCALE


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_run_repeats_itself_and_differs_from_all_others(fault: str) -> None:
    run = simulate_run(fault, 1, 2, 3)
    assert np.array_equal(run.values, simulate_run(fault, 1, 2, 3).values)
    others = [simulate_run(fault, *key) for key in ((2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert all(not np.array_equal(run.values[:100], other.values[:100]) for other in others)
    assert run.failure_cycle == len(run.values)


def test_lives_are_like_those_of_fd001() -> None:
    lives = [simulate_run("hpc", 5, 0, k).failure_cycle for k in range(200)]
    assert min(lives) >= 120
    assert max(lives) <= 370
    assert 190 < np.mean(lives) < 225
    assert 35 < np.std(lives) < 60


def test_a_new_engine_is_nominal_whatever_will_break() -> None:
    for fault in FAULTS:
        starts = [simulate_run(fault, 6, 0, k).values[:10, USED].mean(axis=0) for k in range(30)]
        assert np.all(np.abs((np.mean(starts, axis=0) - NOMINAL) / SCALE) < 2.5)


def test_engines_fail_at_the_same_damage() -> None:
    ends = np.array([simulate_run("hpc", 7, 0, k).values[-8:].mean(axis=0) for k in range(40)])
    starts = np.array([simulate_run("hpc", 7, 0, k).values[:8].mean(axis=0) for k in range(40)])
    column = CHANNELS.index("Ps30")
    assert ends[:, column].std() < 0.6 * starts[:, column].std()
    assert ends[:, column].mean() == pytest.approx(48.1, abs=0.1)


def test_damage_grows_ever_faster() -> None:
    runs = [simulate_run("hpc", 8, 0, k).values[:, CHANNELS.index("T50")] for k in range(30)]
    thirds = np.array([[part.mean() for part in np.array_split(run, 4)] for run in runs]).mean(axis=0)
    steps = np.diff(thirds)
    assert np.all(steps > 0)
    assert steps[2] > 2 * steps[0]


def test_each_fault_has_its_own_signature() -> None:
    found = {
        fault: np.mean([drift(simulate_run(fault, 9, 0, k).values) for k in range(20)], axis=0)
        for fault in FAULTS
    }
    for one, other in itertools.combinations(found, 2):
        cosine = found[one] @ found[other] / np.linalg.norm(found[one]) / np.linalg.norm(found[other])
        assert cosine < 0.6, (one, other)
    p30 = USED_CHANNELS.index("P30")
    assert found["hpc"][p30] < -4
    assert found["fan"][p30] > 8


def test_values_are_rounded_like_the_instruments() -> None:
    values = simulate_run("hpc", 1).values
    assert np.array_equal(
        values[:, CHANNELS.index("htBleed")], np.round(values[:, CHANNELS.index("htBleed")])
    )
    assert np.allclose(values[:, CHANNELS.index("T24")], np.round(values[:, CHANNELS.index("T24")], 2))
    assert np.all(values[:, CHANNELS.index("Nf_dmd")] == 2388)


def test_hpc_runs_are_close_to_fd001() -> None:
    folder = cmapss_folder()
    real = [run.values for run in load_cmapss(folder).train]
    made = [simulate_run("hpc", 10, 0, k).values for k in range(100)]
    for part in (slice(0, 10), slice(-10, None)):
        of_real = np.array([run[part][:, USED].mean(axis=0) for run in real])
        of_made = np.array([run[part][:, USED].mean(axis=0) for run in made])
        assert np.all(np.abs(of_real.mean(axis=0) - of_made.mean(axis=0)) / SCALE < 3)
        both = of_real.std(axis=0) > 0.3 * SCALE  # P15 is nearly constant
        ratio = of_made.std(axis=0)[both] / of_real.std(axis=0)[both]
        assert np.all((ratio > 0.5) & (ratio < 2))


def test_a_failed_engine_is_replaced_and_the_run_counted() -> None:
    source = open_source("turbofan", {"seed": "3"}, 0.0)
    readings = list(itertools.islice(source.readings(None), 500))
    (machine,) = source.machines
    assert [r.position for r in readings] == list(range(500))
    first = machine.run(0).failure_cycle
    assert (readings[first - 1].attributes["run"], readings[first - 1].attributes["cycle"]) == (0, first)
    assert (readings[first].attributes["run"], readings[first].attributes["cycle"]) == (1, 1)
    assert np.array_equal(readings[first].values, machine.run(1).values[0])
    assert {r.subject for r in readings} == {"turbofan-3"}
    assert readings[0].channels == CHANNELS


def test_machines_take_turns_and_any_position_can_be_taken_up() -> None:
    parameters = {"seed": "4", "machines": "3", "name": "bay"}
    whole = list(itertools.islice(open_source("turbofan", parameters, 0.0).readings(None), 1500))
    assert [r.subject for r in whole[:4]] == ["bay-1", "bay-2", "bay-3", "bay-1"]
    for after in (0, 7, 700, 1400):
        rest = itertools.islice(open_source("turbofan", parameters, 0.0).readings(after), 60)
        for found, expected in zip(rest, whole[after + 1 :], strict=False):
            assert (found.position, found.subject) == (expected.position, expected.subject)
            assert found.attributes == expected.attributes
            assert np.array_equal(found.values, expected.values)


def test_the_schedule_names_the_growing_fault() -> None:
    schedule = parse_schedule("hpc:2,fan:3,lpt")
    assert [schedule.fault_of(k) for k in range(7)] == ["hpc", "hpc", "fan", "fan", "fan", "lpt", "lpt"]
    assert parse_schedule("hpc:2,fan:1").fault_of(9) == "fan"
    (machine,) = machines_of({"seed": "1", "fault": "hpc:1,fan"})
    assert np.array_equal(machine.run(0).values, machines_of({"seed": "1"})[0].run(0).values)
    assert machine.run(1).fault == "fan"


def test_a_fault_can_be_injected_while_the_source_runs(tmp_path: Path) -> None:
    wanted = tmp_path / "faults.txt"
    source = open_source("turbofan", {"seed": "5", "inject": str(wanted)}, 0.0)
    readings = source.readings(None)
    assert next(readings).attributes == {"run": 0, "cycle": 1}
    wanted.write_text("1 fan\n2 lpt\n")
    (machine,) = source.machines
    assert [machine.fault_of(k) for k in range(4)] == ["hpc", "fan", "lpt", "lpt"]
    later = next(r for r in readings if r.attributes["run"] == 1)
    assert np.array_equal(later.values, simulate_run("fan", 5, 0, 1).values[0])


def test_a_broken_sensor_shows_what_broken_sensors_show() -> None:
    column = CHANNELS.index("T50")
    good = machines_of({"seed": "1"})[0].run(0).values
    for kind in ("stuck", "lost", "drifting"):
        bad = machines_of({"seed": "1", "sensor": f"T50:{kind}:50"})[0].run(0).values
        assert np.array_equal(bad[:49], good[:49])
        assert np.array_equal(np.delete(bad, column, axis=1), np.delete(good, column, axis=1))
        late = bad[60:, column]
        if kind == "stuck":
            assert np.all(late == good[49, column])
        elif kind == "lost":
            assert np.all(np.isnan(late))
        else:
            assert np.all(late > good[60:, column])


@pytest.mark.parametrize(
    "parameters",
    [
        {"fault": "rust"},
        {"fault": "hpc:0"},
        {"fault": "hpc:two,fan"},
        {"seed": "x"},
        {"machines": "0"},
        {"period_s": "0"},
        {"period_s": "nan"},
        {"sensor": "T50:melted"},
        {"sensor": "T2:stuck"},
        {"colour": "red"},
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=next(iter(parameters.values())) if "colour" not in parameters else "colour"
    ):
        open_source("turbofan", parameters, 0.0)


def test_another_kind_is_refused() -> None:
    with pytest.raises(SourceError, match="turbofan"):
        open_source("rocket", {}, 0.0)


def test_real_time_keeps_its_pace_and_close_ends_it() -> None:
    source = open_source("turbofan", {"period_s": "0.4", "machines": "2"}, 10.0)
    began = time.monotonic()
    list(itertools.islice(source.readings(None), 11))
    assert time.monotonic() - began > 0.15
    slow = open_source("turbofan", {"period_s": "60"}, 1.0)
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.extend(r.position for r in slow.readings(None)))
    thread.start()
    time.sleep(0.05)
    slow.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert taken == [0]

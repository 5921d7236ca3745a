"""Impossible values are found, real engines at every operating point are left alone, and state is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from apps.industrial.domain import CHANNELS, RANGES
from apps.industrial.edge.sensor_faults import (
    END_READINGS,
    STUCK_CYCLES,
    SensorFault,
    SensorStates,
    restored,
)
from apps.industrial.training.dataset import SETS, load_engines
from apps.industrial.virtual.turbofan import FAULTS, simulate_run
from common.edge.processing.state import decode_state, encode_state
from tests.datasets import cmapss_folder


def checked(
    values: np.ndarray, states: SensorStates | None = None
) -> tuple[SensorStates, list[SensorFault], list[SensorFault], np.ndarray]:
    """All cycles of a run: the states after it, faults that began and ended, and the usable values."""
    states = states or SensorStates()
    began: list[SensorFault] = []
    ended: list[SensorFault] = []
    usable = []
    for cycle, row in enumerate(values, 1):
        states, found = states.check(row, cycle)
        began += found.began
        ended += found.ended
        usable.append(found.values)
    return states, began, ended, np.array(usable)


def engine(cycles: int = 100) -> np.ndarray:
    return simulate_run("hpc", 4).values[:cycles].copy()


def column(name: str) -> int:
    return CHANNELS.index(name)


@pytest.mark.parametrize("fault", FAULTS)
def test_virtual_engines_of_every_fault_have_no_sensor_fault(fault: str) -> None:
    for seed in range(3):
        assert not checked(simulate_run(fault, seed).values)[1]


def test_engines_of_all_four_sets_at_all_operating_points_have_no_sensor_fault() -> None:
    folder = cmapss_folder()
    for name in SETS:
        if (folder / f"train_{name}.txt").is_file():
            for run in load_engines(folder, name)[::20]:
                assert not checked(run.values)[1], run.name


def test_a_spike_is_one_fault_that_ends_and_only_its_value_is_lost() -> None:
    values = engine()
    values[50, column("P30")] = 20.0
    _, began, ended, usable = checked(values)
    assert [(fault.sensor, fault.why, fault.value, fault.since_cycle) for fault in began] == [
        ("P30", "range", 20.0, 51)
    ]
    assert ended == began
    assert np.argwhere(np.isnan(usable)).tolist() == [[50, column("P30")]]


def test_a_sensor_that_flutters_is_one_fault() -> None:
    values = engine()
    values[40:90:2, column("T50")] = np.nan
    _, began, ended, usable = checked(values)
    assert (len(began), len(ended)) == (1, 1)
    assert np.count_nonzero(np.isnan(usable)) == 25


def test_a_step_of_one_sensor_is_its_fault_and_one_of_many_is_the_machines() -> None:
    values = engine()
    values[50:, column("T24")] += 40.0
    assert [(fault.sensor, fault.why) for fault in checked(values)[1]] == [("T24", "rate")]
    values = engine()
    for name in ("T24", "T30", "T50", "P30", "Ps30", "phi", "W31", "W32"):
        values[50:, column(name)] *= 1.17
    assert not checked(values)[1]


def test_a_frozen_sensor_is_found_and_its_fault_ends_when_it_moves() -> None:
    values = engine()
    values[30:60, column("Ps30")] = values[30, column("Ps30")]
    _, began, ended, usable = checked(values)
    (fault,) = began
    assert (fault.sensor, fault.why, fault.since_cycle) == ("Ps30", "stuck", 31)
    assert ended == began
    lost = np.flatnonzero(np.isnan(usable[:, column("Ps30")]))
    assert lost.tolist() == list(range(30 + STUCK_CYCLES["Ps30"] - 1, 60))


def test_a_source_that_repeats_its_last_reading_is_found() -> None:
    values = engine()
    values[40:] = values[40]
    sensors = {fault.sensor for fault in checked(values)[1]}
    assert sensors == set(STUCK_CYCLES) & {*CHANNELS}


def test_checks_change_nothing_and_go_on_after_a_restart() -> None:
    values = engine()
    values[20:60, column("T24")] = 0.0
    values[70:, column("phi")] = np.inf
    whole = checked(values)
    states, began, ended, _ = checked(values[:50])
    saved = encode_state({"sensors": states.snapshot()})
    states.check(values[51], 52)
    assert encode_state({"sensors": states.snapshot()}) == saved
    states = restored(decode_state(saved)["sensors"])
    for cycle, row in enumerate(values[50:], 51):
        states, found = states.check(row, cycle)
        began += found.began
        ended += found.ended
    assert (began, ended) == (whole[1], whole[2])
    assert began[-1].value is None
    assert ended[0].since_cycle == 21
    assert END_READINGS > 1
    assert len(saved) < 3000


def test_every_channel_has_a_range() -> None:
    assert set(RANGES) == set(CHANNELS)

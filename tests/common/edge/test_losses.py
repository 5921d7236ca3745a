"""Losses are kept for a day, over restarts and whatever the clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from common.edge.losses import FILE, REMEMBERED_NS, Kind, Losses
from common.messages import EARLIEST_CLOCK_NS

HOUR_NS = 3_600_000_000_000
NOW_NS = EARLIEST_CLOCK_NS + 1000 * HOUR_NS


@dataclass
class Machine:
    """A machine whose clock is set at will."""

    offset_ns: int = NOW_NS
    steady_ns: int = 50 * HOUR_NS

    def losses(self, folder: Path) -> Losses:
        return Losses(folder, lambda: self.offset_ns + self.steady_ns, lambda: self.steady_ns)

    def reboot(self, away_ns: int) -> None:
        self.offset_ns += self.steady_ns + away_ns
        self.steady_ns = 0


def test_without_a_loss_there_is_no_problem_and_no_file(tmp_path: Path) -> None:
    losses = Machine().losses(tmp_path)
    losses.save(at_once=True)
    assert losses.problems() == []
    assert not (tmp_path / FILE).exists()


def test_a_loss_is_a_problem_for_a_day_after_the_last(tmp_path: Path) -> None:
    machine = Machine()
    losses = machine.losses(tmp_path)
    losses.add(Kind.EVENTS, 3)
    machine.steady_ns += REMEMBERED_NS - HOUR_NS
    losses.add(Kind.EVENTS, 4)
    machine.steady_ns += REMEMBERED_NS - 1
    (reported,) = losses.problems()
    assert reported.startswith("7 events were lost")
    machine.steady_ns += 1
    assert losses.problems() == []
    losses.add(Kind.EVENTS, 1)
    assert losses.problems()[0].startswith("1 events")


def test_a_loss_is_remembered_over_a_restart_for_what_is_left_of_the_day(tmp_path: Path) -> None:
    machine = Machine()
    losses = machine.losses(tmp_path)
    losses.add(Kind.READINGS, 2)
    losses.save()
    machine.reboot(away_ns=10 * HOUR_NS)
    again = machine.losses(tmp_path)
    (reported,) = again.problems()
    assert "at least 2 readings" in reported
    assert "10.0 h ago" in reported
    machine.steady_ns += 14 * HOUR_NS
    assert again.problems() == []


@pytest.mark.parametrize("at_first_ns", [0, NOW_NS + 80_000 * HOUR_NS])
def test_a_loss_stamped_by_a_wrong_clock_counts_from_the_restart_on(tmp_path: Path, at_first_ns: int) -> None:
    machine = Machine(at_first_ns)
    losses = machine.losses(tmp_path)
    losses.add(Kind.EVENTS)
    losses.save()
    machine.offset_ns, machine.steady_ns = NOW_NS, 0
    again = machine.losses(tmp_path)
    machine.steady_ns += REMEMBERED_NS - 1
    assert again.problems()
    machine.steady_ns += 1
    assert again.problems() == []


def test_a_clock_that_is_set_makes_no_loss_older(tmp_path: Path) -> None:
    machine = Machine(0)
    losses = machine.losses(tmp_path)
    losses.add(Kind.REPORTS)
    machine.offset_ns = NOW_NS
    assert losses.problems()


def test_a_flood_of_losses_is_written_once_a_minute_and_at_the_end(tmp_path: Path) -> None:
    machine = Machine()
    losses = machine.losses(tmp_path)
    losses.add(Kind.EVENTS)
    losses.save()
    first = (tmp_path / FILE).read_bytes()
    losses.add(Kind.EVENTS)
    losses.save()
    assert (tmp_path / FILE).read_bytes() == first
    losses.save(at_once=True)
    assert machine.losses(tmp_path).problems()[0].startswith("2 events")


@pytest.mark.parametrize("content", [b"", b"{", b'{"weather": {}}'])
def test_a_file_that_is_not_readable_is_no_loss(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert Machine().losses(tmp_path).problems() == []

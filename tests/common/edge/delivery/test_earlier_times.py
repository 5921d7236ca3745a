"""A wrong clock is marked on every event, and mended where its error can be known."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.clock import NodeClock, latest_plausible_ns
from common.config.node import ClockSettings
from common.edge.delivery.earlier_times import mend_earlier_times, take_over
from common.edge.delivery.outbox import Outbox
from common.messages import EARLIEST_CLOCK_NS, Event, Priority, TimeQuality, decode_event, parse_time

S = 1_000_000_000
NOW_NS = EARLIEST_CLOCK_NS + 300 * 86400 * S
YEAR_2034_NS = 2_040_000_000 * S
HORIZON_S = ClockSettings().horizon_days * 86400
DAY_NS = 86400 * S


@dataclass
class Machine:
    """A machine with a wall clock that is set at will."""

    offset_ns: int
    steady_ns: int = 50 * S
    boot: str = "one"

    def clock(self) -> NodeClock:
        return NodeClock(lambda: self.offset_ns + self.steady_ns, lambda: self.steady_ns)

    def restart(self, offset_ns: int) -> None:
        self.boot += "+"
        self.steady_ns, self.offset_ns = 30 * S, offset_ns


class Run:
    """A run of a node on the machine: open, stamp, close."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.machine, self.clock = machine, machine.clock()
        self.clock.latest_ns = latest_plausible_ns(HORIZON_S, None)
        self.outbox = Outbox(folder / "outbox.sqlite", "/s/n", 10**8, self.clock)
        mend_earlier_times(folder, self.outbox, self.clock, machine.boot)

    def stamp(self, time_ns: int | None = None) -> None:
        self.machine.steady_ns += S
        time_ns = self.clock() if time_ns is None else time_ns
        self.outbox.commit([Event("sums.value", "m", time_ns, Priority.EVENT, {})])

    def times(self) -> list[tuple[int, str]]:
        events = [decode_event(row.body) for row in self.outbox.pending(0, 1000, 10**9)]
        return [(parse_time(event.time), event.timequality) for event in events]

    def close(self) -> None:
        self.outbox.close()


def test_a_plausible_clock_marks_nothing(tmp_path: Path) -> None:
    with closing(Run(tmp_path, Machine(NOW_NS))) as run:
        run.stamp()
        run.stamp(-5_000 * 86400 * S)
        assert [quality for _, quality in run.times()] == ["", ""]


def test_a_clock_that_was_never_set_marks_its_times_and_those_of_a_recording_not(tmp_path: Path) -> None:
    with closing(Run(tmp_path, Machine(0))) as run:
        run.stamp()
        run.stamp(NOW_NS)
        run.stamp(20 * 365 * 86400 * S)
        assert [quality for _, quality in run.times()] == ["unsynchronised", "", ""]


def test_a_clock_that_is_set_between_two_runs_mends_the_first_ones_times(tmp_path: Path) -> None:
    machine = Machine(0)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
        stamped = machine.steady_ns
        first.stamp(NOW_NS)
    machine.offset_ns = NOW_NS
    with closing(Run(tmp_path, machine)) as second:
        second.stamp()
        assert second.times()[:2] == [(NOW_NS + stamped, "corrected"), (NOW_NS, "")]
        assert second.times()[2] == (NOW_NS + machine.steady_ns, "")
    with closing(Run(tmp_path, machine)) as third:
        assert [quality for _, quality in third.times()] == ["corrected", "", ""]


def test_a_clock_that_was_ahead_is_mended_within_one_start_of_the_machine(tmp_path: Path) -> None:
    for ahead_ns, quality in ((YEAR_2034_NS, "unsynchronised"), (NOW_NS + 90 * DAY_NS, "")):
        folder, machine = tmp_path / str(ahead_ns), Machine(ahead_ns)
        folder.mkdir()
        with closing(Run(folder, machine)) as first:
            first.stamp()
            stamped = machine.steady_ns
            assert [each for _, each in first.times()] == [quality]
        machine.offset_ns = NOW_NS
        with closing(Run(folder, machine)) as second:
            assert second.times() == [(NOW_NS + stamped, "corrected")]


def test_times_before_another_start_of_the_machine_are_marked_as_unknown(tmp_path: Path) -> None:
    machine = Machine(0)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
        before = first.times()[0][0]
    machine.restart(NOW_NS)
    with closing(Run(tmp_path, machine)) as second:
        second.stamp()
        assert second.times() == [(before, "unknown"), (NOW_NS + machine.steady_ns, "")]
    machine.restart(0)
    with closing(Run(tmp_path, machine)) as third:
        third.stamp()
        assert [quality for _, quality in third.times()] == ["unknown", "", "unsynchronised"]


def test_a_clock_beyond_the_horizon_marks_its_times_and_never_goes_back_while_it_runs(tmp_path: Path) -> None:
    machine = Machine(YEAR_2034_NS)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
        before = first.times()[0][0]
        machine.offset_ns = NOW_NS
        assert first.clock.adjust() == 0
    machine.restart(YEAR_2034_NS)
    with closing(Run(tmp_path, machine)) as second:
        second.stamp()
        assert [quality for _, quality in second.times()] == ["unknown", "unsynchronised"]
    machine.restart(NOW_NS)
    with closing(Run(tmp_path, machine)) as third:
        third.stamp()
        assert [quality for _, quality in third.times()] == ["unknown", "unknown", ""]
        assert third.times()[0][0] == before, "nobody knows by how much it was wrong"


def test_signed_metadata_moves_the_horizon() -> None:
    assert latest_plausible_ns(10.0, None) == EARLIEST_CLOCK_NS + 10 * S
    assert latest_plausible_ns(10.0, YEAR_2034_NS) == YEAR_2034_NS + 10 * S
    assert latest_plausible_ns(10.0, 0) == EARLIEST_CLOCK_NS + 10 * S


def test_a_clock_that_went_far_back_between_two_starts_is_doubted_as_are_the_times_before(
    tmp_path: Path,
) -> None:
    machine = Machine(NOW_NS + 400 * DAY_NS)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
        first.stamp(NOW_NS - 5 * DAY_NS)
    machine.restart(NOW_NS)
    with closing(Run(tmp_path, machine)) as second:
        second.stamp()
        assert [quality for _, quality in second.times()] == ["unknown", "", "unsynchronised"]
    machine.restart(NOW_NS + DAY_NS)
    with closing(Run(tmp_path, machine)) as third:
        third.stamp()
        qualities = [quality for _, quality in third.times()]
        assert qualities == ["unknown", "", "unknown", ""], "two starts that agree are believed"


def test_a_clock_that_is_restored_from_a_file_is_behind_until_it_is_set(tmp_path: Path) -> None:
    machine = Machine(NOW_NS)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
    before_ns = NOW_NS + machine.steady_ns
    machine.restart(NOW_NS - 1800 * S)
    with closing(Run(tmp_path, machine)) as second:
        second.stamp()
        assert second.times()[0] == (before_ns, "")
        assert second.times()[1][1] == "unsynchronised"
        assert take_over(tmp_path, second.outbox, second.clock) == ""
        machine.offset_ns = NOW_NS + 60 * S
        assert "1 times were corrected" in take_over(tmp_path, second.outbox, second.clock)
        assert second.times()[1] == (NOW_NS + 60 * S + machine.steady_ns, "corrected")
        second.stamp()
        assert second.times()[2][1] == ""


def test_a_reading_from_the_future_has_no_known_time(tmp_path: Path) -> None:
    with closing(Run(tmp_path, Machine(NOW_NS))) as run:
        run.stamp(NOW_NS + DAY_NS)
        recorded = Event("sums.value", "m", NOW_NS + DAY_NS, Priority.EVENT, {}, recorded=True)
        run.outbox.commit([recorded])
        assert [quality for _, quality in run.times()] == ["unknown", "recorded"]


def test_times_in_the_data_are_corrected_with_the_event(tmp_path: Path) -> None:
    machine = Machine(0)
    with closing(Run(tmp_path, machine)) as first:
        data = {"began_ns": 7 * S, "share": 0.5, "ended_ns": None}
        first.outbox.commit([Event("sums.value", "m", first.clock(), Priority.EVENT, data)])
    machine.offset_ns = NOW_NS
    with closing(Run(tmp_path, machine)) as second:
        (row,) = second.outbox.pending(0, 10, 10**9)
        event = decode_event(row.body)
        assert event.timequality == "corrected"
        assert bytes(event.data) == b'{"began_ns":%d,"share":0.5,"ended_ns":null}' % (NOW_NS + 7 * S)


def test_a_run_that_goes_on_without_a_clock_takes_its_times_along(tmp_path: Path) -> None:
    machine = Machine(0)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
        stamped = machine.steady_ns
    machine.offset_ns = 1000 * S  # Set, and still wrong.
    with closing(Run(tmp_path, machine)) as second:
        assert second.times() == [(1000 * S + stamped, "unsynchronised")]


def test_a_clock_that_is_set_while_the_node_runs_is_taken_over_once(tmp_path: Path) -> None:
    machine = Machine(0)
    with closing(Run(tmp_path, machine)) as run:
        run.stamp()
        stamped = machine.steady_ns
        assert run.clock.adjust() == 0
        machine.offset_ns = NOW_NS
        assert run.clock.adjust() == NOW_NS
        assert run.outbox.correct_times(TimeQuality.CORRECTED, shift_ns=NOW_NS) == 1
        assert run.times() == [(NOW_NS + stamped, "corrected")]
        machine.offset_ns = YEAR_2034_NS
        assert run.clock.adjust() == 0, "a plausible clock only moves forward"


@pytest.mark.parametrize("content", [b"", b"{", b'{"boot": 1}'])
def test_an_anchor_that_is_not_readable_changes_nothing(tmp_path: Path, content: bytes) -> None:
    machine = Machine(NOW_NS)
    with closing(Run(tmp_path, machine)) as first:
        first.stamp()
    (tmp_path / "clock.json").write_bytes(content)
    with closing(Run(tmp_path, machine)) as second:
        assert [quality for _, quality in second.times()] == [""]

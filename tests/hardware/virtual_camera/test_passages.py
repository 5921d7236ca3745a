"""A crossing of a line is a way from clear of it on one side to clear of it on the other."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.virtual_camera.passages import Passages
from hardware.virtual_camera.scene import Line

DOOR = Line("door", (1.0, 0.0), (-1.0, 0.0))


def crossings(*ways: list[tuple[float, float]]) -> list[tuple[int, int, str]]:
    """Frame, person and direction of the crossings of people who go these ways, a position a frame."""
    passages = Passages([DOOR])
    places = np.array(ways, np.float64)
    return [
        (each.frame, each.person, each.direction)
        for frame in range(1, places.shape[1])
        for each in passages.update(frame, np.arange(len(ways)), places[:, frame - 1], places[:, frame])
    ]


def test_a_crossing_has_the_frame_of_its_pass() -> None:
    assert crossings([(0, -0.5), (0, -0.1), (0, 0.1), (0, 0.2), (0, 0.5)]) == [(2, 0, "in")]


def test_two_directions() -> None:
    there, back = [(0.0, -0.5), (0.0, 0.5)], [(0.5, 0.5), (0.5, -0.5)]
    assert crossings(there, back) == [(1, 0, "in"), (1, 1, "out")]


@pytest.mark.parametrize("end_m", [-0.5, 0.5])
def test_somebody_who_is_pushed_about_on_the_line_crosses_at_most_once(end_m: float) -> None:
    jitter = [(0.0, y) for y in (-0.5, 0.1, -0.1, 0.2, -0.2, 0.1, -0.1, 0.1, -0.2, 0.2)]
    assert len(crossings([*jitter, (0.0, end_m)])) == (end_m > 0)


def test_a_way_around_the_end_is_none() -> None:
    assert crossings([(0, -0.5), (1.5, -0.5), (1.5, 0.5), (0, 0.5)]) == []
    assert crossings([(0, -0.5), (0, 0.1), (1.5, 0.1), (1.5, -0.1), (1.5, 0.5)]) == []


def test_who_comes_later_and_who_goes_is_followed_apart() -> None:
    passages = Passages([DOOR])
    below, above = np.array([[0.0, -0.5]]), np.array([[0.0, 0.1]])
    both = np.array([[0.0, 0.1], [0.5, 0.5]])
    assert passages.update(1, np.array([4]), below, above) == ()
    assert passages.update(2, np.array([4, 7]), both, both + np.array((0.0, 0.05))) == ()
    (crossing,) = passages.update(3, np.array([4, 7]), both, both + np.array((0.0, 0.5)))
    assert (crossing.frame, crossing.person) == (1, 4)
    assert passages.update(4, np.array([7]), both[1:], both[1:] - np.array((0.0, 1.0)))[0].direction == "out"

"""Walking by the social-force model."""

from __future__ import annotations

import numpy as np

from hardware.virtual_camera.walking import BODY_RADIUS_M, Walls, crossed, step

OPEN = Walls.from_segments(np.zeros((0, 2, 2)))


def walk(start, desired, walls=OPEN, steps=200, parties=None):
    positions, velocities = np.array(start, float), np.zeros((len(start), 2))
    desired_mps = np.array(desired, float)
    track = [positions]
    for _ in range(steps):
        positions, velocities = step(
            positions, velocities, desired_mps, walls, np.arange(len(start)), np.zeros(len(start), bool), 0.05
        )
        track.append(positions)
    return np.array(track)


def test_a_person_alone_walks_straight_at_the_desired_speed() -> None:
    track = walk([(0, 0)], [(1.3, 0)])
    assert abs(track[-1, 0, 1]) < 1e-9
    assert np.isclose((track[-1, 0, 0] - track[-2, 0, 0]) / 0.05, 1.3, atol=0.01)


def test_two_who_meet_head_on_pass_each_other() -> None:
    track = walk([(0, 0), (8, 0)], [(1.3, 0), (-1.3, 0)])
    gap = np.hypot(*(track[:, 0] - track[:, 1]).T)
    assert track[-1, 0, 0] > 8
    assert track[-1, 1, 0] < 0
    assert gap.min() > BODY_RADIUS_M


def test_a_wall_ahead_stops_a_person() -> None:
    walls = Walls.from_segments(np.array([[(3.0, -2.0), (3.0, 2.0)]]))
    track = walk([(0, 0)], [(2.0, 0)], walls)
    assert track[:, 0, 0].max() < 3 - BODY_RADIUS_M / 2


def test_a_person_pushed_into_a_wall_stays_on_the_same_side() -> None:
    walls = Walls.from_segments(np.array([[(0.0, -50.0), (0.0, 50.0)]]))
    crowd = [(-0.3, 0.02), *[(-0.6 - 0.2 * n, 0.01 * n) for n in range(12)]]
    track = walk(crowd, [(1.7, 0)] * len(crowd), walls)
    assert track[..., 0].max() < 0


def test_a_crossing_to_the_right_is_positive_and_lies_on_the_segment() -> None:
    start, end = np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]])
    before = np.array([(0.0, -1.0), (0.0, 1.0), (2.0, -1.0), (0.0, -2.0)])
    after = np.array([(0.0, 1.0), (0.0, -1.0), (2.0, 1.0), (0.0, -1.0)])
    assert crossed(before, after, start, end)[:, 0].tolist() == [-1, 1, 0, 0]

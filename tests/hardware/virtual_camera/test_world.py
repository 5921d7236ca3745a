"""The world behind a virtual camera: the same for a seed, reachable anywhere, and with a true account."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hardware.virtual_camera.passages import CLEAR_M
from hardware.virtual_camera.scene import Line, Scene
from hardware.virtual_camera.scenes import SCENES, entrance, load_scene
from hardware.virtual_camera.walking import BODY_RADIUS_M, Walls, crossed
from hardware.virtual_camera.world import World, WorldFrame

RATE = 5.0


def frames(scene: Scene, count: int, *, seed: int = 3, density: float = 1.0) -> list[WorldFrame]:
    world = World(scene, seed, RATE, density)
    return [world.frame(index) for index in range(count)]


def same(one: WorldFrame, other: WorldFrame) -> bool:
    return (
        one.ids.tolist() == other.ids.tolist()
        and np.array_equal(one.positions_m, other.positions_m)
        and np.array_equal(one.phases_rad, other.phases_rad)
        and np.array_equal(one.vehicles.positions_m, other.vehicles.positions_m)
        and one.crossings == other.crossings
    )


@pytest.mark.parametrize("name", SCENES)
def test_a_seed_gives_one_world(name: str) -> None:
    first, second = frames(load_scene(name), 40), frames(load_scene(name), 40)
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    other = frames(load_scene(name), 40, seed=4)
    assert not same(first[-1], other[-1])


@pytest.mark.parametrize("name", ["entrance", "road"])
def test_a_frame_is_reached_from_anywhere(name: str) -> None:
    through = frames(load_scene(name), 30)
    world = World(load_scene(name), 3, RATE)
    for index in (25, 7, 29, 7):
        assert same(world.frame(index), through[index])


def test_a_later_day_needs_no_steps_of_the_days_before() -> None:
    scene = entrance.scene()
    world = World(scene, 3, RATE)
    start = world.frames_a_day * 1000
    direct = world.frame(start + 50)
    assert direct.ids.min() > 1000 * 1_000_000
    world.frame(0)
    assert same(world.frame(start + 50), direct)


@pytest.mark.parametrize("name", SCENES)
def test_nobody_passes_a_wall(name: str) -> None:
    scene = load_scene(name)
    segments = scene.obstacles()
    walls = Walls.from_segments(segments)
    before: dict[int, np.ndarray] = {}
    for frame in frames(scene, 200, density=2.0):
        known = [row for row, person in enumerate(frame.ids.tolist()) if person in before]
        if known:
            starts = np.array([before[int(frame.ids[row])] for row in known])
            assert not crossed(starts, frame.positions_m[known], segments[:, 0], segments[:, 1]).any()
        if len(frame.ids):
            assert walls.away(frame.positions_m)[1].min() > BODY_RADIUS_M / 2
        before = dict(zip(frame.ids.tolist(), frame.positions_m, strict=True))


@pytest.mark.parametrize("name", SCENES)
def test_crossings_are_the_ways_of_true_positions_from_clear_of_a_line_to_clear_of_it(name: str) -> None:
    scene = load_scene(name)
    ways: dict[int, list[tuple[int, np.ndarray]]] = {}
    reported: list[tuple[int, str, int, str]] = []
    for frame in frames(scene, 250, density=2.0):
        reported += [(c.frame, c.line, c.person, c.direction) for c in frame.crossings if c.frame > 0]
        for person, position in zip(frame.ids.tolist(), frame.positions_m, strict=True):
            ways.setdefault(person, []).append((frame.frame, position))
    seen = [
        (number, line.name, person, direction)
        for person, way in ways.items()
        for line in scene.lines
        for number, direction in _crossings(way, line)
    ]
    late = {person for person, way in ways.items() if way[0][0] == 0}  # Where they were before is not seen.
    assert sorted(c for c in reported if c[2] not in late) == sorted(c for c in seen if c[2] not in late)
    assert len(reported) > 3


def _crossings(way: list[tuple[int, np.ndarray]], line: Line) -> list[tuple[int, str]]:
    """The passes after which somebody is clear of the line on the other side."""
    along = np.subtract(line.end_m, line.start_m)
    normal = np.array((along[1], -along[0])) / np.hypot(*along)
    side = 1 if (way[0][1] - line.start_m) @ normal > 0 else -1
    found: list[tuple[int, str]] = []
    passed: tuple[int, str] | None = None
    for (_, before), (number, after) in pairwise(way):
        if ((before - line.start_m) @ normal > 0) != ((after - line.start_m) @ normal > 0):
            direction = _direction(before, after, line.start_m, line.end_m)
            passed = (number, direction) if direction else None
        distance = (after - line.start_m) @ normal
        if abs(distance) >= CLEAR_M and np.sign(distance) != side:
            side = np.sign(distance)
            found += [passed] if passed else []
    return found


def _direction(before: np.ndarray, after: np.ndarray, start: tuple, end: tuple) -> str:
    """By the share along both segments at which they meet: another method than that of the world."""
    ax, ay = np.subtract(end, start)
    wx, wy = after - before
    side = [ax * (p[1] - start[1]) - ay * (p[0] - start[0]) < 0 for p in (before, after)]
    if side[0] == side[1]:
        return ""
    share = ((before[0] - start[0]) * wy - (before[1] - start[1]) * wx) / (ax * wy - ay * wx)
    if not 0 <= share <= 1:
        return ""
    return "in" if side[1] else "out"


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_everybody_is_gone_at_the_end_of_a_day(name: str) -> None:
    scene = load_scene(name)
    world = World(scene, 5, RATE)
    assert not len(world.frame(2 * world.frames_a_day - 1).ids)


def test_zones_hold_who_stands_in_them() -> None:
    for frame in frames(entrance.scene(), 200, density=2.0):
        low, high = np.array((-3.0, 2.0)), np.array((-1.0, 4.1))
        inside = ((frame.positions_m > low) & (frame.positions_m < high)).all(1)
        assert frame.zones["promotion"] == tuple(frame.ids[inside].tolist())


def test_people_wait_in_line_and_are_served_in_turn() -> None:
    ends: dict[int, int] = {}
    joined: dict[int, int] = {}
    for frame in frames(load_scene("queue"), 1500):
        for person, queue in zip(frame.ids.tolist(), frame.queued, strict=True):
            if queue == "till_1":
                joined.setdefault(person, len(joined))
                ends[person] = frame.frame
    finished = [joined[person] for person in sorted(ends, key=lambda person: ends[person])]
    assert len(finished) > 3
    assert finished == sorted(finished)


def test_more_than_the_limit_of_people_are_turned_away_and_counted() -> None:
    last = frames(load_scene("crowd"), 20, density=40.0)[-1]
    assert len(last.ids) <= 120
    assert last.turned_away > 0


def test_people_walk_when_vehicles_stand() -> None:
    for frame in frames(load_scene("road"), 400):
        street = np.abs(frame.positions_m[:, 0]) < 2.6
        vehicles = frame.vehicles
        for person in frame.positions_m[street]:
            gap = np.abs(vehicles.positions_m - person)
            assert not ((gap[:, 0] < 0.9) & (gap[:, 1] < 2.0)).any()

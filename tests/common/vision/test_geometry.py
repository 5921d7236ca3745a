"""Lines, polygons and the ground plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.vision.dwell_map import DwellMap
from common.vision.geometry import (
    GroundPlane,
    contains,
    places_along,
    polygon_problem,
    segments_cross,
    signed_distances,
)

COORDINATES = st.integers(-20, 20)
POINTS = st.tuples(COORDINATES, COORDINATES)


def test_distances_are_positive_on_the_right_hand_side() -> None:
    points = [(5, 3), (5, -2), (100, 0)]
    assert signed_distances(points, (0, 0), (10, 0)).tolist() == [3, -2, 0]
    assert signed_distances(points, (10, 0), (0, 0)).tolist() == [-3, 2, 0]
    assert places_along(points, (0, 0), (10, 0)).tolist() == [0.5, 0.5, 10]


def test_a_polygon_contains_its_inside_and_its_edge() -> None:
    notched = [(0, 0), (10, 0), (10, 10), (5, 5), (0, 10)]
    points = [(5, 2), (5, 7), (0, 5), (10, 10), (5, 5), (7.5, 7.5), (-1, 0), (11, 0), (5, 0)]
    assert contains(notched, points).tolist() == [True, False, True, True, True, True, False, False, True]
    assert contains(notched[::-1], points).tolist() == contains(notched, points).tolist()
    assert contains(notched, np.empty((0, 2))).shape == (0,)


@given(st.lists(POINTS, min_size=3, max_size=7), st.lists(POINTS, min_size=1, max_size=10))
def test_containment_is_the_winding_around_the_point(
    corners: list[tuple[int, int]], points: list[tuple[int, int]]
) -> None:
    if polygon_problem(corners):
        return
    for point, inside in zip(points, contains(corners, points), strict=True):
        assert inside == (on_edge(corners, point) or abs(winding(corners, point)) > 0.5)


def on_edge(corners: list[tuple[int, int]], point: tuple[int, int]) -> bool:
    ends = [*corners[1:], corners[0]]
    return any(segments_cross(a, b, point, point) for a, b in zip(corners, ends, strict=True))


def winding(corners: list[tuple[int, int]], point: tuple[int, int]) -> float:
    """Turns of the polygon around the point."""
    around = [math.atan2(y - point[1], x - point[0]) for x, y in corners]
    turns = [
        (second - first + math.pi) % math.tau - math.pi
        for first, second in zip(around, [*around[1:], around[0]], strict=True)
    ]
    return sum(turns) / math.tau


@given(POINTS, POINTS, POINTS, POINTS)
def test_segments_cross_whatever_their_order(
    a: tuple[int, int], b: tuple[int, int], c: tuple[int, int], d: tuple[int, int]
) -> None:
    assert segments_cross(a, b, c, d) == segments_cross(d, c, a, b) == segments_cross(b, a, c, d)


CAMERA = GroundPlane.from_camera(3.0, math.radians(30), 500, (320, 240))


@given(st.floats(-10, 10), st.floats(1, 30))
def test_ground_and_picture_are_inverse(x: float, y: float) -> None:
    np.testing.assert_allclose(CAMERA.to_ground(CAMERA.to_image([(x, y)])), [(x, y)], rtol=1e-6, atol=1e-6)


def test_the_optical_axis_meets_the_ground_as_in_trigonometry() -> None:
    np.testing.assert_allclose(
        CAMERA.to_ground([(320, 240)]), [(0, 3 / math.tan(math.radians(30)))], atol=1e-9
    )
    (_, lower), (_, upper) = CAMERA.to_image([(0, 3), (0, 10)])
    assert lower > upper
    (left, _), (right, _) = CAMERA.to_image([(-1, 5), (1, 5)])
    assert left < 320 < right


def test_above_the_horizon_and_behind_the_camera_there_is_no_point() -> None:
    assert np.isnan(CAMERA.to_ground([(320, -300)])).all()
    assert np.isnan(CAMERA.to_image([(0, -10)])).all()


@given(st.integers(0, 1000), st.integers(4, 9))
def test_points_in_both_give_the_camera_back(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    ground = np.array([(-3, 3), (3, 3), (4, 15), (-4, 15), *rng.uniform((-5, 2), (5, 20), (count - 4, 2))])
    plane = GroundPlane.from_points(CAMERA.to_image(ground), ground)
    others = rng.uniform((-5, 2), (5, 20), (20, 2))
    np.testing.assert_allclose(plane.to_image(others), CAMERA.to_image(others), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(plane.to_ground(CAMERA.to_image(others)), others, rtol=1e-5, atol=1e-4)
    assert np.isnan(plane.to_ground([(320, -300)])).all()


@pytest.mark.parametrize(
    ("image", "ground", "problem"),
    [
        ([(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 0), (1, 1)], "four or more"),
        ([(0, 0), (1, 0), (2, 0), (3, 0)], [(0, 0), (1, 0), (2, 0), (3, 0)], "do not determine"),
        ([(5, 5)] * 4, [(0, 0), (1, 0), (1, 1), (0, 1)], "all the same"),
        ([(0, 0), (1, 0), (0, 1), (1, 1)], [(0, 0), (1, 0), (1, 1), (0, 1)], "behind the camera"),
    ],
)
def test_points_that_fit_no_ground_plane_are_refused(
    image: list[tuple[int, int]], ground: list[tuple[int, int]], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        GroundPlane.from_points(image, ground)


def test_dwell_is_counted_in_the_cells_of_the_plan() -> None:
    plan = DwellMap(4.0, 2.0, 1.0)
    at: NDArray[np.float64] = np.array([(0.5, 0.5), (3.5, 1.5), (9.0, 0.0), (np.nan, 1.0)])
    for frame in range(11):
        plan.update(at, frame * 100_000_000)
    np.testing.assert_allclose(plan.seconds[[0, 1], [0, 3]], 1.0)
    assert plan.seconds.sum() == pytest.approx(2.0)
    assert plan.outside == 20
    plan.update(at[:1], 3_600_000_000_000)  # After an hour without pictures.
    assert plan.take().sum() == pytest.approx(2.0 + plan.MAX_STEP_S)
    assert not plan.seconds.any()


def test_a_plan_without_cells_or_with_too_many_is_refused() -> None:
    for size in (0.0, -1.0, math.inf, 1e9):
        with pytest.raises(ValueError, match="cells"):
            DwellMap(size, 10.0, 0.1)

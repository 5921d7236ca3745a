"""Zones: occupancy, visits and queues."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from common.vision.detections import Detections
from common.vision.zones import Visit, Zone, ZoneMonitor

FRAME_NS = 100_000_000
SQUARE = Zone(name="shelf", polygon=[(100, 100), (300, 100), (300, 300), (100, 300)])


def person(x: float, y: float, track_id: int = 1) -> Detections:
    return Detections.of([[x - 20, y - 100, x + 20, y]], track_ids=[track_id])


def monitor(zone: Zone = SQUARE) -> ZoneMonitor:
    return ZoneMonitor(zone, 640, 480)


def observe(zone: ZoneMonitor, points: Sequence[tuple[float, float]], first: int = 0) -> list[Visit]:
    return [
        visit
        for index, (x, y) in enumerate(points, first)
        for visit in zone.update(person(x, y), index * FRAME_NS)
    ]


def test_a_visit_lasts_from_the_first_to_the_last_observation_inside() -> None:
    zone = monitor()
    assert not observe(zone, [(50, 200)] * 2 + [(200, 200)] * 10)
    assert zone.occupancy == 1
    (visit,) = observe(zone, [(400, 200)] * 3, first=12)
    assert (visit.entered_ns, visit.left_ns) == (2 * FRAME_NS, 11 * FRAME_NS)
    assert visit.dwell_s == pytest.approx(0.9)
    assert zone.occupancy == 0


def test_one_stray_box_neither_enters_nor_leaves() -> None:
    zone = monitor()
    assert not observe(zone, [(50, 200), (200, 200), (50, 200)])
    assert zone.occupancy == 0
    assert not observe(zone, [(200, 200)] * 3 + [(50, 200)] + [(200, 200)] * 3, first=3)
    assert zone.occupancy == 1


def test_an_emptied_zone_is_empty() -> None:
    zone = monitor()
    observe(zone, [(200, 200)] * 5)
    visits: list[Visit] = []
    for frame in range(5, 25):
        visits += zone.update(Detections.empty(), frame * FRAME_NS)
    assert (zone.occupancy, len(zone)) == (0, 0)
    assert [visit.left_ns for visit in visits] == [4 * FRAME_NS]


@pytest.mark.parametrize("bottom", [470.0, 479.0, 480.0])
def test_a_box_cut_off_by_the_lower_edge_keeps_its_zone(bottom: float) -> None:
    """Zones to the last pixel, to the edge, and drawn by hand almost to it."""
    for edge in (480, 479, 474):
        zone = monitor(Zone(name="floor", polygon=[(0, 300), (640, 300), (640, edge), (0, edge)]))
        observe(zone, [(200, 400), (200, 440), *[(200, bottom)] * 5])
        assert zone.occupancy == 1


def test_a_box_cut_off_at_the_side_keeps_its_zone() -> None:
    zone = monitor(Zone(name="side", polygon=[(500, 100), (640, 100), (640, 400), (500, 400)]))
    for frame in range(5):
        zone.update(Detections.of([[636, 200, 640, 300]], track_ids=[1]), frame * FRAME_NS)
    assert zone.occupancy == 1


def test_unconfirmed_tracks_are_nobody() -> None:
    zone = monitor()
    for frame in range(5):
        zone.update(Detections.of([[150, 100, 190, 200]] * 3, track_ids=[-1] * 3), frame * FRAME_NS)
    assert (zone.occupancy, len(zone)) == (0, 0)


def test_a_queue_has_those_who_wait_and_how_long() -> None:
    zone = monitor(Zone(name="till", polygon=SQUARE.polygon, queue_s=1.0))
    for frame in range(30):
        boxes = [[180, 100, 220, 200], [220, 100, 260, 200]]
        ids = [1, 2] if frame >= 25 else [1, -1]
        zone.update(Detections.of(boxes, track_ids=ids), frame * FRAME_NS)
    assert zone.occupancy == 2
    assert zone.waiting_s(29 * FRAME_NS) == [pytest.approx(2.9)]
    visits = [visit for frame in range(30, 60) for visit in zone.update(Detections.empty(), frame * FRAME_NS)]
    assert {visit.track_id: visit.waited for visit in visits} == {1: True, 2: False}


def test_a_restored_zone_keeps_its_visitors() -> None:
    before, after = monitor(), monitor()
    observe(before, [(200, 200)] * 5)
    after.restore(before.snapshot())
    (visit,) = observe(after, [(400, 200)] * 3, first=5)
    assert visit.entered_ns == 0


def test_state_is_bounded_by_the_tracks_in_view() -> None:
    zone = monitor()
    for frame in range(3000):
        zone.update(person(200, 200, frame), frame * FRAME_NS)
    assert len(zone) <= 11


@pytest.mark.parametrize(
    ("polygon", "problem"),
    [
        ([(0, 0), (10, 10)], "three corners"),
        ([(0, 0), (10, 10), (20, 20)], "no area"),
        ([(0, 0), (100, 100), (100, 0), (0, 90)], "cross"),
        ([(700, 0), (800, 0), (800, 100)], "outside of the picture"),
        ([(0, 0), (float("nan"), 0), (5, 5)], "not finite"),
    ],
)
def test_a_polygon_that_is_no_zone_is_refused(polygon: list[tuple[float, float]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        monitor(Zone(name="bad", polygon=polygon))

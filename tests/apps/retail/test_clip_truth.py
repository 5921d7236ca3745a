"""The truth of the real clips contradicts itself nowhere and belongs to the clips that are there."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import pytest

from tests.apps.retail.clips.truth import Clip, Line, Moment, Visit, Zone, clips

CLIPS = clips()
LINES = [pytest.param(clip, line, id=f"{clip.clip}:{line.name}") for clip in CLIPS for line in clip.lines]
ZONES = [pytest.param(clip, zone, id=f"{clip.clip}:{zone.name}") for clip in CLIPS for zone in clip.zones]

every_clip = pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.clip)
every_line = pytest.mark.parametrize(("clip", "line"), LINES)
every_zone = pytest.mark.parametrize(("clip", "zone"), ZONES)


def changes(zone: Zone) -> list[Moment]:
    return [moment for visit in zone.visits for moment in (visit.entered, visit.left) if moment]


def span(clip: Clip, visit: Visit) -> tuple[int, int]:
    return visit.entered.frame if visit.entered else 0, visit.left.frame if visit.left else clip.frames


def test_there_is_truth_for_three_clips():
    assert {clip.clip for clip in CLIPS} == {
        "vtest.avi",
        "one-by-one-person-detection.mp4",
        "store-aisle-detection.gif",
    }


@every_clip
def test_belongs_to_the_clip_in_the_data(clip: Clip):
    path = Path(os.environ.get("EDGELOOP_DATA", ""), "video", clip.clip)
    if not path.is_file():
        pytest.skip(f"no EDGELOOP_DATA with video/{clip.clip}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256


@every_clip
def test_moments_lie_within_the_clip_and_their_own_range(clip: Clip):
    crossings = [crossing for line in clip.lines for crossing in line.crossings]
    for moment in [*crossings, *(change for zone in clip.zones for change in changes(zone))]:
        assert 0 <= moment.earliest <= moment.frame <= moment.latest < clip.frames, moment


@every_clip
def test_geometry_lies_within_the_picture(clip: Clip):
    points = [point for line in clip.lines for point in (line.start, line.end)]
    for x, y in [*points, *(point for zone in clip.zones for point in zone.polygon)]:
        assert 0 <= x <= clip.width_px
        assert 0 <= y <= clip.height_px


@every_clip
def test_names_everyone_once(clip: Clip):
    people = [person.id for person in clip.people]
    assert len(set(people)) == len(people)
    assert {person.probably_again for person in clip.people} <= {None, *people}
    parts = [part for line in clip.lines for part in (*line.crossings, *line.misses)]
    parts += [part for zone in clip.zones for part in (*zone.visits, *zone.misses)]
    assert {part.person for part in parts} <= set(people)


@every_line
def test_crossings_are_in_order(clip: Clip, line: Line):
    frames = [crossing.frame for crossing in line.crossings]
    assert frames == sorted(frames)


@every_line
def test_directions_of_one_person_alternate(clip: Clip, line: Line):
    for person in clip.people:
        directions = [crossing.direction for crossing in line.crossings if crossing.person == person.id]
        assert all(before != after for before, after in pairwise(directions)), person


@every_line
def test_a_miss_is_no_crossing(clip: Clip, line: Line):
    for miss in line.misses:
        assert 0 <= miss.first_frame < miss.last_frame < clip.frames
        assert not [
            crossing
            for crossing in line.crossings
            if crossing.person == miss.person and miss.first_frame <= crossing.frame <= miss.last_frame
        ]


@every_zone
def test_visits_of_one_person_follow_each_other(clip: Clip, zone: Zone):
    for person in clip.people:
        spans = [span(clip, visit) for visit in zone.visits if visit.person == person.id]
        assert all(entered < left for entered, left in spans), person
        assert all(left < entered for (_, left), (entered, _) in pairwise(spans)), person


@every_zone
def test_a_miss_is_no_visit(clip: Clip, zone: Zone):
    for miss in zone.misses:
        spans = [span(clip, visit) for visit in zone.visits if visit.person == miss.person]
        assert all(left < miss.first_frame or miss.last_frame < entered for entered, left in spans), miss


@every_clip
def test_nobody_in_a_zone_crosses_a_line_outside_of_it(clip: Clip):
    for zone in clip.zones:
        for visit in zone.visits:
            entered, left = span(clip, visit)
            crossings = [
                crossing for line in clip.lines for crossing in line.crossings if not crossing.doubtful
            ]
            assert not [c for c in crossings if c.person == visit.person and entered <= c.frame < left], visit


@every_zone
def test_occupancy_follows_from_entries_and_exits(clip: Clip, zone: Zone):
    inside_at_start = sum(visit.entered is None for visit in zone.visits)
    entries, exits = zone.entries, zone.exits
    counts = [zone.occupancy(frame) for frame in range(clip.frames)]

    assert all(0 <= count.least <= count.most <= len(clip.people) for count in counts)
    assert counts[-1].least == inside_at_start + entries.least - exits.most
    assert counts[-1].most == inside_at_start + entries.most - exits.least


@every_zone
def test_occupancy_is_certain_away_from_entries_and_exits(clip: Clip, zone: Zone):
    ranges = [
        (change.earliest, clip.frames if change.doubtful else change.latest) for change in changes(zone)
    ]
    for frame in range(clip.frames):
        if not any(earliest <= frame < latest for earliest, latest in ranges):
            least, most = zone.occupancy(frame)
            assert least == most, frame


def test_totals_of_the_walkway():
    (clip,) = [clip for clip in CLIPS if clip.clip == "vtest.avi"]
    east, middle = clip.lines

    assert (east.total("in"), east.total("out")) == ((13, 13), (8, 8))
    assert (middle.total("in"), middle.total("out")) == ((19, 19), (16, 16))
    assert (clip.zones[0].entries, clip.zones[0].exits) == ((21, 21), (20, 21))

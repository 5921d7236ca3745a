"""Drawing lines and zones: what clicks make, move and remove, and what is wrong with it."""

from __future__ import annotations

import pytest

from apps.retail.domain import CameraLayout
from apps.retail.pages.drawing import LayoutDrawing, read_points, write_points
from apps.retail.pages.layout_svg import svg_of
from common.vision.detections import Detections
from common.vision.lines import LineCounter
from tests.apps.retail.scripted import layout

DOOR = {"name": "door", "start": (300, 160), "end": (20, 160), "band_heights": 0.2}


def drawing(**parts: object) -> LayoutDrawing:
    return LayoutDrawing(layout(**parts), (320, 240))


def click(editor: LayoutDrawing, *points: tuple[float, float]) -> None:
    for x, y in points:
        editor.press(x, y)
        editor.release(x, y)


def test_two_clicks_are_a_line_whose_arrow_points_in() -> None:
    editor = drawing()
    editor.use("line")
    click(editor, (300, 120), (20, 120))
    (line,) = editor.layout("1").lines
    assert (line.name, line.start, line.end) == ("line 1", (300, 120), (20, 120))
    assert editor.selected == ("lines", 0)
    counter = LineCounter(line)
    for step, y in enumerate((200, 170, 60, 50, 40)):  # Up through the line, as its arrow shows.
        counter.update(Detections.of([[150, y - 40, 170, y]], track_ids=[1]), step * 10**8)
    assert counter.entered == 1
    drawn = svg_of(LayoutDrawing(CameraLayout(lines=[line]), (640, 480)), 1.0)
    assert 'points="167.0,120.0 153.0,120.0 160.0,94.0"' in drawn


def test_a_zone_closes_at_its_first_corner_and_needs_three() -> None:
    editor = drawing()
    editor.use("zone")
    click(editor, (10, 10), (100, 10))
    editor.close_zone()
    assert editor.zones == []
    click(editor, (100, 90), (11, 11))
    (zone,) = editor.layout("1").zones
    assert zone.polygon == [(10, 10), (100, 10), (100, 90)]


def test_a_corner_is_moved_by_dragging_and_by_two_taps() -> None:
    editor = drawing(lines=[DOOR])
    editor.press(301, 160)
    editor.release(200, 100)
    assert editor.lines[0]["start"] == (200, 100)
    click(editor, (20, 160), (40, 200))
    assert editor.lines[0]["end"] == (40, 200)
    click(editor, (150, 20))
    assert editor.selected is None


def test_a_corner_stays_in_the_picture() -> None:
    editor = drawing(lines=[DOOR])
    editor.press(300, 160)
    editor.release(900, -50)
    assert editor.lines[0]["start"] == (320, 0)


def test_what_the_editor_does_not_show_is_kept() -> None:
    plan = {
        "width_m": 4, "height_m": 4, "image_points_px": [(0, 0), (1, 0), (1, 1), (0, 1)],
        "plan_points_m": [(0, 0), (4, 0), (4, 4), (0, 4)],
    }  # fmt: skip
    uniforms = [{"colour": "#1450c8"}]
    before = layout(lines=[DOOR], plan=plan, uniforms=uniforms, size_px=(320, 240))
    after = LayoutDrawing(before, (320, 240)).layout(before.version)
    assert after == before


def test_in_and_out_are_exchanged_and_a_part_is_removed() -> None:
    editor = drawing(lines=[DOOR])
    click(editor, (300, 160))
    editor.turn()
    assert (editor.lines[0]["start"], editor.lines[0]["end"]) == ((20, 160), (300, 160))
    editor.delete()
    assert editor.lines == []


def test_crossed_edges_and_names_that_are_there_twice_are_problems() -> None:
    bow = {"name": "door", "polygon": [(0, 0), (100, 100), (100, 0), (0, 60)]}
    problems = drawing(lines=[DOOR], zones=[bow]).problems()
    assert len(problems) == 2
    assert "twice" in problems[0]
    assert "cross" in problems[1]


def test_names_do_not_reach_the_picture() -> None:
    evil = {"name": "<script>alert(1)</script>", "start": (0, 0), "end": (9, 9)}
    assert "script" not in svg_of(drawing(lines=[evil]), 1.0, ["<script>alert(1)</script>"])


def test_points_as_text_come_back() -> None:
    points = [(1.5, 2.0), (300.0, 4.0)]
    assert read_points(write_points(points)) == points
    with pytest.raises(ValueError, match="pairs"):
        read_points("1 2")

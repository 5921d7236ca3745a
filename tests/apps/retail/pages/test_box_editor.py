"""The editor of boxes behind the label form and the page of review."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apps.retail.pages.box_editor import Box, BoxEditor, svg_of
from apps.retail.pages.box_form import Picture, label_of, labelled_text, proposed_boxes
from apps.retail.pages.review import camera_key, described, hardest_first

SIZE_PX = (640, 480)
BIG, SMALL = (10.0, 10.0, 200.0, 200.0), (50.0, 50.0, 90.0, 120.0)


def edit(*boxes: Box) -> BoxEditor:
    return BoxEditor(SIZE_PX, boxes)


def drag(editor: BoxEditor, *points: float) -> None:
    editor.press(*points[:2])
    editor.release(*points[2:])


def click(editor: BoxEditor, x: float, y: float) -> None:
    drag(editor, x, y, x + 1, y)


def test_a_click_takes_the_smallest_box_away_and_brings_it_back() -> None:
    editor = edit(BIG, SMALL)
    for wanted in ([BIG], [BIG, SMALL]):
        click(editor, 60, 60)
        assert editor.boxes == wanted


def test_dragging_in_any_direction_draws_a_box_within_the_picture() -> None:
    editor = edit()
    drag(editor, 100, 120, 40, 20)
    drag(editor, 600, 400, 700, 470)
    assert editor.boxes == [(40, 20, 100, 120), (600, 400, 640, 470)]
    assert svg_of(editor, SIZE_PX).count("<rect") == 2


def test_two_clicks_draw_a_box_over_others() -> None:
    editor = edit(BIG)
    editor.draw()
    click(editor, 20, 20)
    assert editor.first_corner == (21, 20)
    click(editor, 100, 150)
    assert editor.boxes == [BIG, (21, 20, 101, 150)]
    click(editor, 150, 150)
    assert BIG not in editor.boxes, "after the box a click takes away again"


@pytest.mark.parametrize(
    ("corner", "wanted"),
    [
        ((50, 50), (60, 40, 90, 120)),
        ((90, 50), (50, 40, 100, 120)),
        ((50, 120), (60, 50, 90, 110)),
        ((90, 120), (50, 50, 100, 110)),
    ],
)
def test_dragging_a_corner_corrects_the_box(corner: tuple[float, float], wanted: Box) -> None:
    editor = edit(SMALL)
    drag(editor, *corner, corner[0] + 10, corner[1] + (-10))
    assert editor.boxes == [wanted]


def test_a_click_beside_all_boxes_changes_nothing() -> None:
    editor = edit(SMALL)
    click(editor, 300, 300)
    editor.release(10, 10)
    assert (editor.boxes, editor.can_undo) == ([SMALL], False)


def test_each_change_is_undone() -> None:
    editor = edit(BIG, SMALL)
    click(editor, 60, 60)
    drag(editor, 300, 300, 400, 400)
    editor.select_next()
    editor.nudge(5, 0)
    for wanted in (3, 2, 2):
        assert editor.corrected
        editor.undo()
        assert len(editor.rows) == wanted
    assert (editor.corrected, editor.can_undo) == (False, False)


def test_the_keyboard_alone_draws_moves_resizes_and_takes_away() -> None:
    editor = edit(SMALL)
    editor.add()
    ((left, top, right, bottom),) = editor.boxes[1:]
    editor.nudge(-10, 4)
    editor.nudge(6, 8, resize=True)
    assert editor.boxes[1] == (left - 10, top + 4, right - 4, bottom + 12)
    editor.select_next()
    assert editor.selected == 0
    editor.toggle(editor.selected)
    assert len(editor.boxes) == 1


def test_a_box_stays_within_the_picture_and_is_never_flat() -> None:
    editor = edit(SMALL)
    editor.select_next(-1)
    editor.nudge(-1000, -1000)
    assert editor.boxes == [(0, 0, 40, 70)]
    editor.nudge(-1000, -1000, resize=True)
    assert editor.boxes == [(0, 0, 40, 70)]


def test_the_drawing_is_numbers_only() -> None:
    text = svg_of(edit(BIG, SMALL), SIZE_PX)
    assert re.sub(r"<[^>]*>", "", text) == "12"


def test_only_certain_people_are_proposed() -> None:
    arrays = {"boxes_xyxy_px": [SMALL, BIG, BIG], "scores": [0.9, 0.1, 0.9], "classes": [0, 0, 2]}
    assert proposed_boxes(arrays) == ([SMALL], [0.9])


def test_a_label_says_who_proposed_it_and_whether_it_was_corrected() -> None:
    sample: dict[str, Any] = {"subject": "door", "group": "door/1"}
    picture = Picture(b"", SIZE_PX, [BIG, SMALL], [0.9, 0.8], "yolox_nano")
    editor = edit(*picture.boxes)
    assert label_of(sample, picture, editor)["body"] == {
        "boxes_xyxy_px": [list(BIG), list(SMALL)], "proposed_by": "yolox_nano", "corrected": False,
    }  # fmt: skip
    click(editor, 60, 60)
    label = label_of(sample, picture, editor)
    assert label["body"]["corrected"]
    assert labelled_text(label | {"source": "person:Dr Ada"}) == "Labelled by Dr Ada: 1 × person, corrected."


def test_the_most_informative_picture_is_first_and_cameras_of_one_name_stay_apart() -> None:
    one, other = (
        {"node": node, "subject": "door", "reasons": {"low_margin": score, "novelty": 0.0}}
        for node, score in (("berlin", 0.3), ("rome", 0.9))
    )
    assert hardest_first([one, other]) == [other, one]
    assert camera_key(one) != camera_key(other)
    assert described(one) == "berlin/door: low margin 0.30."

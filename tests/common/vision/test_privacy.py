"""No head of a person box is left in a picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.vision.detections import CAR, PERSON, Detections
from common.vision.privacy import CELLS, blur_heads, head_boxes

NOISE = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
COORDINATES = st.floats(-50, 350)


def test_the_head_is_gone_and_the_rest_is_as_it_was() -> None:
    blurred = blur_heads(NOISE, Detections.of([[100, 50, 140, 150]]))
    (left, top, right, bottom) = head_boxes(Detections.of([[100, 50, 140, 150]]), 300, 200)[0]
    assert (left, top, right, bottom) == (94, 44, 146, 85)
    head = blurred[top:bottom, left:right]
    assert len(np.unique(head.reshape(-1, 3), axis=0)) <= CELLS**2
    outside = np.ones((200, 300), np.bool_)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(blurred[outside], NOISE[outside])


def test_the_frame_itself_is_not_changed() -> None:
    before = NOISE.copy()
    blur_heads(NOISE, Detections.of([[0, 0, 300, 200]]))
    np.testing.assert_array_equal(NOISE, before)


def test_untracked_and_unlikely_persons_are_blurred_and_cars_are_not() -> None:
    detections = Detections.of(
        [[10, 10, 50, 110], [100, 10, 140, 110], [200, 10, 240, 110]],
        scores=[0.06, 0.9, 0.9],
        classes=[PERSON, PERSON, CAR],
    )
    assert len(head_boxes(detections, 300, 200)) == 2


def test_a_person_close_up_is_blurred_whole() -> None:
    assert head_boxes(Detections.of([[100, 50, 200, 150]]), 300, 200)[0][3] == 150


@given(st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), max_size=6))
def test_every_pixel_of_every_head_is_an_average(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    detections = Detections.of(np.array(boxes).reshape(-1, 4))
    blurred = blur_heads(NOISE, detections)
    for x, y, right, bottom in boxes:
        head_bottom = y + 0.35 * (bottom - y)
        top, last = max(0, int(np.ceil(y))), max(0, min(200, int(head_bottom)))
        left, end = max(0, int(np.ceil(x))), max(0, min(300, int(right)))
        inside = blurred[top:last, left:end]
        if min(inside.shape[:2]) >= 16:
            # Neighbours within a cell are equal, which those of noise are not.
            same = (inside[:, 1:] == inside[:, :-1]).all(axis=2).mean()
            assert same > 0.5

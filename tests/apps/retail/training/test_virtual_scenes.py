"""Rendered frames to train on and to judge by."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")

from apps.retail.training.virtual_scenes import RenderedFrames


def test_the_frames_of_a_light_follow_one_another() -> None:
    """The true boxes of the picture before are a trivial rule, so it must not be the same moment."""
    rendered = RenderedFrames(7, 2, 37, ("doorway",), ("day", "night"), "208x156")
    first, later, first_at_night, later_at_night = rendered
    assert first_at_night[0].mean() < 0.8 * first[0].mean()
    for by_day, at_night in ((first, first_at_night), (later, later_at_night)):
        np.testing.assert_array_equal(by_day[1].boxes_xyxy_px, at_night[1].boxes_xyxy_px)
    assert not np.array_equal(first[1].boxes_xyxy_px, later[1].boxes_xyxy_px)

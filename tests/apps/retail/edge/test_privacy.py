"""Privacy: no picture leaves by default; samples, where allowed, have no heads."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from apps.retail.events import CameraBegun, CameraLayoutUsed
from tests.apps.retail.scripted import DOOR, SIDE_PX, Store, layout, scenery

HEAD = (slice(202, 218), slice(150, 170))


def faces() -> np.ndarray:
    """A picture whose person at (160, 260) has a head of fine detail."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)


def test_no_picture_is_offered_by_default() -> None:
    store = Store(layout(lines=[DOOR]))
    store.model.score = 0.3
    store.wait(5.0, (160.0, 260.0))
    assert store.samples == []


def test_the_state_holds_no_picture() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(5.0, (160.0, 260.0))

    def arrays(value: object) -> list[np.ndarray]:
        if isinstance(value, np.ndarray):
            return [value]
        if isinstance(value, dict):
            return [each for part in value.values() for each in arrays(part)]
        return [each for part in value for each in arrays(part)] if isinstance(value, list) else []

    assert all(each.ndim < 3 for each in arrays(store.edge.snapshot()))


def test_a_sample_is_a_jpeg_without_heads() -> None:
    cv2 = pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR]), samples=True)
    store.model.score = 0.3
    picture = faces()
    store.frame((160.0, 260.0), picture=picture)
    (sample,) = store.samples
    decoded = cv2.imdecode(sample.arrays["jpeg"], cv2.IMREAD_COLOR)
    assert picture[HEAD].astype(float).std() > 60
    assert decoded[HEAD].astype(float).std() < 25
    assert decoded[20:100, 20:100].astype(float).std() > 30
    assert sample.attributes["heads"] == "blurred"
    assert set(sample.arrays) == {"jpeg", "boxes_xyxy_px", "scores", "classes"}


def test_heads_under_the_bar_of_counting_are_blurred_too() -> None:
    cv2 = pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR]), samples=True)
    store.model.score, store.model.novelty = 0.06, 2.0
    store.frame((160.0, 260.0), picture=faces())
    decoded = cv2.imdecode(store.samples[0].arrays["jpeg"], cv2.IMREAD_COLOR)
    assert decoded[HEAD].astype(float).std() < 25


def test_samples_are_rare_and_have_a_reason() -> None:
    pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR]), samples=True, sample_interval_s=10.0)
    store.wait(5.0, (160.0, 260.0))
    assert store.samples == []
    store.model.score = 0.3
    store.wait(25.0, (160.0, 260.0))
    assert len(store.samples) == 3
    assert all(0 < max(each.reasons.values()) <= 1 for each in store.samples)


def test_a_still_of_a_camera_is_sent_when_its_layout_changes_and_then_daily() -> None:
    cv2 = pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR]), stills=True)
    store.frame((160.0, 260.0), picture=faces())
    store.wait(5.0, (160.0, 260.0))
    (still,) = store.samples
    assert still.reasons == {"still": 1.0}
    decoded = cv2.imdecode(still.arrays["jpeg"], cv2.IMREAD_COLOR)
    assert decoded[HEAD].astype(float).std() < 25
    store.restart()
    store.wait(1.0)
    assert len(store.samples) == 1
    store.frame(step_ns=25 * 3600 * 10**9)
    assert len(store.samples) == 2
    store.settings = msgspec.structs.replace(store.settings, cameras={"door": layout(lines=[])})
    store.restart()
    store.frame()
    assert len(store.samples) == 3


def test_a_large_picture_leaves_small_with_its_boxes_in_place() -> None:
    cv2 = pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR], size_px=(320, 320)), stills=True)
    store.frame((160.0, 260.0), picture=scenery(0).repeat(6, axis=0).repeat(6, axis=1))
    (still,) = store.samples
    assert still.arrays["jpeg"].size <= 150_000
    decoded = cv2.imdecode(still.arrays["jpeg"], cv2.IMREAD_COLOR)
    assert max(decoded.shape) <= 1280
    assert still.attributes["width_px"] == decoded.shape[1]
    assert still.arrays["boxes_xyxy_px"].max() <= max(decoded.shape)


def test_a_picture_that_cannot_be_small_does_not_leave_and_counting_goes_on() -> None:
    pytest.importorskip("cv2")
    store = Store(layout(lines=[DOOR], size_px=(320, 320)), stills=True)
    noise = np.random.default_rng(1).integers(0, 256, (2000, 2000, 3), np.uint8)
    store.frame((160.0, 260.0), picture=noise)
    assert store.samples == []
    assert len(store.of(CameraLayoutUsed)) == 1


def test_the_layout_that_is_used_is_sent_as_numbers() -> None:
    store = Store(layout(lines=[DOOR], zones=[{"name": "broken", "polygon": [(0, 0)]}], version="3"))
    store.frame()
    (used,) = store.of(CameraLayoutUsed)
    assert used.layout["lines"][0]["start"] == [300, 160]
    assert (used.layout["zones"], used.layout["size_px"], used.layout["version"]) == ([], [320, 320], "3")


@pytest.mark.parametrize("kinds", [[], ["stills"], ["samples", "stills"]])
def test_a_camera_begins_with_the_pictures_that_its_own_settings_allow(kinds: list[str]) -> None:
    store = Store(layout(lines=[DOOR]), **dict.fromkeys(kinds, True))
    store.frame()
    assert store.of(CameraBegun)[0].pictures == kinds

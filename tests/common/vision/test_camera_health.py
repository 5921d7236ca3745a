"""Camera health: each problem is found within 10 s and ends with it, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from common.vision.camera_health import CameraHealth, Trouble

PERIOD_NS = 500_000_000
Frame = NDArray[np.uint8]
Change = Callable[[Frame], Frame]


class Scene:
    """A room of boxes in different greys, with noise, at 2 frames a second; somebody walks through."""

    def __init__(self, seed: int = 3) -> None:
        self._rng = np.random.default_rng(seed)
        room = np.full((240, 320), 120.0)
        for _ in range(60):
            x, y, w, h = self._rng.integers((0, 0, 10, 10), (300, 220, 70, 60))
            room[y : y + h, x : x + w] = self._rng.integers(30, 220)
        self._room = room
        self._count = 0

    def frame(self) -> Frame:
        self._count += 1
        picture = self._room.copy()
        x = 3 * self._count % 320
        picture[60:200, x : x + 30] = 70
        noisy = picture + self._rng.normal(0, 3, picture.shape)
        return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def watch(
    health: CameraHealth, scene: Scene, first_s: float, seconds: float, change: Change = lambda frame: frame
) -> set[Trouble]:
    for index in range(round(seconds * 2)):
        health.update(change(scene.frame()), round(first_s * 1e9) + index * PERIOD_NS)
    return set(health.troubles)


def blurred(frame: Frame) -> Frame:
    """Averages of 25 by 25 pixels."""
    grey = frame[..., 0].astype(np.float64)
    for _ in range(2):
        sums = np.cumsum(np.pad(grey, ((13, 12), (0, 0)), "edge"), axis=0)
        grey = ((sums[25:] - sums[:-25]) / 25).T
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def sprayed(frame: Frame) -> Frame:
    return (frame // 64 + 90).astype(np.uint8)


CHANGES: dict[Trouble, Change] = {
    Trouble.BLACK: lambda frame: frame // 20,
    Trouble.BLINDED: lambda frame: np.where(np.arange(320)[None, :, None] < 200, np.uint8(255), frame),
    Trouble.OUT_OF_FOCUS: blurred,
    Trouble.MOVED: lambda frame: np.roll(frame, (25, 40), axis=(0, 1)),
    Trouble.RESOLUTION: lambda frame: np.ascontiguousarray(frame[:120, :160]),
    Trouble.FROZEN: lambda frame: (
        np.full_like(frame, 100) + np.arange(320, dtype=np.uint8)[None, :, None] // 4
    ),
}


@pytest.mark.parametrize("trouble", CHANGES)
def test_a_problem_is_found_within_10_s_and_ends_with_it(trouble: Trouble) -> None:
    health, scene = CameraHealth(), Scene()
    assert watch(health, scene, 0, 20) == set()
    found = watch(health, scene, 20, 10, CHANGES[trouble])
    assert trouble in found
    assert watch(health, scene, 30, 10) == set()


def test_a_covered_lens_is_blinded() -> None:
    health, scene = CameraHealth(), Scene()
    watch(health, scene, 0, 10)
    assert watch(health, scene, 10, 10, sprayed) == {Trouble.BLINDED}


@pytest.mark.parametrize(
    "light", [lambda f: (f * 0.5).astype(np.uint8), lambda f: (f * 0.4 + 140).astype(np.uint8)]
)
def test_other_light_and_fog_are_no_problem(light: Change) -> None:
    health, scene = CameraHealth(), Scene()
    watch(health, scene, 0, 10)
    assert watch(health, scene, 10, 10, light) == set()


def test_a_moment_is_no_problem() -> None:
    health, scene = CameraHealth(), Scene()
    watch(health, scene, 0, 10)
    assert watch(health, scene, 10, 2, CHANGES[Trouble.BLACK]) == set()


def test_a_camera_without_frames_is_gone_until_the_next_frame() -> None:
    health, scene = CameraHealth(), Scene()
    assert health.check(0) == set()
    assert health.check(6_000_000_000) == {Trouble.GONE}
    assert watch(health, scene, 7, 1) == set()
    assert health.check(8_500_000_000) == set()
    assert health.check(13_500_000_000) == {Trouble.GONE}


def test_a_camera_that_is_moved_while_the_node_is_off_is_found_and_its_view_can_be_renewed() -> None:
    before, after, scene = CameraHealth(), CameraHealth(), Scene()
    watch(before, scene, 0, 10)
    after.restore(before.snapshot())
    assert watch(after, scene, 100, 10, CHANGES[Trouble.MOVED]) == {Trouble.MOVED}
    after.renew()
    assert watch(after, scene, 110, 10, CHANGES[Trouble.MOVED]) == set()

"""Pictures and their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from hardware.virtual_camera.effects import PLAIN
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scenes import SCENES
from hardware.virtual_camera.source import MIN_CONTRAST, MIN_VISIBILITY, Shot, VirtualCamera, read_options

SMALL = {"size": "320x240", "fps": "5", "seed": "3", "people": "busy"}


def camera(scene: str = "entrance", **parameters: str) -> VirtualCamera:
    return VirtualCamera(read_options(scene, SMALL | parameters))


def test_the_ground_homography_is_the_projection_of_the_floor() -> None:
    view = PinholeCamera((1.0, -2.0, 3.0), 20.0, 30.0, 70.0)
    floor = np.array([(0.5, 1.0), (2.0, 4.0), (1.0, 9.0)])
    at = view.project(np.column_stack([floor, np.zeros(3)]))
    mapped = np.column_stack([floor, np.ones(3)]) @ view.ground_plane.matrix.T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], at[:, :2], atol=1e-9)
    np.testing.assert_allclose(view.ground_plane.to_ground(at[:, :2]), floor, atol=1e-9)


def test_rays_pass_through_what_is_projected_to_their_pixel() -> None:
    view = PinholeCamera((1.0, -2.0, 3.0), 20.0, 30.0, 70.0, 64, 48)
    at = view.project((np.array(view.position_m) + 5 * view.rays()[31, 7]).astype(np.float64))
    np.testing.assert_allclose(at, (7, 31, 5), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_a_restart_gives_the_same_frames(scene: str) -> None:
    first = camera(scene)
    through = [first.shot(frame) for frame in range(12)]
    jumped = camera(scene).shot(11)
    assert np.array_equal(jumped.image, through[11].image)
    assert not np.array_equal(through[10].image, through[11].image)
    np.testing.assert_array_equal(jumped.visible.full_boxes_px, through[11].visible.full_boxes_px)
    assert jumped.image.shape == (240, 320, 3)
    assert jumped.image.dtype == np.uint8


def test_the_foot_point_is_the_floor_position() -> None:
    shot = camera("crowd").shot(100)
    people = shot.visible.classes == 0
    floor = shot.camera.ground_plane.to_ground(shot.visible.foot_points_px[people])
    rows = np.searchsorted(shot.world.ids, shot.visible.ids[people])
    assert people.sum() > 3
    np.testing.assert_allclose(floor, shot.world.positions_m[rows], atol=1e-6)


@pytest.mark.slow
def test_boxes_hold_the_foot_point_and_the_visible_part() -> None:
    for frame in (20, 60, 100):
        visible = camera("crowd").shot(frame).visible
        full, feet = visible.full_boxes_px, visible.foot_points_px
        stature = full[:, 3] - full[:, 1]
        assert (np.abs(feet[:, 1] - full[:, 3]) < 0.25 * stature + 1).all()
        assert (feet[:, 0] > full[:, 0] - 1).all()
        assert (feet[:, 0] < full[:, 2] + 1).all()
        seen = ~np.isnan(visible.visible_boxes_px[:, 0])
        assert (visible.visible_boxes_px[seen, :2] >= full[seen, :2] - 1.5).all()
        assert (visible.visible_boxes_px[seen, 2:] <= full[seen, 2:] + 1.5).all()
        assert ((visible.visibility >= 0) & (visible.visibility <= 1)).all()
        assert ((visible.visibility > 0) == seen).all()


def test_a_person_changes_the_pixels_of_the_visible_box_and_none_elsewhere() -> None:
    shot = camera("entrance", effects="plain").shot(60)
    empty = camera("entrance", effects="plain", people="none").shot(60)
    changed = (shot.image != empty.image).any(-1)
    boxes = shot.visible.visible_boxes_px[~np.isnan(shot.visible.visible_boxes_px[:, 0])]
    assert len(boxes) > 1
    inside = np.zeros_like(changed)
    for left, top, right, bottom in boxes.astype(int):
        assert changed[top:bottom, left:right].mean() > 0.2
        inside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = True
    assert not (changed & ~inside).any()


def test_who_stands_behind_is_hidden() -> None:
    shares = np.concatenate([camera("aisle").shot(frame).visible.visibility for frame in (100, 300)])
    assert (shares < 0.5).any()


def test_who_is_hidden_or_in_the_fog_is_not_recognizable() -> None:
    clear, foggy = (camera("aisle", light=light).shot(100) for light in ("day", "dense_fog"))
    assert (clear.recognizable == (clear.visible.visibility >= MIN_VISIBILITY)).all()
    far = foggy.visible.depths_m > -np.log(MIN_CONTRAST) / foggy.light.fog_per_m
    assert (far & ~foggy.recognizable).any()
    assert (foggy.recognizable == (clear.recognizable & ~far)).all()


def kept_detail(shot: Shot) -> float:
    grey = shot.image.astype(float).mean(-1)
    return float(np.abs(np.diff(grey, axis=1)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_each_light_gives_a_picture_of_its_kind(scene: str) -> None:
    shots = {light: camera(scene, light=light, effects="plain").shot(20) for light in ("day", "fog", "night")}
    mean = {light: float(shot.image.mean()) for light, shot in shots.items()}
    assert mean["night"] < 0.6 * mean["day"]
    assert kept_detail(shots["fog"]) < 0.8 * kept_detail(shots["day"])
    assert shots["fog"].visible.ids.tolist() == shots["day"].visible.ids.tolist()


def test_light_changes_at_its_time() -> None:
    view = camera(light="day,fog:2-4,night:4-6")
    found = [view.shot(frame).light.name for frame in (9, 10, 19, 20, 30)]
    assert found == ["day", "fog", "fog", "night", "day"]


def test_light_is_injected_while_the_camera_runs(tmp_path: Path) -> None:
    file = tmp_path / "inject.txt"
    view = camera(light="night:4-6", inject=str(file))
    assert view.shot(0).light.name == "day"
    file.write_text("2 dense_fog\nsoon day\n3 dusk\n")
    assert [view.shot(frame).light.name for frame in (9, 10, 20)] == ["day", "dense_fog", "dense_fog"]
    file.write_text("2 dense_fog\n5.2 dark\n")
    assert [view.shot(frame).light.name for frame in (25, 26, 30)] == ["dense_fog", "dark", "dark"]


def test_a_frame_can_be_had_in_any_light() -> None:
    by_day = camera()
    for light in ("night", "day", "fog"):
        found, expected = by_day.shot(20, light), camera(light=light).shot(20)
        np.testing.assert_array_equal(found.image, expected.image)
        assert found.light == expected.light


def test_black_is_black_and_blinded_is_saturated() -> None:
    view = camera(fault="black:0-1,blinded:1-2")
    assert view.shot(0).image.max() < 8
    assert (view.shot(6).image > 250).mean() > 0.15
    assert view.shot(12).fault is None


def test_a_frozen_picture_repeats_while_the_world_goes_on() -> None:
    view = camera(fault="frozen:2-4")
    first, later, after = view.shot(10), view.shot(17), view.shot(20)
    assert np.array_equal(first.image, later.image)
    assert np.array_equal(camera(fault="frozen:2-4").shot(17).image, first.image)
    assert not np.array_equal(first.world.positions_m, later.world.positions_m)
    assert not np.array_equal(after.image, first.image)


def test_a_moved_camera_sees_the_same_floor_elsewhere() -> None:
    moved, still = camera(fault="moved:0-9").shot(5), camera().shot(5)
    assert not np.allclose(moved.visible.foot_points_px[0], still.visible.foot_points_px[0], atol=5)
    floor = moved.camera.ground_plane.to_ground(moved.visible.foot_points_px)
    np.testing.assert_allclose(
        floor[0], still.camera.ground_plane.to_ground(still.visible.foot_points_px)[0], atol=1e-6
    )


def test_defocus_loses_detail_and_a_new_resolution_is_smaller() -> None:
    sharp = camera().shot(5)
    assert kept_detail(camera(fault="defocus:0-9").shot(5)) < 0.5 * kept_detail(sharp)
    assert camera(fault="resolution:0-9").shot(5).image.shape == (120, 160, 3)


def test_rolling_brightness_varies_by_row_and_frame() -> None:
    plain, rolling = camera(effects="plain"), camera(effects="plain", flicker="20")
    ratio = [
        rolling.shot(frame).image.mean((1, 2)) / plain.shot(frame).image.mean((1, 2)) for frame in (3, 4)
    ]
    assert np.ptp(ratio[0]) > 0.15
    assert np.abs(ratio[0] - ratio[1]).max() > 0.02


def test_plain_effects_leave_out_noise() -> None:
    view = camera(effects="plain", people="none")
    assert view.options.effects == PLAIN
    assert np.array_equal(view.shot(1).image, view.shot(2).image)
    noisy = camera(people="none")
    assert not np.array_equal(noisy.shot(1).image, noisy.shot(2).image)

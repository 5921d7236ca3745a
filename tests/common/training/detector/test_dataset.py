"""Data sets in YOLO layout: splits by rule, digests, malformed labels, rendered frames."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.errors import DatasetError
from common.training.detector.dataset import (
    JUDGED_PERSONS,
    LabelledImage,
    digest_of,
    fold_of,
    load_splits,
    read_images,
    store_frames,
    with_truth,
    write_yolo,
)


def write_set(images: Path, labels: Path, names: Sequence[str], text: str = "0 0.5 0.5 0.2 0.4\n") -> None:
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for name in names:
        (images / f"{name}.jpg").write_bytes(name.encode())
        (labels / f"{name}.txt").write_text(text)


def published(root: Path) -> None:
    train = [*(f"hw_{i}" for i in range(40)), *(f"ps_one_{i}" for i in range(5))]
    write_set(root / "detect/images/train", root / "detect/labels/train", train)
    write_set(root / "detect/images/val", root / "detect/labels/val", [f"hw_v{i}" for i in range(6)])
    people = [f"p{i}" for i in range(JUDGED_PERSONS + 30)]
    write_set(root / "persons/images", root / "persons/labels", people)


def test_centre_and_size_become_corners(tmp_path: Path) -> None:
    write_set(tmp_path / "i", tmp_path / "l", ["a"], "2 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.4 0.2\n")
    (image,) = read_images(tmp_path / "i", tmp_path / "l")
    assert image.classes.tolist() == [2, 0]
    assert image.boxes[0].tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
    assert image.boxes[1].tolist() == pytest.approx([0.0, 0.0, 0.3, 0.2]), "clipped to the image"
    truth = image.truth(100, 200)
    assert truth.boxes_xyxy_px[0].tolist() == pytest.approx([80, 30, 120, 70])


def test_an_image_without_label_file_has_no_boxes(tmp_path: Path) -> None:
    write_set(tmp_path / "i", tmp_path / "l", ["a"])
    (tmp_path / "l" / "a.txt").unlink()
    (image,) = read_images(tmp_path / "i", tmp_path / "l")
    assert image.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.2\n", "line 1.*is not 'class x y width height'"),
        ("0 0.5 0.5 0.2 0.1\nperson 0.5 0.5 0.1 0.1\n", "line 2"),
        ("6 0.5 0.5 0.2 0.4\n", "class 6 is not one of 0 to 5"),
        ("0 0.5 0.5 0 0.4\n", "has no area"),
        ("0 nan 0.5 0.1 0.4\n", "has no area"),
    ],
)
def test_a_malformed_label_is_an_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    write_set(tmp_path / "i", tmp_path / "l", ["a"], text)
    with pytest.raises(DatasetError, match=message):
        read_images(tmp_path / "i", tmp_path / "l")


def test_an_absent_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no folder"):
        read_images(tmp_path / "i", tmp_path / "l")
    write_set(tmp_path / "i", tmp_path / "l", [])
    with pytest.raises(DatasetError, match="has no images"):
        read_images(tmp_path / "i", tmp_path / "l")


def test_no_image_is_in_two_splits_and_judged_persons_are_the_least_hashes(tmp_path: Path) -> None:
    published(tmp_path)
    splits = load_splits(tmp_path)
    names = [
        {i.path for i in part} for part in (splits.train, splits.held_out, splits.val, splits.judged_persons)
    ]
    assert sum(map(len, names)) == len(set().union(*names)) == 40 + 6 + JUDGED_PERSONS + 30
    judged = {image.name for image in splits.judged_persons}
    assert len(judged) == JUDGED_PERSONS
    hashes = {f"p{i}": hashlib.sha256(f"p{i}".encode()).hexdigest() for i in range(JUDGED_PERSONS + 30)}
    assert max(hashes[name] for name in judged) < min(h for name, h in hashes.items() if name not in judged)
    assert {fold_of(image.name) for image in splits.held_out} == {0}


def test_frames_of_the_judged_clips_train_nothing(tmp_path: Path) -> None:
    published(tmp_path)
    splits = load_splits(tmp_path)
    assert not [i for i in (*splits.train, *splits.held_out) if i.name.startswith("ps_")]


def test_the_digest_depends_on_names_files_and_boxes(tmp_path: Path) -> None:
    write_set(tmp_path / "i", tmp_path / "l", ["a", "b"])
    images = read_images(tmp_path / "i", tmp_path / "l")
    first = digest_of(images)
    assert digest_of(read_images(tmp_path / "i", tmp_path / "l")) == first
    other = LabelledImage(images[0].path, images[0].boxes + np.float32(0.01), images[0].classes)
    assert digest_of((other, images[1])) != first
    (tmp_path / "i" / "b.jpg").write_bytes(b"other")
    assert digest_of(images) != first


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_set(tmp_path / "i", tmp_path / "l", ["a", "b"], "1 0.5 0.5 0.25 0.5\n0 0.25 0.5 0.125 0.25\n")
    images = read_images(tmp_path / "i", tmp_path / "l")
    for _ in range(2):
        write_yolo(images, tmp_path / "out")
    again = read_images(tmp_path / "out/images", tmp_path / "out/labels")
    for before, after in zip(images, again, strict=True):
        assert (before.name, before.classes.tolist()) == (after.name, after.classes.tolist())
        assert after.boxes == pytest.approx(before.boxes, abs=1e-6)


def test_rendered_frames_are_stored_with_their_truth(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV writes the frames: extra vision")
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 20, 40], [50, 30, 90, 60], [70, 1, 80, 9]])
    (stored,) = store_frames([(frame, boxes, np.array([0, 2, 0]))], tmp_path, prefix="entrance")
    ((read, truth),) = with_truth([stored])
    assert np.array_equal(read, frame)
    assert truth.classes.tolist() == [0, 2], "a box outside of the frame is left out"
    assert truth.boxes_xyxy_px[1].tolist() == pytest.approx([50, 30, 64, 48]), "clipped to the frame"


def test_a_frame_of_another_form_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV writes the frames: extra vision")
    grey = np.zeros((48, 64), np.uint8)
    with pytest.raises(DatasetError, match="not uint8"):
        store_frames([(grey, np.empty((0, 4)), np.empty(0))], tmp_path, prefix="x")
    colour = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(DatasetError, match="1 boxes and 2 classes"):
        store_frames([(colour, np.array([[0, 0, 5, 5]]), np.array([0, 1]))], tmp_path, prefix="x")


def test_a_file_that_is_no_image_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV reads the images: extra vision")
    write_set(tmp_path / "i", tmp_path / "l", ["a"])
    with pytest.raises(DatasetError, match="not an image"):
        next(with_truth(read_images(tmp_path / "i", tmp_path / "l")))

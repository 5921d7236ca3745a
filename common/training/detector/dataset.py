"""Images with boxes in YOLO layout: reading, splits, digests, and frames with exact truth.

``images/<name>.jpg`` has its boxes in ``labels/<name>.txt``: a line a box, ``class x y width height``, centre
and size relative to the image. Splits:

- ``detect/train`` trains and ``detect/val`` tunes, as published; frames of the clips on which counting is
  judged (names in `JUDGED_CLIPS`) are left out.
- of ``persons`` the `JUDGED_PERSONS` images whose names have the least SHA-256 judge; they train nothing.
- every training set is cut into `FOLDS` folds by the hash of the name; fold 0 is held out.
"""

# OpenCV is imported where it is installed.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DatasetError
from common.training.detector.evaluation import Truth
from common.vision.detections import CLASSES

JUDGED_CLIPS = ("ps_",)
"""Beginnings of the names of images that come from clips on which counting is judged."""
JUDGED_PERSONS = 150
FOLDS = 10
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file with its boxes: corners relative to the image ``(n, 4)``, classes ``(n,)``."""

    path: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int16]

    @property
    def name(self) -> str:
        return self.path.stem

    def frame(self) -> NDArray[np.uint8]:
        """The image in BGR ``(height, width, 3)``. Raises `DatasetError` for a file that is no image."""
        import cv2

        frame: Any = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if frame is None:
            raise DatasetError(f"{self.path} is not an image that OpenCV reads")
        return frame

    def truth(self, height_px: int, width_px: int) -> Truth:
        """Its boxes in pixels of the image in that size."""
        sides = np.array([width_px, height_px, width_px, height_px], dtype=np.float32)
        return Truth(self.boxes * sides, self.classes)


@dataclass(frozen=True, slots=True)
class Splits:
    """Images by use. ``held_out`` is fold 0 of what trains; it chooses, as ``val`` does."""

    train: tuple[LabelledImage, ...]
    held_out: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]
    judged_persons: tuple[LabelledImage, ...]


def read_images(images: Path, labels: Path) -> tuple[LabelledImage, ...]:
    """Images of a folder in the order of their names, an image without label file as one without boxes.

    Raises `DatasetError` for an absent or empty folder, and for a malformed line with its place.
    """
    if not images.is_dir() or not labels.is_dir():
        raise DatasetError(f"there is no folder {images if labels.is_dir() else labels}")
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{images} has no images ({', '.join(SUFFIXES)})")
    return tuple(LabelledImage(path, *_read_labels(labels / f"{path.stem}.txt")) for path in paths)


def load_splits(root: Path) -> Splits:
    """The splits of ``detect`` and ``persons`` below ``root``. Raises `DatasetError`."""
    detect, persons = root / "detect", root / "persons"
    known = read_images(detect / "images" / "train", detect / "labels" / "train")
    known = tuple(image for image in known if not image.name.startswith(JUDGED_CLIPS))
    people = read_images(persons / "images", persons / "labels")
    by_hash = sorted(people, key=lambda image: _name_hash(image.name))
    judged = {image.name for image in by_hash[:JUDGED_PERSONS]}
    training = (*known, *(image for image in people if image.name not in judged))
    return Splits(
        train=tuple(image for image in training if fold_of(image.name) != 0),
        held_out=tuple(image for image in training if fold_of(image.name) == 0),
        val=read_images(detect / "images" / "val", detect / "labels" / "val"),
        judged_persons=tuple(image for image in people if image.name in judged),
    )


def fold_of(name: str) -> int:
    """Fold of an image, by its name."""
    return int(hashlib.sha256(f"fold {name}".encode()).hexdigest(), 16) % FOLDS


def digest_of(images: Sequence[LabelledImage]) -> str:
    """SHA-256 over names, files and boxes of ``images`` in their order, for the lineage."""
    total = hashlib.sha256()
    for image in images:
        total.update(image.name.encode() + b"\0")
        total.update(hashlib.sha256(image.path.read_bytes()).digest())
        total.update(image.boxes.astype("<f4").tobytes() + image.classes.astype("<i2").tobytes())
    return total.hexdigest()


def with_truth(images: Iterable[LabelledImage]) -> Iterator[tuple[NDArray[np.uint8], Truth]]:
    """Frame and truth of each image, one at a time, as `evaluate_detector` takes them."""
    for image in images:
        frame = image.frame()
        yield frame, image.truth(*frame.shape[:2])


def store_frames(
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]], folder: Path, *, prefix: str
) -> tuple[LabelledImage, ...]:
    """Write rendered frames with exact truth (BGR frame, corners in pixels, classes) as PNG files.

    Boxes are clipped to the frame; those without area are left out. Raises `DatasetError` for a frame of
    another form or boxes and classes of different number.
    """
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    stored: list[LabelledImage] = []
    for index, (frame, boxes_xyxy_px, classes) in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise DatasetError(f"frame {index} is {frame.dtype} {frame.shape}, not uint8 (height, width, 3)")
        boxes = np.asarray(boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
        if len(boxes) != len(classes):
            raise DatasetError(f"frame {index} has {len(boxes)} boxes and {len(classes)} classes")
        height, width = frame.shape[:2]
        relative = np.clip(boxes / np.array([width, height, width, height], dtype=np.float32), 0, 1)
        whole = np.all(relative[:, 2:] > relative[:, :2], axis=1)
        path = folder / f"{prefix}_{index:06d}.png"
        if not cv2.imwrite(str(path), frame):
            raise DatasetError(f"{path} cannot be written")
        stored.append(LabelledImage(path, relative[whole], np.asarray(classes, dtype=np.int16)[whole]))
    return tuple(stored)


def write_yolo(images: Iterable[LabelledImage], folder: Path) -> None:
    """Write ``images`` as ``folder/images`` (links to the files) and ``folder/labels``."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for image in images:
        link = folder / "images" / image.path.name
        link.unlink(missing_ok=True)
        link.symlink_to(image.path.resolve())
        centres = (image.boxes[:, :2] + image.boxes[:, 2:]) / 2
        sizes = image.boxes[:, 2:] - image.boxes[:, :2]
        lines = [
            f"{each} {centre[0]:.6f} {centre[1]:.6f} {size[0]:.6f} {size[1]:.6f}\n"
            for each, centre, size in zip(image.classes, centres, sizes, strict=True)
        ]
        (folder / "labels" / f"{image.name}.txt").write_text("".join(lines), "ascii")


def _read_labels(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[int] = []
    text = path.read_text("ascii", "replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            named, *values = line.split()
            x, y, width, height = map(float, values)
            each = int(named)
        except ValueError:
            raise DatasetError(
                f"{path}, line {number}: {line[:60]!r} is not 'class x y width height'"
            ) from None
        if not 0 <= each < len(CLASSES):
            raise DatasetError(f"{path}, line {number}: class {each} is not one of 0 to {len(CLASSES) - 1}")
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if not all(np.isfinite(corners)) or width <= 0 or height <= 0:
            raise DatasetError(f"{path}, line {number}: the box {line[:60]!r} has no area")
        boxes.append(corners)
        classes.append(each)
    relative = np.clip(np.asarray(boxes, dtype=np.float32).reshape(-1, 4), 0, 1)
    return relative, np.asarray(classes, dtype=np.int16)


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

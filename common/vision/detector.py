"""Detector: a bundle's detection network behind one call, from a frame to `Detections` in its pixels.

A manifest of a detector has the task ``detection``, one image input, the head's output first, class names,
and ``parameters["detector"]``, `DetectorSpec`::

    "parameters": {"detector": {"head": "ultralytics", "image": {"layout": "nhwc", "colour": "bgr"}}}

Classes of the network that `CLASSES` lacks are left out.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.app.edge import Model
from common.bundle import Manifest
from common.errors import BundleIncompatible
from common.vision.detections import CLASSES, NO_TRACK, Detections
from common.vision.heads import DECODERS, Head, non_maximum_suppression
from common.vision.preprocessing import ImageInput, Letterbox

TASK = "detection"
PARAMETER = "detector"
MIN_SIZE_PX = 1.0
"""Boxes narrower or lower than this in the frame, such as those outside of it, are left out."""


class DetectorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input and output format of a detection network."""

    head: Head
    image: ImageInput = ImageInput()
    max_iou: float = 0.65
    """Overlap of two boxes of one class beyond which the lesser is left out."""


def read_spec(manifest: Manifest) -> DetectorSpec:
    """The detector's part of a manifest. Raises `BundleIncompatible`."""
    where = f"the manifest of {manifest.version}"
    if manifest.task != TASK or len(manifest.inputs) != 1 or not manifest.outputs:
        raise BundleIncompatible(
            f"{where} has the task {manifest.task!r}, {len(manifest.inputs)} inputs and "
            f"{len(manifest.outputs)} outputs; a detector has {TASK!r}, one input and an output"
        )
    if not set(manifest.classes) & set(CLASSES):
        raise BundleIncompatible(f"{where} has none of the classes {', '.join(CLASSES)}")
    try:
        return msgspec.convert(manifest.parameters.get(PARAMETER), DetectorSpec)
    except msgspec.ValidationError as error:
        raise BundleIncompatible(f"{where}: parameters.{PARAMETER}: {error}") from error


class Detector:
    """Finds the objects in frames; belongs to one thread."""

    def __init__(self, model: Model) -> None:
        """Raises `BundleIncompatible` for a model that is no detector."""
        manifest = model.manifest
        self.spec = read_spec(manifest)
        self._model = model
        self._input, self._output = manifest.inputs[0].name, manifest.outputs[0].name
        names = manifest.classes
        self._class_of_column = np.array(
            [CLASSES.index(name) if name in CLASSES else -1 for name in names], np.int16
        )
        self._wanted = np.flatnonzero(self._class_of_column >= 0)
        self._decode = DECODERS[self.spec.head]
        shape = manifest.inputs[0].shape
        try:
            self._letterbox = Letterbox(self.spec.image, shape, manifest.inputs[0].dtype)
        except ValueError as error:
            raise BundleIncompatible(f"the manifest of {manifest.version}: {error}") from error

    def detect(self, frame_bgr: NDArray[np.uint8], min_score: float) -> Detections:
        """Objects of at least ``min_score`` in a frame (height, width, 3), best first, clipped to the frame.

        Raises `InferenceError` for a failed run, `ValueError` for anything but a frame and for an output
        that is not the head's.
        """
        tensor, placement = self._letterbox.write(frame_bgr)
        output = self._model.run({self._input: tensor})[self._output]
        self._check(output.shape)
        found = self._decode(output, self._wanted, min_score, self._letterbox.size)
        kept = non_maximum_suppression(*found, self.spec.max_iou)
        boxes = placement.to_frame(found.boxes_xyxy[kept])
        classes = self._class_of_column[found.columns[kept]]
        detections = Detections(boxes, found.scores[kept], classes, np.full(len(kept), NO_TRACK, np.int64))
        inside = (detections.sizes_px >= MIN_SIZE_PX).all(axis=1)
        return detections if inside.all() else detections[inside]

    def _check(self, shape: tuple[int, ...]) -> None:
        names = len(self._class_of_column)
        axis, expected = (1, 4 + names) if self.spec.head == "ultralytics" else (2, 5 + names)
        if len(shape) != 3 or shape[0] != 1 or shape[axis] != expected:
            raise ValueError(
                f"an output of the head {self.spec.head} with {names} classes has no shape {list(shape)}"
            )

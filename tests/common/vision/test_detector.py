"""From a frame to detections: letterbox, heads, NMS, and the detector with a model that is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from common.bundle import Limits, Lineage, Manifest, TensorSpec
from common.errors import BundleIncompatible
from common.vision.detections import CAR, PERSON, Detections, intersection_over_union
from common.vision.detector import Detector
from common.vision.heads import decode_yolox, non_maximum_suppression
from common.vision.preprocessing import ImageInput, Letterbox, place

SIZES = st.integers(1, 2000)


def naive_nms(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], max_iou: float) -> list[int]:
    """By the definition, one pair at a time."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        for other in kept:
            x1, y1 = np.maximum(boxes[row, :2], boxes[other, :2])
            x2, y2 = np.minimum(boxes[row, 2:], boxes[other, 2:])
            shared = max(x2 - x1, 0) * max(y2 - y1, 0)
            first, second = (float(np.prod(boxes[each, 2:] - boxes[each, :2])) for each in (row, other))
            if classes[row] == classes[other] and shared > max_iou * (first + second - shared):
                break
        else:
            kept.append(row)
    return kept


@given(SIZES, SIZES, st.integers(32, 640), st.integers(32, 640), st.sampled_from(["centre", "corner"]))
def test_letterbox_keeps_the_whole_frame_and_its_aspect_ratio(
    frame_width: int, frame_height: int, width: int, height: int, letterbox: str
) -> None:
    placement = place(frame_width, frame_height, width, height, letterbox)
    assert 0 <= placement.left <= width - placement.width
    assert 0 <= placement.top <= height - placement.height
    assert placement.width == width or placement.height == height
    exact = min(width / frame_width, height / frame_height)
    assert abs(placement.width - max(1, frame_width * exact)) <= 0.5
    assert abs(placement.height - max(1, frame_height * exact)) <= 0.5


@given(
    SIZES,
    SIZES,
    st.sampled_from(["centre", "corner"]),
    arrays.arrays(np.float64, (5, 2, 2), elements=st.floats(0, 1)),
)
def test_boxes_come_back_from_the_letterbox(
    width: int, height: int, letterbox: str, corners: NDArray[np.float64]
) -> None:
    placement = place(width, height, 416, 320, letterbox)
    boxes = (np.sort(corners, axis=1) * (width, height)).reshape(5, 4)
    there_and_back = placement.to_frame(placement.to_input(boxes))
    np.testing.assert_allclose(there_and_back, boxes, atol=max(width, height) * 1e-5)


@given(st.data())
def test_nms_is_that_of_its_definition(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 25))
    corners = data.draw(arrays.arrays(np.int64, (count, 2, 2), elements=st.integers(0, 30)))
    boxes = np.sort(corners, axis=1).reshape(count, 4).astype(np.float32)
    scores = data.draw(
        arrays.arrays(np.float32, count, elements=st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
    )
    classes = data.draw(arrays.arrays(np.int16, count, elements=st.integers(0, 2)))
    max_iou = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    kept = non_maximum_suppression(boxes, scores, classes, max_iou)
    assert kept.tolist() == naive_nms(boxes, scores, classes, max_iou)


def test_overlap_of_boxes() -> None:
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    second = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [9, 9, 8, 8]], np.float32)
    np.testing.assert_allclose(intersection_over_union(first, second), [[1 / 3, 1, 0], [0, 0, 0]])


def test_detections_are_sliced_by_mask_index_and_slice() -> None:
    detections = Detections.of([[0, 0, 1, 1], [0, 0, 4, 2], [1, 1, 3, 3]], scores=[0.1, 0.9, 0.5])
    assert detections[detections.scores > 0.3].scores.tolist() == pytest.approx([0.9, 0.5])
    assert detections[1].boxes_xyxy_px.tolist() == [[0, 0, 4, 2]]
    assert len(detections[:2]) == 2
    assert detections[np.array([2, 0])].foot_points_px.tolist() == [[2, 3], [0.5, 1]]
    assert len(Detections.empty().foot_points_px) == 0
    with pytest.raises(ValueError, match="columns of that length"):
        Detections.of([[0, 0, 1, 1]], scores=[0.1, 0.2])


# ----------------------------------------------------------------------------------------- letterbox


@pytest.mark.parametrize(
    ("layout", "colour"), [("nhwc", "bgr"), ("nhwc", "rgb"), ("nchw", "bgr"), ("nchw", "rgb")]
)
def test_pixels_are_placed_scaled_and_ordered_by_the_manifest(
    layout: Literal["nhwc", "nchw"], colour: Literal["bgr", "rgb"]
) -> None:
    pytest.importorskip("cv2")
    image = ImageInput(layout=layout, colour=colour, scale=1 / 255, pad_value=114)
    shape = [1, 32, 64, 3] if layout == "nhwc" else [1, 3, 32, 64]
    frame = np.full((40, 40, 3), (10, 20, 30), np.uint8)
    tensor, placement = Letterbox(image, list(shape), "float32").write(frame)
    pixels = tensor[0] if layout == "nhwc" else tensor[0].transpose(1, 2, 0)
    assert (placement.left, placement.top, placement.width, placement.height) == (16, 0, 32, 32)
    expected = np.array((10, 20, 30) if colour == "bgr" else (30, 20, 10)) / 255
    np.testing.assert_allclose(pixels[:, 16:48], np.broadcast_to(expected, (32, 32, 3)), rtol=1e-6)
    np.testing.assert_allclose(pixels[:, :16], 114 / 255, rtol=1e-6)
    np.testing.assert_allclose(pixels[:, 48:], 114 / 255, rtol=1e-6)


def test_another_size_of_frames_leaves_nothing_of_the_last_one() -> None:
    pytest.importorskip("cv2")
    letterbox = Letterbox(ImageInput(pad_value=0), [1, 64, 64, 3], "uint8")
    letterbox.write(np.full((64, 64, 3), 255, np.uint8))
    tensor, placement = letterbox.write(np.full((32, 64, 3), 9, np.uint8))
    assert placement.top == 16
    assert tensor[0, :16].max() == tensor[0, 48:].max() == 0
    assert (tensor[0, 16:48] == 9).all()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(frame: NDArray[Any]) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(ValueError, match="a frame is"):
        Letterbox(ImageInput(), [1, 8, 8, 3], "uint8").write(frame)


# ------------------------------------------------------------------------------------------ detector


class FixedModel:
    """A model with one output, which knows the input that it got."""

    def __init__(self, manifest: Manifest, output: NDArray[np.float32]) -> None:
        self.manifest = manifest
        self.inputs: dict[str, NDArray[Any]] = {}
        self._output = output

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.inputs = dict(inputs)
        return {"boxes": self._output}


def manifest(parameters: dict[str, Any], **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "app": "cameras",
        "version": "1",
        "task": "detection",
        "inputs": [TensorSpec(name="frame", dtype="uint8", shape=[1, 64, 64, 3])],
        "outputs": [TensorSpec(name="boxes", dtype="float32", shape=[1, None, None])],
        "precision": "float32",
        "licence": "Apache-2.0",
        "limits": Limits(latency_ms=100),
        "lineage": Lineage(data={}, code="test"),
        "tolerance": {},
        "classes": ["car", "kite", "person"],
        "parameters": {"detector": parameters},
    }
    return Manifest(**(values | changes))


def test_an_ultralytics_head_gives_boxes_in_the_frame() -> None:
    pytest.importorskip("cv2")
    anchors = np.zeros((1, 7, 84), np.float32)
    anchors[0, :, 3] = [32, 32, 16, 8, 0.1, 0.2, 0.9]  # A person in the middle,
    anchors[0, :, 9] = [33, 32, 16, 8, 0.1, 0.0, 0.7]  # the same once more,
    anchors[0, :, 20] = [32, 32, 16, 8, 0.6, 0.0, 0.3]  # a car at the same place,
    anchors[0, :, 40] = [10, 30, 4, 4, 0.0, 0.9, 0.0]  # a kite,
    anchors[0, :, 50] = [20, 20, 4, 4, 0.2, 0.0, 0.1]  # a low score,
    anchors[0, :, 60] = [32, 6, 4, 4, 0.5, 0.0, 0.0]  # and a car above the picture.
    detector = Detector(FixedModel(manifest({"head": "ultralytics"}), anchors))
    detections = detector.detect(np.zeros((100, 200, 3), np.uint8), 0.25)
    assert detections.classes.tolist() == [PERSON, CAR]
    np.testing.assert_allclose(detections.scores, [0.9, 0.6])
    np.testing.assert_allclose(detections.boxes_xyxy_px, [[75, 37.5, 125, 62.5]] * 2, atol=1e-4)
    assert detections.track_ids.tolist() == [-1, -1]


def test_a_yolox_head_is_decoded_on_its_grid() -> None:
    pytest.importorskip("cv2")
    rows = np.zeros((1, 64 + 16 + 4, 8), np.float32)
    rows[0, 8 * 3 + 2] = [0.5, 0.25, 0.0, np.log(2), 0.8, 0.1, 0.0, 0.5]  # Stride 8, cell (2, 3).
    rows[0, 64 + 16 + 3] = [0, 0, np.log(0.5), np.log(0.5), 1.0, 0.9, 0, 0]  # Stride 32, cell (1, 1).
    model = FixedModel(manifest({"head": "yolox", "image": {"letterbox": "corner"}}), rows)
    detections = Detector(model).detect(np.zeros((64, 64, 3), np.uint8), 0.3)
    assert detections.classes.tolist() == [CAR, PERSON]
    np.testing.assert_allclose(detections.boxes_xyxy_px, [[24, 24, 40, 40], [16, 18, 24, 34]], atol=1e-4)
    np.testing.assert_allclose(detections.scores, [0.9, 0.4], rtol=1e-6)


def test_a_yolox_head_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="84 anchors, not 85"):
        decode_yolox(np.zeros((1, 85, 8), np.float32), np.arange(3), 0.3, (64, 64))


@pytest.mark.parametrize(
    ("parameters", "changes", "problem"),
    [
        ({"head": "detr"}, {}, "Invalid enum value"),
        ({"head": "yolox", "nms": 3}, {}, "unknown field"),
        ({"head": "yolox"}, {"task": "regression"}, "'regression'"),
        ({"head": "yolox"}, {"classes": ["kite"]}, "none of the classes"),
        (
            {"head": "yolox", "image": {"layout": "nchw"}},
            {},
            r"an image input in nchw has no shape \[1, 64, 64, 3\]",
        ),
        ({"head": "yolox", "image": {"scale": 0.5}}, {}, "uint8 with scale 0.5"),
    ],
)
def test_a_manifest_of_no_detector_is_refused(
    parameters: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BundleIncompatible, match=problem):
        Detector(FixedModel(manifest(parameters, **changes), np.zeros((1, 7, 1), np.float32)))


def test_an_output_of_another_shape_is_an_error() -> None:
    pytest.importorskip("cv2")
    detector = Detector(FixedModel(manifest({"head": "ultralytics"}), np.zeros((1, 84, 7), np.float32)))
    with pytest.raises(ValueError, match=r"3 classes has no shape \[1, 84, 7\]"):
        detector.detect(np.zeros((64, 64, 3), np.uint8), 0.3)

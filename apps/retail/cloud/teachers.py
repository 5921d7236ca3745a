"""Proposals for the labels of a picture: the persons that two teachers agree on, or that the only one finds.

The teachers are YOLOX-Nano and PicoDet-S (`common.training.detector.teachers`), read from the folder of the
setting ``teachers`` at the first picture. A proposal is no label: a person accepts or corrects it. Nothing is
stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi import Path as PathParameter
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from common.app.cloud import RouteDeps
from common.arrays import Arrays
from common.errors import BundleIncompatible, ConfigError, SampleError
from common.training.detector.teachers import (
    PICODET_FILE,
    YOLOX_FILE,
    Agreement,
    PicoDet,
    Teacher,
    agreed,
    yolox_teacher,
)
from common.vision.detections import PERSON, Detections

MAX_SIDE_PX = 4096
NO_PICTURE = np.zeros(0, np.uint8)
SampleId = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="SHA-256 of the sample")]


class Proposal(BaseModel):
    """Boxes of persons in the pixels of the picture, with scores, and the names of the teachers."""

    teachers: list[str]
    boxes_xyxy_px: list[Annotated[list[float], Field(min_length=4, max_length=4)]]
    scores: list[float]


class Teachers:
    """The detectors of a folder, one picture at a time. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises `ConfigError` for a folder with neither of the files, and without OpenCV."""
        if find_spec("cv2") is None:
            raise ConfigError("apps.retail.teachers needs OpenCV: pip install 'edgeloop[vision]'")
        self._files = [path for name in (YOLOX_FILE, PICODET_FILE) if (path := folder / name).is_file()]
        if not self._files:
            raise ConfigError(
                f"apps.retail.teachers: {folder} has neither {YOLOX_FILE} nor {PICODET_FILE}; "
                "`edgeloop data get yolox_nano` gets the first"
            )
        self._models: list[Teacher] = []
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Names of the files without their ending."""
        return [path.stem for path in self._files]

    def propose(self, jpeg: NDArray[Any]) -> Proposal:
        """The persons of a picture. Raises `ValueError` for what is no picture, and `BundleIncompatible`."""
        frame, rule = _decode(jpeg), Agreement()
        with self._lock:
            if not self._models:
                self._models = [_open(path) for path in self._files]
            found = [model.detect(frame, rule.min_score) for model in self._models]
        people = [each[each.classes == PERSON] for each in found]
        return self._proposal(people[0] if len(people) == 1 else agreed(people[0], people[1], rule))

    def _proposal(self, people: Detections) -> Proposal:
        boxes: Sequence[Any] = np.round(people.boxes_xyxy_px.astype(float), 1).tolist()
        return Proposal(
            teachers=self.names,
            boxes_xyxy_px=[list(box) for box in boxes],
            scores=np.round(people.scores.astype(float), 3).tolist(),
        )


def _open(path: Path) -> Teacher:
    return yolox_teacher(path) if path.name == YOLOX_FILE else PicoDet(path)


def _decode(jpeg: NDArray[Any]) -> NDArray[np.uint8]:
    import cv2

    readable = jpeg.dtype == np.uint8 and jpeg.ndim == 1 and jpeg.size > 0
    frame: Any = cv2.imdecode(jpeg, cv2.IMREAD_COLOR) if readable else None
    if frame is None or max(frame.shape[:2]) > MAX_SIDE_PX:
        raise ValueError(f"the sample has no picture of at most {MAX_SIDE_PX} pixels a side")
    return np.asarray(frame, np.uint8)


def teachers_router(deps: RouteDeps, folder: str) -> APIRouter:
    """The route; ``folder`` is empty where no teachers are set. Raises `ConfigError`."""
    router = APIRouter(tags=["retail"])
    teachers = Teachers(Path(folder)) if folder else None

    @router.get("/proposals/{id}", dependencies=[deps.admin])
    def propose(id: SampleId, read: Callable[[str], Arrays] = deps.read_sample) -> Proposal:
        """The persons of a sample's picture as the cloud's teachers see them; none without teachers."""
        if teachers is None:
            return Proposal(teachers=[], boxes_xyxy_px=[], scores=[])
        try:
            return teachers.propose(read(id).get("jpeg", NO_PICTURE))
        except FileNotFoundError:
            raise HTTPException(404, f"no sample {id}") from None
        except (ValueError, BundleIncompatible, SampleError) as error:
            raise HTTPException(422, str(error)) from error

    return router

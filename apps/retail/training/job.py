"""Training of the retail app's detector.

Three recipes, by the parameter ``recipe``:

``last_layers``  the class branch of the parent's detector in NumPy, on rendered frames, pictures of the data
                 sets if there is a data folder, and labelled pictures of the field; minutes on a CPU, no
                 torch (`common.training.detector.refit`)
``full``         the detector from its start weights (`common.training.detector.pipeline`): needs the extra
                 ``train-vision`` and the data sets; the starter is made by it
``yolox``        nothing is trained: a published YOLOX file (Apache-2.0), named by the parameter ``weights``,
                 becomes a bundle

Parameters: ``frames``, the rendered frames of each scene and light; ``scene`` and ``light``, the only ones of
these where they are named. Of ``full`` also ``epochs`` of Ultralytics' trainer, by default none, and
``work``, a folder from which a run that was cut off goes on.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.retail.training.evaluation import evaluate, judge
from apps.retail.training.samples import labelled_pictures
from apps.retail.training.virtual_scenes import (
    LIGHTS,
    SIZE,
    SMALL_SIZE,
    Picture,
    RenderedFrames,
    busy_scene,
)
from apps.retail.virtual.cameras import SCENES
from common.app.training import GateRule, TrainContext
from common.bundle import Bundle
from common.errors import TrainingError
from common.revision import code_version
from common.training.detector.dataset import digest_of, load_splits, store_frames, with_truth
from common.training.lineage import lineage_of

__all__ = ["check_parameters", "evaluate", "gate", "judge", "train"]

gate = GateRule("quality", higher_is_better=True, min_gain=0.005, slice_tolerance=0.03)
starter_needs_data = True
check_parameters = {"frames": 4, "scene": "entrance", "light": "day"}
TRAINING_SEED, GOLDEN_SEED = 1_000, 2_100
FRAMES, FRAME_STEP = 24, 37
"""Rendered frames of each scene and light to train on, and frames between two of them."""
REPLAYED_IMAGES = 300
"""Pictures of the data sets beside them in ``last_layers``."""
GOLDEN_SCENES = (("entrance", "day"), ("aisle", "day"), ("crowd", "day"), ("entrance", "night"))
"""Scenes of the golden cases, half a megabyte each."""
GOLDEN_FRAME = 40
YOLOX_GOLDEN = 2
"""Golden cases of the recipe ``yolox``, whose tensors are four times as large."""
TRAINING_LIGHTS = ("day",)
"""Lights of the starter's rendered frames; others are left to the learning of a field."""


def train(context: TrainContext) -> Bundle:
    """Make a bundle in ``context.output`` by the recipe."""
    recipe = context.parameters.get("recipe", "last_layers" if context.parent else "full")
    if recipe == "full":
        return _train_full(context)
    if recipe == "yolox":
        return _package_yolox(context)
    if recipe != "last_layers":
        raise TrainingError(f"the recipe {recipe!r} is neither last_layers nor full nor yolox")
    return _train_last_layers(context)


def _train_last_layers(context: TrainContext) -> Bundle:
    from common.training.detector.pipeline import drawn, fitting_mix
    from common.training.detector.refit import refit_bundle

    parent = context.parent
    if parent is None:
        raise TrainingError("last_layers goes on from a model: train the first one with recipe=full")
    rendered = _rendered(context, LIGHTS, SMALL_SIZE)
    data = {"rendered": _digest(rendered)}
    replayed = []
    if context.data_path is not None:
        replayed = drawn(fitting_mix(load_splits(context.data_path).train), REPLAYED_IMAGES, context.seed)
        data["replayed"] = digest_of(replayed)
    if context.samples:
        data["field"] = _digest(*sorted(each.digest for each in context.samples))

    def known() -> Iterator[Picture]:
        yield from rendered
        yield from with_truth(replayed)

    refused: list[str] = []
    bundle = refit_bundle(
        parent,
        context.output,
        labelled_pictures(context.samples, refused),
        known(),
        version=context.version,
        lineage=lineage_of(context, data),
        progress=context.progress,
    )
    for reason in refused:
        context.progress(1.0, f"left out: {reason}")
    return bundle


def _train_full(context: TrainContext) -> Bundle:
    from common.training.detector.fine_tuning import Recipe
    from common.training.detector.pipeline import train_detector

    recipe = Recipe(epochs=_whole(context, "epochs", 0, 0), seed=context.seed)
    with tempfile.TemporaryDirectory(prefix="edgeloop-retail-") as temporary:
        work = Path(str(context.parameters.get("work", temporary)))
        pictures = (
            (frame, truth.boxes_xyxy_px, truth.classes)
            for frame, truth in _rendered(context, TRAINING_LIGHTS)
        )
        rendered = store_frames(pictures, work / "rendered", prefix="rendered")
        return train_detector(
            context, app="retail", golden=golden_frames(), rendered=rendered, recipe=recipe, work=work
        )


def _package_yolox(context: TrainContext) -> Bundle:
    from common.training.detector.bundle import write_yolox_bundle

    weights = Path(str(context.parameters.get("weights", "")))
    if not weights.is_file():
        raise TrainingError(
            "the recipe yolox needs the parameter weights, a file that `edgeloop data get yolox_nano` or "
            f"yolox_s brings; there is no file {str(weights)!r}"
        )
    golden = golden_frames()[:YOLOX_GOLDEN]
    return write_yolox_bundle(
        weights, context.output, golden, app="retail", version=context.version, code=code_version()
    )


def golden_frames() -> list[NDArray[np.uint8]]:
    """Rendered frames of the golden cases."""
    return [
        busy_scene(GOLDEN_SEED, scene).open().shot(GOLDEN_FRAME, light).image
        for scene, light in GOLDEN_SCENES
    ]


def _whole(context: TrainContext, name: str, default: int, least: int) -> int:
    value = context.parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10_000:
        raise TrainingError(f"the parameter {name} is {value!r}; it is a whole number from {least} to 10000")
    return value


def _rendered(context: TrainContext, lights: tuple[str, ...], size: str = SIZE) -> RenderedFrames:
    return RenderedFrames(
        TRAINING_SEED + context.seed,
        _whole(context, "frames", FRAMES, 1),
        FRAME_STEP,
        _only(context, "scene", SCENES, SCENES),
        _only(context, "light", LIGHTS, lights),
        size,
    )


def _only(
    context: TrainContext, name: str, known: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    value = context.parameters.get(name)
    if value is None:
        return default
    if value not in known:
        raise TrainingError(f"the parameter {name} is {value!r}; it is one of {', '.join(known)}")
    return (str(value),)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()

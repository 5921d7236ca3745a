"""Evaluation of the retail app's detector: counting of single crossings, zones, and detection.

`evaluate` measures all of it. Without a data folder: one short virtual scene, and rendered frames by scene
and light. With one: four virtual scenes of 10 minutes, each a third by day, in fog and at night; crossings
and zones of the real clips whose truth a checkout has; and every model file of the bundle on ``detect/val``,
the judging part of ``persons`` and 1,000 rendered frames. Counting runs on the model file that this device
prefers, on all cores. Intervals are of 95 %, over blocks of time (`apps.retail.training.judged`) or
pictures. Figures ``..._of_<rule>`` are those of trivial rules: no counting, the true number of crossings
evenly spaced, the best constant number of people, the true boxes of the picture before.

`judge` is what the gate compares two models by, much shorter: counting on the clips and on one scene by
light, and detection; each is also a slice that is guarded. Without a data folder it is detection alone: of
one short scene, one crossing decides too much.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from apps.retail.training.clips import judge_clip, read_truths
from apps.retail.training.counting import Score, count
from apps.retail.training.judged import Judged, intervals, total_of
from apps.retail.training.samples import labelled_pictures
from apps.retail.training.sources import app_counter, counting_tasks, run_all
from apps.retail.training.virtual_scenes import (
    LIGHTS,
    SMALL_SIZE,
    Picture,
    RenderedFrames,
    busy_scene,
    judge_scene,
    judged_scenes,
    labelled_frames,
)
from apps.retail.training.zone_visits import ZoneScore, judge_zones
from common.app.training import Figure, LabelledSample, Metrics
from common.bundle import Bundle, open_bundle
from common.errors import BundleIncompatible
from common.model.inference import OnnxModel, load_model, load_variant
from common.model.profile import Profile, find_profile
from common.training.detector.dataset import load_splits, with_truth
from common.training.detector.evaluation import (
    MIN_SCORE,
    Detect,
    Evaluation,
    Truth,
    evaluate_detector,
    match_detections,
)
from common.vision.detections import PERSON, Detections
from common.vision.detector import Detector

EVALUATION_SEED, SET_SEED = 2_000, 3_000
SLICED_SCENES = ("entrance", "aisle")
JUDGED_FRAMES, FRAME_STEP = 24, 37
"""Rendered frames of each scene and light in a slice, and frames between two of them."""
SET_FRAMES = 67
"""The same in the rendered set: 1,005 frames of five scenes in three lights."""
SET_STEP = 11
LONG_S, GATE_S, SHORT_S = 600, 180, 18
"""Length of a virtual scene in an evaluation with a data folder, in the gate's, and without."""
MIN_CROSSINGS = 5
"""True crossings from which a source is a slice of the gate."""
RENDERED = "rendered"
PERSON_AP50 = "person AP50"
SETS = ("detect/val", "persons", RENDERED)
UNITS = {
    "count_error_percent": "% of crossings",
    "count_precision": "of crossings within 1 s",
    "count_recall": "of crossings within 1 s",
    "zone_occupancy_error": "people",
    "zone_occupancy_right": "of frames",
    "zone_visits_error_percent": "% of visits",
    "zone_dwell_error_percent": "% of time",
}
Figures = dict[str, Figure]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SetScore:
    """Each model file on one set, and the true boxes of the picture before taken for detections."""

    name: str
    found: Mapping[str, Evaluation]
    previous_truth: Evaluation


Part = Judged | SetScore | list[ZoneScore]


def evaluate(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
    """Counting, zones and detection. ``quality`` is the mean of the F1 of single crossings on the virtual
    scenes and of the mean person AP50 over the slices; without a data folder, the latter.

    Raises `DatasetError` for a data folder without the sets or with other clips than the judged ones.
    """
    model = load_model(bundle, find_profile())
    slices, field = _judge_slices(_detect_with(model), samples)
    counted: list[Judged] = []
    figures: Figures = {}
    if data_path is None:
        counted.append(judge_scene(partial(count, model), judged_scenes(SHORT_S, SMALL_SIZE)[1], SHORT_S))
        _add_counting_by_light(figures, counted)
        _add_counting(figures, counted, "")
        return _metrics(figures, slices, field, None, "")
    for part in _timed(_tasks(bundle.path, data_path)):
        if isinstance(part, Judged):
            counted.append(part)
        elif isinstance(part, SetScore):
            _add_set(figures, part)
        else:
            _add_zones(figures, part)
    scenes = [each for each in counted if each.virtual]
    for each in sorted(counted, key=lambda each: each.source):
        _add_counting(figures, [each], f" {each.source}")
    _add_counting_by_light(figures, scenes)
    _add_counting(figures, counted, "")
    data = f"detect/val, persons, real clips, and virtual scenes of {LONG_S} s"
    return _metrics(dict(sorted(figures.items())), slices, field, total_of(scenes), data)


def judge(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
    """The gate's evaluation. ``quality`` is the mean of two numbers: the F1 of single crossings over all
    sources, and the mean accuracy over the slices of detection; without a data folder, the latter. Raises as
    `evaluate`."""
    model = load_model(bundle, find_profile())
    detect = _detect_with(model)
    slices, field = _judge_slices(detect, samples)
    figures: Figures = {}
    if data_path is None:
        return _metrics(figures, slices, field, None, "")
    counted = [judge_scene(partial(count, model), judged_scenes(GATE_S, SMALL_SIZE)[1], GATE_S)]
    guarded: dict[str, Sequence[Judged]] = dict(_by_light(counted))
    clips = [judge_clip(partial(count, model), truth, data_path) for truth in read_truths()]
    guarded |= {each.source: [each] for each in clips}
    counted += clips
    splits = load_splits(data_path)
    for name, images in (("detect/val", splits.val), ("persons", splits.judged_persons)):
        accuracy = evaluate_detector(detect, with_truth(images)).accuracy()
        slices[f"detection {name}"] = Figure(accuracy.map50_95, count=len(images), unit="mAP50-95")
    data = f"detect/val, persons, real clips, and a virtual scene of {GATE_S} s"
    _add_counting(figures, counted, "")
    metrics = _metrics(figures, dict(slices), field, total_of(counted), data)
    for name, parts in guarded.items():
        found, virtual = total_of(parts), all(each.virtual for each in parts)
        if found.true >= MIN_CROSSINGS:
            slices[f"counting {name}"] = Figure(found.f1, count=found.true, unit="F1", virtual=virtual)
    return replace(metrics, slices=slices)


def _metrics(figures: Figures, slices: Figures, field: int, total: Score | None, data: str) -> Metrics:
    people = [figure.value for figure in slices.values() if figure.unit == PERSON_AP50]
    accuracy = float(np.mean([figure.value for figure in slices.values()]))
    virtual = not field and not data
    figures["person_ap50"] = Figure(float(np.mean(people)), unit="mean over slices", virtual=virtual)
    quality = accuracy if total is None else (total.f1 + accuracy) / 2
    figures["quality"] = Figure(quality, virtual=virtual)
    return Metrics(figures, slices, data=data, evidence={"pictures": field})


def _detect_with(model: OnnxModel) -> Detect:
    return partial(Detector(model).detect, min_score=MIN_SCORE)


def _tasks(bundle_path: Path, data_path: Path) -> list[Callable[[], Part]]:
    """All of a whole evaluation, the longest first."""
    scenes_and_clips = counting_tasks(partial(app_counter, bundle_path), LONG_S, data_path)
    sets = [partial(_judge_set, bundle_path, name, data_path) for name in reversed(SETS)]
    return [*scenes_and_clips, *sets, partial(_judge_all_zones, bundle_path, data_path)]


def _timed(tasks: Sequence[Callable[[], Part]]) -> Iterable[Part]:
    begun_s = time.monotonic()
    log.info("evaluating in %d parts", len(tasks))
    for number, part in enumerate(run_all(tasks), start=1):
        what = "zones" if isinstance(part, list) else part.source if isinstance(part, Judged) else part.name
        log.info("%d of %d after %.0f s: %s", number, len(tasks), time.monotonic() - begun_s, what)
        yield part


def _judge_set(bundle_path: Path, name: str, data_path: Path) -> SetScore:
    detectors = detectors_of(open_bundle(bundle_path), find_profile())
    truths: list[Truth] = []
    found = evaluate_all(detectors, _kept(judged_sets(data_path)[name], truths))
    before = [Detections.of(each.boxes_xyxy_px, classes=each.classes) for each in truths]
    return SetScore(name, found, match_detections([*before[-1:], *before[:-1]], truths))


def _kept(pictures: Iterable[Picture], truths: list[Truth]) -> Iterable[Picture]:
    for frame, truth in pictures:
        truths.append(truth)
        yield frame, truth


def _judge_all_zones(bundle_path: Path, data_path: Path) -> list[ZoneScore]:
    model = load_model(open_bundle(bundle_path), find_profile())
    return [found for truth in read_truths() for found in judge_zones(model, truth, data_path)]


def _by_light(scenes: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Each third of the scenes, which have a light each."""
    found: dict[str, list[Judged]] = {}
    for at, light in enumerate(LIGHTS):
        shares = at / len(LIGHTS), (at + 1) / len(LIGHTS)
        found[light] = [each.between(*(share * each.duration_s for share in shares)) for each in scenes]
    return found


def detectors_of(bundle: Bundle, profile: Profile) -> dict[str, Detect]:
    """The bundle's model files that run on this device, by name."""
    found: dict[str, Detect] = {}
    for variant in bundle.manifest.model_files():
        try:
            model = load_variant(bundle, variant, profile)
        except BundleIncompatible:
            continue  # Its runtime is not installed here.
        found[variant.file] = _detect_with(model)
    return found


def evaluate_all(detectors: Mapping[str, Detect], pictures: Iterable[Picture]) -> dict[str, Evaluation]:
    """Each detector on the same pictures, which are read once."""
    found: dict[str, list[Detections]] = {name: [] for name in detectors}
    truths: list[Truth] = []
    for frame, truth in pictures:
        truths.append(truth)
        for name, detect in detectors.items():
            found[name].append(detect(frame))
    return {name: match_detections(detections, truths) for name, detections in found.items()}


def judged_sets(data_path: Path) -> dict[str, Iterable[Picture]]:
    """The sets of pictures that judge detection, to be read once. Raises `DatasetError`."""
    splits = load_splits(data_path)
    return {
        "detect/val": with_truth(splits.val),
        "persons": with_truth(splits.judged_persons),
        RENDERED: RenderedFrames(SET_SEED, SET_FRAMES, SET_STEP),
    }


@cache  # Of a job, which judges two models and ends: 60 MB.
def _slice_pictures(scene: str) -> Mapping[str, Sequence[Picture]]:
    """The pictures of the slices of a scene, by light."""
    busy = busy_scene(EVALUATION_SEED + SLICED_SCENES.index(scene), scene, SMALL_SIZE)
    return labelled_frames(busy, LIGHTS, JUDGED_FRAMES, FRAME_STEP)


def _judge_slices(detect: Detect, samples: Sequence[LabelledSample]) -> tuple[Figures, int]:
    """Person AP50 on rendered frames by scene and light, and on the labelled pictures of the field; the
    number of these."""
    slices: Figures = {}
    for scene in SLICED_SCENES:
        for light, pictures in _slice_pictures(scene).items():
            accuracy = evaluate_detector(detect, pictures).accuracy()
            slices[f"{scene} {light}"] = Figure(accuracy.ap50(PERSON), unit=PERSON_AP50, virtual=True)
    field = list(labelled_pictures(samples, []))
    if field:
        accuracy = evaluate_detector(detect, field).accuracy()
        slices["field"] = Figure(accuracy.ap50(PERSON), count=len(field), unit=PERSON_AP50)
    known = {name: figure for name, figure in slices.items() if np.isfinite(figure.value)}
    return known, len(field)


def _add_counting_by_light(figures: Figures, scenes: Sequence[Judged]) -> None:
    for light, parts in _by_light(scenes).items():
        _add_counting(figures, parts, f" {light}")


def _add_counting(figures: Figures, sources: Sequence[Judged], name: str) -> None:
    found, ends = total_of(sources), intervals(sources)
    by_chance = total_of(each.evenly_spaced() for each in sources).figures()
    virtual = all(each.virtual for each in sources)
    for figure, value in found.figures().items():
        of = f"{figure}{name}"
        low, high = ends.get(figure, (None, None))
        figures[of] = Figure(value, low, high, found.true, UNITS[figure], virtual=virtual)
        if found.true:
            rule, other = (
                ("no_counting", 100.0)
                if figure == "count_error_percent"
                else ("even_spacing", by_chance[figure])
            )
            figures[f"{of}_of_{rule}"] = Figure(other, count=found.true, unit=UNITS[figure], virtual=virtual)


def _add_zones(figures: Figures, zones: Sequence[ZoneScore]) -> None:
    for zone in zones:
        for figure, value in zone.figures().items():
            if figure.startswith("zone_occupancy") or zone.true_visits:
                count = len(zone.people) if figure.startswith("zone_occupancy") else zone.true_visits
                figures[f"{figure} {zone.name}"] = Figure(value, count=count, unit=UNITS[figure])
        rule = f"zone_occupancy_error {zone.name}_of_best_constant"
        figures[rule] = Figure(zone.constant_error, count=len(zone.people), unit="people")


def _add_set(figures: Figures, judged: SetScore) -> None:
    virtual = judged.name == RENDERED
    chance = judged.previous_truth.accuracy().figures()
    for variant, found in judged.found.items():
        ends = found.intervals()
        for figure, value in found.accuracy().figures().items():
            if np.isfinite(value):
                of = f"{figure} {variant} {judged.name}"
                low, high = ends.get(figure, (None, None))
                figures[of] = Figure(value, low, high, found.images, "AP over images", virtual=virtual)
                rule = f"{of}_of_picture_before"
                figures[rule] = Figure(
                    chance[figure], count=found.images, unit="AP over images", virtual=virtual
                )

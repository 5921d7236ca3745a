"""Training job of the ECG app: from recordings and clinicians' reviews of strips to a bundle.

A first model (or ``recipe=full``) grows trees on DS1 of the MIT-BIH Arrhythmia Database where a data folder
is named, which must have it, and on virtual patients (`apps.ecg.training.full_recipe`,
`apps.ecg.training.virtual_training_patients`); without a folder, on virtual patients only. Any other job is
quick: it keeps the production model's trees and fits corrections on labelled strips, with known recordings
replayed (`apps.ecg.training.corrections`), so it needs no database. Evaluation is by
`apps.ecg.training.evaluation`: patients with held-out strips, virtual patients, and sensitivity to V, each
guarded.

No record of DS2 and no held-out patient is used for training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.ecg.edge.beats import FEATURE_NAMES, FEATURES, KINDS, decided
from apps.ecg.edge.peaks import NETWORK
from apps.ecg.edge.rhythm import RHYTHM_FEATURES, RHYTHM_NAMES
from apps.ecg.training.corrections import Lesson, balanced, field_weight, fit_correction, strips_of
from apps.ecg.training.dataset import DS1, load_record, mitdb_in
from apps.ecg.training.evaluation import (
    EVALUATION_SEED,
    Scorer,
    evaluate,
    scorer_of,
    virtual_patient,
    virtual_patients,
)
from apps.ecg.training.examples import (
    UNKNOWN,
    Examples,
    examples_of,
    recording_of,
    rhythm_rows,
    with_leads_between,
)
from apps.ecg.training.full_recipe import BEAT_RECIPE, NOVEL_RATE, fit
from apps.ecg.training.graph import Correction, Corrections, read_corrections, with_corrections, write_graph
from apps.ecg.training.virtual_training_patients import training_patients
from common.app.training import GateRule, TrainContext
from common.bundle import (
    Bundle,
    DriftSpec,
    Limits,
    Manifest,
    TensorSpec,
    file_digest,
    open_bundle,
    seal,
    write_golden,
)
from common.training.lineage import lineage_of

__all__ = ["check_parameters", "evaluate", "gate", "train"]

gate = GateRule("ecg_fleet_score", higher_is_better=True, min_gain=0.005, slice_tolerance=0.03)
"""Every patient's score is guarded, and so is the sensitivity to V (`evaluation.V_SLICES`)."""

check_parameters = {"virtual_patients": 2}

VIRTUAL_SEED = 5_000
VIRTUAL_PATIENTS = 12
TRAINING_SEED = 11
TRAINING_PATIENTS_EACH = 4
"""Number of virtual training patients of the full recipe, for each replayed one."""
LATENCY_LIMIT_MS = 5.0
NOVELTY_BOUND = 1e7
GOLDEN_CASES = 16
BETWEEN = (-1.05, -0.5, 0.5, 1.05)
"""Angles, in the plane of a recording's two leads, of additional training leads: 22 patients are few, and
another electrode records another beat. By folds over DS1 they raise the F1 of V and S by 0.01."""
MAX_REPLAYED = 150
"""Limit of replayed beats of a class of a recording."""


@dataclass(frozen=True, slots=True)
class Known:
    """Recordings with known truth for every training, and digests of their sources."""

    real: tuple[Examples, ...]
    virtual: tuple[Examples, ...]
    digests: dict[str, str]


def known_examples(context: TrainContext, *, every_lead: bool = True) -> Known:
    """DS1, where a data folder is named (with ``every_lead`` also leads between its two, `BETWEEN`), and
    virtual patients.

    The parameter ``mitdb`` (false) leaves DS1 out, ``virtual_patients`` is their number. Raises
    `DatasetError` for a data folder without all of DS1.
    """
    wanted = context.data_path is not None and context.parameters.get("mitdb", True)
    folder = mitdb_in(context.data_path, DS1) if wanted and context.data_path is not None else None
    real: list[Examples] = []
    digests: dict[str, str] = {}
    for number, name in enumerate(DS1 if folder is not None else ()):
        assert folder is not None
        recording = recording_of(load_record(folder, name))
        if every_lead:
            recording = with_leads_between(recording, BETWEEN)
        real += examples_of(recording, range(recording.signal_mv.shape[1]) if every_lead else (0,))
        digests[f"mitdb/{name}.dat"] = file_digest(folder / f"{name}.dat")
        digests[f"mitdb/{name}.atr"] = file_digest(folder / f"{name}.atr")
        context.progress(0.3 * (number + 1) / len(DS1), f"read record {name}")
    virtual = virtual_patients(
        context.whole_number("virtual_patients", VIRTUAL_PATIENTS, maximum=1000), VIRTUAL_SEED
    )
    digest = hashlib.sha256(b"".join(one.rows.features.tobytes() for one in virtual)).hexdigest()
    return Known(tuple(real), virtual, digests | {"virtual-patients": digest})


def train(context: TrainContext) -> Bundle:
    """Make a bundle in ``context.output``.

    Parameters: ``recipe`` (``full`` or ``quick``), ``mitdb``, ``virtual_patients``, ``max_rounds`` (limit of
    the full recipe's boosting rounds). Raises `TrainingError` for a bad one, `DatasetError` for an absent or
    malformed data set.
    """
    full = _is_full(context)
    context.progress(0.0, "reading recordings")
    return train_on(context, known_examples(context, every_lead=full))


def _is_full(context: TrainContext) -> bool:
    recipe = context.choice("recipe", ("full", "quick"), "full" if context.parent is None else "quick")
    return recipe == "full" or context.parent is None


def train_on(context: TrainContext, known: Known) -> Bundle:
    """`train` on recordings already read."""
    strips, refused = strips_of(context.samples)
    for reason in refused:
        context.progress(0.3, f"left out: {reason}")
    count = len({one.patient for one in known.real})
    context.progress(0.3, f"{count} records, {len(known.virtual)} virtual patients, {len(strips)} strips")
    if _is_full(context) or context.parent is None:
        parameters = _grow(context, known)
        source = context.output / "model.onnx"
    else:
        parameters = dict(context.parent.manifest.parameters)
        parameters.pop("measured", None)
        source = context.parent.model_path()
    if strips or source.parent != context.output:
        evaluated = [one for one in (*known.real, *known.virtual) if one.lead == 0]
        beat, rhythm = _correct(read_corrections(source), scorer_of(source, parameters), evaluated, strips)
        with_corrections(source, context.output / "model.onnx", beat, rhythm)
    context.progress(0.95, "writing the bundle")
    return _write(context, parameters | {"strips": len(strips)}, known.digests)


def _grow(context: TrainContext, known: Known) -> dict[str, Any]:
    """The full recipe: writes the graph; returns the manifest's parameters."""
    max_rounds = context.whole_number("max_rounds", BEAT_RECIPE.rounds, maximum=1000)
    context.progress(0.3, "simulating training patients")
    simulated = tuple(training_patients(TRAINING_PATIENTS_EACH * len(known.virtual), TRAINING_SEED))
    fitted = fit(
        known.real or simulated,
        simulated if known.real else (),
        context.seed,
        lambda share: context.progress(0.3 + 0.6 * share, "growing trees"),
        max_rounds=max_rounds,
    )
    zero = (
        Correction(np.zeros((FEATURES, len(KINDS)), np.float32), np.zeros(len(KINDS), np.float32)),
        Correction(np.zeros((RHYTHM_FEATURES, 1), np.float32), np.zeros(1, np.float32)),
    )
    corrections = Corrections(fitted.beat_scale, zero[0], fitted.rhythm_scale, zero[1])
    write_graph(context.output / "model.onnx", fitted.beat, fitted.rhythm, corrections, fitted.novelty)
    return {
        "operating_point": fitted.odds,
        "af_on": fitted.limits.af_on,
        "af_off": fitted.limits.af_off,
        "by_folds": fitted.by_folds,
        "output_bounds": {"beat_p": [0.0, 1.0], "rhythm_p": [0.0, 1.0], "novelty": [0.0, NOVELTY_BOUND]},
    }


def _correct(
    corrections: Corrections, scorer: Scorer, known: Sequence[Examples], strips: Sequence[Examples]
) -> tuple[Correction, Correction]:
    """Corrections of both heads from strips, with known recordings replayed; unchanged without strips."""
    if not strips:
        return corrections.beat, corrections.rhythm
    beats: dict[str, list[Any]] = {"known": [], "field": []}
    rhythms: dict[str, list[Any]] = {"known": [], "field": []}
    random = np.random.default_rng(0)
    for where, one in [*(("known", one) for one in known), *(("field", one) for one in strips)]:
        found = scorer(one)
        chosen = np.flatnonzero(one.kinds != UNKNOWN)
        if where == "known":
            chosen = np.concatenate(
                [random.permutation(np.flatnonzero(one.kinds == k))[:MAX_REPLAYED] for k in range(len(KINDS))]
            )
        if len(chosen):
            beats[where].append(
                (one.patient, one.rows.features[chosen], found.beat_p[chosen], one.kinds[chosen])
            )
        known_af = found.af != UNKNOWN
        if np.any(known_af):
            rhythms[where].append(
                (
                    one.patient,
                    found.rhythm.features[known_af],
                    found.rhythm_p[known_af, np.newaxis],
                    found.af[known_af],
                )
            )
    return (
        _corrected(beats, corrections.beat_scale, corrections.beat),
        _corrected(rhythms, corrections.rhythm_scale, corrections.rhythm),
    )


def _corrected(parts: Mapping[str, Sequence[Any]], scale: Any, start: Correction) -> Correction:
    """``start`` moved by lessons; unchanged without labels of this kind."""
    if not parts["field"]:
        return start
    people = {where: [who for who, *_ in part] for where, part in parts.items()}
    shares = {"known": 1.0, "field": field_weight(people["field"], people["known"])}
    lessons = []
    for where, part in parts.items():
        scaled = scale.apply(np.concatenate([rows for _, rows, _, _ in part]))
        chances = np.clip(np.concatenate([p for _, _, p, _ in part]).astype(np.float64), 1e-7, 1 - 1e-7)
        targets = chances.shape[1]
        scores = np.log(chances) if targets > 1 else np.log(chances / (1 - chances))
        truth = np.concatenate([t for *_, t in part])
        groups = np.concatenate([np.full(len(t), who) for who, *_, t in part])
        true = truth[:, np.newaxis] == (np.arange(targets) if targets > 1 else 1)
        wanted = chances if where == "known" else true.astype(np.float64)
        offsets = scores - (scaled @ start.weights + start.bias)
        lessons.append(Lesson(scaled, offsets, wanted, balanced(truth, groups, shares[where])))
    return fit_correction(lessons, start)


def _write(context: TrainContext, parameters: Mapping[str, Any], digests: Mapping[str, str]) -> Bundle:
    output = context.output
    _write_golden(output, parameters)
    detector = open_bundle(NETWORK, app="ecg")  # all features are at its R peaks
    lineage = {**digests, f"R peaks: qrs {detector.version}": file_digest(detector.model_path())}
    if context.parent is not None:
        lineage = {
            f"parent:{k}": v for k, v in context.parent.manifest.lineage.data.items() if k not in digests
        } | lineage
    manifest = Manifest(
        app="ecg",
        version=context.version,
        task="AAMI class of each beat, probability of atrial fibrillation, and novelty; not a medical device",
        inputs=[
            TensorSpec(
                name="beats",
                dtype="float32",
                shape=[None, FEATURES],
                columns=list(FEATURE_NAMES),
                preprocessing="apps.ecg.edge.beats",
            ),
            TensorSpec(
                name="rhythm",
                dtype="float32",
                shape=[None, RHYTHM_FEATURES],
                columns=list(RHYTHM_NAMES),
                preprocessing="apps.ecg.edge.rhythm",
            ),
        ],
        outputs=[
            TensorSpec(name="beat_p", dtype="float32", shape=[None, len(KINDS)], columns=list(KINDS)),
            TensorSpec(name="rhythm_p", dtype="float32", shape=[None]),
            TensorSpec(name="novelty", dtype="float32", shape=[None]),
        ],
        precision="fp32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=LATENCY_LIMIT_MS),
        lineage=lineage_of(context, lineage),
        tolerance={"beat_p": 0.01, "rhythm_p": 0.01, "novelty": 0.05},
        classes=list(KINDS),
        drift=DriftSpec(output="novelty", threshold=1.0, rate=NOVEL_RATE),
        parameters=dict(parameters),
    )
    return seal(output, manifest)


def _write_golden(output: Path, parameters: Mapping[str, Any]) -> None:
    """Cases from a virtual patient with ectopic beats who goes into AF."""
    one = virtual_patient(3, EVALUATION_SEED + 1)
    scorer = scorer_of(output / "model.onnx", parameters)
    rows, _ = rhythm_rows(one, decided(scorer(one).beat_p, scorer.odds))
    beats = one.rows.features[np.linspace(0, len(one.rows) - 1, GOLDEN_CASES).astype(int)]
    rhythm = rows.features[np.linspace(0, len(rows) - 1, GOLDEN_CASES).astype(int)]
    write_golden(output, {"beats": beats, "rhythm": rhythm}, scorer.run(beats, rhythm))

"""Evaluation of a model: the benchmark on MIT-BIH's DS2, and the patients of the gate.

*Benchmark* (``ecg_*``): records of DS2, which no training sees (de Chazal, O'Dwyer, Reilly 2004; records 201
of DS1 and 202 of DS2 are of one person), through the streaming path: the app's own R peaks, each matched to
an annotated beat within 150 ms. A beat without a peak is a miss of its class, a peak without a beat
a false positive of its assigned class. Intervals are 95 % by bootstrap over records. Ventricular flutter is
excluded, as in EC57. It needs a data folder with the whole database and runs without held-out strips only: no
decision depends on it.

*Fleet* (``ecg_fleet_score`` and the slices): virtual patients, and each patient with held-out strips. A
patient's score is the mean of two shares, where measurable: correct beats, averaged over the classes N, S and
V that occur, and correct decisions on AF, averaged over AF and no AF. The figure is the mean over slices;
sensitivity to V (`V_SLICES`) is guarded as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import FEATURE_NAMES, FEATURES, KINDS, decided
from apps.ecg.edge.episodes import EpisodeLimits
from apps.ecg.edge.rhythm import RHYTHM_FEATURES, RHYTHM_NAMES, RhythmRows, suppress_s_in_af
from apps.ecg.training.corrections import strips_of
from apps.ecg.training.dataset import DS2, load_record, mitdb_in, published
from apps.ecg.training.durations import Durations, durations_of
from apps.ecg.training.examples import (
    UNKNOWN,
    Examples,
    examples_of,
    recording_of,
    rhythm_rows,
    virtual_recording,
)
from apps.ecg.training.full_recipe import beat_counts
from apps.ecg.training.scoring import NOTHING, Counts, drawn_patients, f1, f1_of_aami, ppv, sensitivity
from common.app.training import Figure, LabelledSample, Metrics
from common.bundle import Bundle
from common.model.inference import open_session

EVALUATION_SEED = 90_000
"""Seed of the virtual patients of the evaluation, disjoint from those of training."""
FLEET_PATIENTS = 8
VIRTUAL_S = 150.0
MAX_KEPT = 32
"""Maximum number of virtual patients kept in memory."""
VIRTUAL_KINDS: Mapping[str, Mapping[str, str]] = {
    "sinus": {},
    "ventricular": {"pvc": "10"},
    "atrial": {"pac": "8"},
    "af": {"pvc": "3", "episodes": "AF:50-150"},
}
"""Parameters of ordinary virtual patients by slice."""
PATIENT = "patient:"
V_SLICES = ("v_sensitivity:virtual", "v_sensitivity:field")
S_RECORD = "232"
"""Record with most of DS2's beats of class S."""
MIN_OF_CLASS = 5
"""Minimum number of beats of a class for its sensitivity."""
_EARLY, _UNLIKE, _IRREGULAR = 0.85, 0.9, 0.1


@dataclass(frozen=True, slots=True)
class Scored:
    """Model outputs on a recording: beats, and rhythm rows with their truth and probability of AF."""

    beat_p: NDArray[np.float64]
    kinds: NDArray[np.int64]
    rhythm: RhythmRows
    af: NDArray[np.int64]
    rhythm_p: NDArray[np.float64]
    novelty: NDArray[np.float64]


class Scorer:
    """A model with its operating point."""

    def __init__(self, session: Any, parameters: Mapping[str, Any]) -> None:
        self._session = session
        self.odds: Mapping[str, float] = parameters.get("operating_point", {})
        usual = EpisodeLimits()
        self.limits = EpisodeLimits(
            af_on=float(parameters.get("af_on", usual.af_on)),
            af_off=float(parameters.get("af_off", usual.af_off)),
        )

    def run(self, beats: NDArray[np.float32], rhythm: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        names = ["beat_p", "rhythm_p", "novelty"]
        return dict(zip(names, self._session.run(names, {"beats": beats, "rhythm": rhythm}), strict=True))

    def __call__(self, one: Examples) -> Scored:
        none = np.empty((0, RHYTHM_FEATURES), np.float32)
        found = self.run(one.rows.features, none)
        beat_p = np.asarray(found["beat_p"], np.float64)
        kinds = decided(beat_p, self.odds)
        rows, af = rhythm_rows(one, kinds)
        rhythm_p = self.run(np.empty((0, FEATURES), np.float32), rows.features)["rhythm_p"]
        return Scored(
            beat_p,
            suppress_s_in_af(kinds, one.rows.samples, rows.samples, rhythm_p, self.limits.af_off),
            rows,
            af,
            np.asarray(rhythm_p, np.float64),
            np.asarray(found["novelty"], np.float64),
        )


def scorer_of(model_path: Path, parameters: Mapping[str, Any]) -> Scorer:
    """Runs the ONNX graph at ``model_path`` on one thread."""
    session = open_session(model_path)
    return Scorer(session, parameters)


def virtual_patients(count: int, seed: int) -> tuple[Examples, ...]:
    """Ordinary virtual patients ``0`` to ``count - 1`` of ``seed`` (`virtual_patient`)."""
    return tuple(virtual_patient(number, seed) for number in range(count))


@lru_cache(maxsize=MAX_KEPT)
def virtual_patient(number: int, seed: int) -> Examples:
    """One of the ordinary virtual patients, of `VIRTUAL_KINDS` in turn; named ``KIND-SEED``."""
    kind = list(VIRTUAL_KINDS)[number % len(VIRTUAL_KINDS)]
    parameters = {"seed": str(seed + number), "name": f"{kind}-{seed + number}"} | dict(VIRTUAL_KINDS[kind])
    return examples_of(virtual_recording(parameters, VIRTUAL_S))[0]


def evaluate(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
    """Figures and slices of ``bundle`` (see the module). ``samples`` are held-out ones."""
    scorer = scorer_of(bundle.model_path(), bundle.manifest.parameters)
    strips = strips_of(samples)[0]
    slices = fleet_slices(scorer, strips)
    scores = [figure.value for name, figure in slices.items() if name not in V_SLICES]
    strip_count = sum(figure.count or 0 for name, figure in slices.items() if name.startswith(PATIENT))
    unit = f"mean over slices, {FLEET_PATIENTS} virtual patients and {strip_count} held-out strips"
    fleet = Figure(float(np.mean(scores)), count=len(scores), unit=unit, virtual=strip_count == 0)
    figures = {"ecg_fleet_score": fleet}
    data = ""
    if data_path is not None and not samples:
        from apps.ecg.training import qrs_scoring

        folder = mitdb_in(data_path)
        whole = published(folder)
        name = "MIT-BIH, the published files" if whole else "files named as MIT-BIH's, not the published ones"
        data = f"{name}, in {folder}"
        measured = benchmark(scorer, folder)
        measured |= qrs_scoring.figures(list(qrs_scoring.measure_qrs(folder)))
        figures |= {
            key: figure if whole else replace(figure, unit=f"{figure.unit}, not the published files")
            for key, figure in measured.items()
        }
        figures |= measured_before(bundle.manifest.parameters)
    return Metrics(figures, slices, data, {"strips": strip_count})


# ---------------------------------------------------------------------------------------------- fleet


def fleet_slices(scorer: Scorer, strips: Sequence[Examples]) -> dict[str, Figure]:
    """Scores by slice, and sensitivity to V."""
    groups: dict[str, list[Examples]] = {}
    for one in virtual_patients(FLEET_PATIENTS, EVALUATION_SEED):
        groups.setdefault(f"virtual:{one.patient.partition('-')[0]}", []).append(one)
    for strip in strips:
        groups.setdefault(f"{PATIENT}{strip.patient}", []).append(strip)
    slices: dict[str, Figure] = {}
    ventricular: dict[str, list[Counts]] = {name: [] for name in V_SLICES}
    for name, group in sorted(groups.items()):
        scored = [scorer(one) for one in group]
        counts = np.sum([beat_counts(o, s.kinds) for o, s in zip(group, scored, strict=True)], axis=0)
        ventricular[V_SLICES[0 if name.startswith("virtual:") else 1]].append(counts)
        truth, chances = (np.concatenate([getattr(s, name) for s in scored]) for name in ("af", "rhythm_p"))
        called = chances >= 0.5 * (scorer.limits.af_on + scorer.limits.af_off)
        score = _score(counts, truth[truth != UNKNOWN], called[truth != UNKNOWN])
        if score is not None:
            virtual = name.startswith("virtual:")
            of = f"share, {len(group)} {'virtual patients' if virtual else 'held-out strips'}"
            slices[name] = Figure(score, count=len(group), unit=of, virtual=virtual)
    for name, counts in ventricular.items():
        total: Counts = np.sum(counts, axis=0) if counts else np.zeros((NOTHING + 1, NOTHING + 1), np.int64)
        true = int(total[KINDS.index("V")].sum())
        if true >= MIN_OF_CLASS:
            virtual = name == V_SLICES[0]
            unit = f"share of V beats, {'virtual patients' if virtual else 'held-out strips'}"
            slices[name] = Figure(float(sensitivity(total, "V")), count=true, unit=unit, virtual=virtual)
    return slices


def _score(counts: Counts, truth: NDArray[np.int64], called: NDArray[np.bool_]) -> float | None:
    """A patient's score, from beats and decisions on AF; None if neither is measurable."""
    parts = []
    shares = [sensitivity(counts, k) for k in "NSV" if counts[KINDS.index(k)].sum() >= MIN_OF_CLASS]
    if shares:
        parts.append(float(np.mean(shares)))
    if len(truth):
        parts.append(float(np.mean([np.mean(called[truth == value] == value) for value in np.unique(truth)])))
    return float(np.mean(parts)) if parts else None


# ------------------------------------------------------------------------------------------ benchmark


def benchmark(scorer: Scorer, folder: Path, names: Sequence[str] = DS2) -> dict[str, Figure]:
    """Beats and AF on records of MIT-BIH, with trivial rules as baselines."""
    return benchmark_of(scorer, [examples_of(recording_of(load_record(folder, name)))[0] for name in names])


def benchmark_of(scorer: Scorer, examples: Sequence[Examples]) -> dict[str, Figure]:
    """`benchmark` on records that have been read."""
    scored = [scorer(one) for one in examples]
    counts = [beat_counts(one, found.kinds) for one, found in zip(examples, scored, strict=True)]
    rule = [beat_counts(one, rr_rule(one)) for one in examples]
    majority = [beat_counts(one, np.zeros(len(one.rows), np.int64)) for one in examples]
    without = [each for each, one in zip(counts, examples, strict=True) if one.patient != S_RECORD]
    unit = f"{len(examples)} records of MIT-BIH"
    figures: dict[str, Figure] = {}
    for kind in "VSFN":
        of = kind.lower()
        figures[f"ecg_{of}_f1"] = _bootstrapped(counts, lambda c, k=kind: f1(c, k), unit)
        figures[f"ecg_{of}_sensitivity"] = _bootstrapped(counts, lambda c, k=kind: sensitivity(c, k), unit)
        figures[f"ecg_{of}_ppv"] = _bootstrapped(counts, lambda c, k=kind: ppv(c, k), unit)
    lenient = "F or Q called V, Q called S: no false one"
    for kind in "VS":
        figures[f"ecg_{kind.lower()}_f1_of_aami"] = _bootstrapped(
            counts, lambda c, k=kind: f1_of_aami(c, k), lenient
        )
    figures["ecg_s_f1_without_232"] = _bootstrapped(without, lambda c: f1(c, "S"), f"without {S_RECORD}")
    figures["ecg_accuracy"] = _bootstrapped(counts, _accuracy, unit)
    figures["ecg_accuracy_of_majority"] = _bootstrapped(majority, _accuracy, "all beats N")
    figures["ecg_v_f1_of_rr_rule"] = _bootstrapped(rule, lambda c: f1(c, "V"), "early and unlike: V")
    figures["ecg_s_f1_of_rr_rule"] = _bootstrapped(rule, lambda c: f1(c, "S"), "early and alike: S")
    total = np.sum(counts, axis=0)
    called = [*KINDS, "nothing"]
    for truth, row in zip(called, total, strict=True):
        for decision, count in zip(called, row, strict=True):
            if truth != "nothing" or decision != "nothing":
                figures[f"ecg_confusion_{truth}_as_{decision}"] = Figure(float(count), unit="beats")
    novel = np.concatenate(
        [found.novelty[one.kinds != UNKNOWN] for one, found in zip(examples, scored, strict=True)]
    )
    figures["ecg_novelty_rate"] = Figure(float(np.mean(novel > 1)), count=len(novel), unit="share of beats")
    return figures | fibrillation(scorer.limits, examples, scored)


def fibrillation(
    limits: EpisodeLimits, examples: Sequence[Examples], scored: Sequence[Scored]
) -> dict[str, Figure]:
    """AF by duration and by episode. Flutter (``(AFL``) counts as no AF, detected or annotated."""
    column = RHYTHM_NAMES.index("rmssd(24)")
    found = [durations_of(o, s.rhythm, s.rhythm_p, limits) for o, s in zip(examples, scored, strict=True)]
    plain = [
        durations_of(o, s.rhythm, (s.rhythm.features[:, column] > _IRREGULAR).astype(float), limits)
        for o, s in zip(examples, scored, strict=True)
    ]
    always = [
        durations_of(o, s.rhythm, np.ones(len(s.rhythm)), limits)
        for o, s in zip(examples, scored, strict=True)
    ]
    total = sum(found, Durations())
    seconds, episodes = total.found_s + total.missed_s, total.episodes

    def ratio(of: Sequence[Durations], top: str, bottom: Sequence[str], unit: str, count: int) -> Figure:
        table = [[getattr(each, top), *(getattr(each, name) for name in bottom)] for each in of]
        drawn = drawn_patients([np.array(row) for row in table])
        with np.errstate(invalid="ignore"):
            values = drawn[:, 0] / drawn[:, 1:].sum(axis=1)
        whole = np.sum(table, axis=0)
        lower, upper = np.nanquantile(values, [0.025, 0.975])
        return Figure(float(whole[0] / max(whole[1:].sum(), 1e-9)), float(lower), float(upper), count, unit)

    return {
        "ecg_af_f1": _af_f1(found, f"by duration, {seconds:.0f} s of AF"),
        "ecg_af_sensitivity": ratio(found, "found_s", ("found_s", "missed_s"), "by duration", round(seconds)),
        "ecg_af_ppv": ratio(found, "found_s", ("found_s", "wrong_s"), "by duration", round(seconds)),
        "ecg_af_episode_sensitivity": ratio(
            found, "episodes_found", ("episodes",), "episodes of 30 s or more", episodes
        ),
        "ecg_af_f1_of_rr_rule": _af_f1(plain, f"RMSSD of 24 intervals above {_IRREGULAR} of their median"),
        "ecg_af_f1_of_always": _af_f1(always, "always AF"),
    }


def _af_f1(durations: Sequence[Durations], unit: str) -> Figure:
    table = [np.array([d.found_s, d.wrong_s, d.missed_s]) for d in durations]

    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])

    lower, upper = np.nanquantile(value(drawn_patients(table)), [0.025, 0.975])
    return Figure(float(value(np.sum(table, axis=0))), float(lower), float(upper), len(table), unit)


def rr_rule(one: Examples) -> NDArray[np.int64]:
    """A rule of two numbers: an early beat is V if it is unlike the dominant one, else S."""
    early = one.rows.features[:, FEATURE_NAMES.index("rr/normal")] < np.log(_EARLY)
    unlike = one.rows.features[:, FEATURE_NAMES.index("alike_dominant")] < _UNLIKE
    return np.where(early, np.where(unlike, KINDS.index("V"), KINDS.index("S")), 0)


def measured_before(parameters: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures in the manifest of a starter, recorded by its training job: by folds over DS1, and over seeds.

    They are not measured again.
    """
    note = "recorded, not measured now"
    of = f"patients of DS1, unseen by the trees behind them; {note}"
    found = {
        f"ecg_{name}_by_folds": Figure(value, unit=of, recorded=True)
        for name, value in parameters.get("by_folds", {}).items()
    }
    for name, values in parameters.get("measured", {}).get("figures_of_seeds", {}).items():
        unit = f"mean over {len(values)} training seeds (minimum and maximum); {note}"
        found[f"{name}_mean_of_seeds"] = Figure(
            float(np.mean(values)), min(values), max(values), len(values), unit, recorded=True
        )
    return found


def _accuracy(counts: NDArray[Any]) -> NDArray[np.float64]:
    right = np.trace(counts[..., :NOTHING, :NOTHING], axis1=-2, axis2=-1)
    return right / counts.sum(axis=(-2, -1))


def _bootstrapped(counts: Sequence[Counts], statistic: Any, unit: str) -> Figure:
    """``statistic`` of the summed counts, with its 95 % bootstrap interval over patients."""
    total = np.sum(counts, axis=0)
    lower, upper = np.nanquantile(statistic(drawn_patients(counts)), [0.025, 0.975])
    return Figure(float(statistic(total)), float(lower), float(upper), int(total[:NOTHING].sum()), unit)

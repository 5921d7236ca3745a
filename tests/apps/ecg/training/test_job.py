"""Learning from the field without any database, and the gate, on virtual patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.app import SPEC
from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.ring import LSB_MV
from apps.ecg.training import job as training
from apps.ecg.training.corrections import field_weight, strips_of
from apps.ecg.training.evaluation import V_SLICES, evaluate, measured_before, scorer_of
from apps.ecg.training.examples import UNKNOWN, examples_of, rhythm_rows, virtual_recording
from apps.ecg.training.graph import Correction, read_corrections, with_corrections
from cloud_backend.training.gate import judge
from common.app.edge import Sample
from common.app.training import Label, LabelledSample, TrainContext
from common.bundle import Bundle, open_bundle, seal
from common.errors import DatasetError, TrainingError

pytestmark = pytest.mark.slow

STRIP_S = 30


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGELOOP_DATA", raising=False)


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return open_bundle(SPEC.starter, app="ecg")


@cache
def strips(seed: int, variant: str, rhythm: str, count: int = 6) -> tuple[LabelledSample, ...]:
    """Strips of one virtual patient in one rhythm, as the device sends them, confirmed by a clinician."""
    parameters = {"seed": f"{seed}", "variant": variant, "rhythm": rhythm, "pvc": "4", "name": f"p-{seed}"}
    recording = virtual_recording(parameters, float(STRIP_S * count))
    one = examples_of(recording)[0]
    rate = recording.rate_hz
    return tuple(
        strip_of(f"p-{seed}", recording.signal_mv[:, 0], rate, one.rows.samples, one.kinds, number, rhythm)
        for number in range(count)
    )


def strip_of(
    who: str, signal: np.ndarray, rate: float, peaks: np.ndarray, kinds: np.ndarray, number: int, rhythm: str
) -> LabelledSample:
    begin, length = round(number * STRIP_S * rate), round(STRIP_S * rate)
    inside = (peaks >= begin) & (peaks < begin + length)
    began_ns, ended_ns = number * STRIP_S * 10**9, (number + 1) * STRIP_S * 10**9
    called = np.zeros(inside.sum(), np.uint8)
    beats = [
        {"at_ms": 1e3 * (int(peak) - begin) / rate, "kind": KINDS[kind]}
        for peak, kind in zip(peaks[inside], kinds[inside], strict=True)
    ]
    bodies = {
        "beats": {"sample": None, "began_ns": began_ns, "beats": beats},
        "rhythm": {"began_ns": began_ns, "ended_ns": ended_ns, "rhythm": rhythm},
    }
    return LabelledSample(
        f"{who}-{number}",
        Sample(
            subject=who,
            group=who,
            captured_ns=ended_ns,
            reasons={"low_margin": 1.0},
            arrays={
                "signal": np.rint(signal[begin : begin + length, np.newaxis] / LSB_MV).astype(np.int16),
                "peaks": (peaks[inside] - begin).astype(np.int32),
                "kinds": called,
                "rhythm_p": np.zeros(3, np.float32),
            },
            attributes={"rate_hz": rate, "lsb_mv": LSB_MV, "began_ns": began_ns, "lead": "II"},
        ),
        [Label("ecg", who, who, kind, body, "person:a", 1) for kind, body in bodies.items()],
        held_out=False,
    )


def context(
    output: Path, parent: Bundle | None, samples: Sequence[LabelledSample], **parameters: object
) -> TrainContext:
    output.mkdir(parents=True, exist_ok=True)
    return TrainContext("2.0.0", parent, samples, output, None, 0, parameters, lambda _share, _message: None)


def test_a_strip_has_the_clinicians_labels() -> None:
    sample = strips(31, "typical", "sinus")[0]
    found, refused = strips_of([sample])
    assert not refused
    kinds = found[0].kinds
    labelled = [KINDS.index(beat["kind"]) for beat in sample.labels[0].body["beats"]]
    assert kinds[3:].tolist() == labelled[3 : len(kinds)]
    assert np.all(kinds[:3] == UNKNOWN)
    assert rhythm_rows(found[0], kinds)[1].tolist() == [0] * len(rhythm_rows(found[0], kinds)[0])


def test_training_leaves_out_unlabelled_strips_and_reports_damaged_ones() -> None:
    sample = strips(31, "typical", "sinus")[0]
    assert strips_of([replace(sample, labels=[])]) == ([], [])
    torn = replace(sample, sample=replace(sample.sample, arrays={"signal": np.zeros((5, 1), np.int16)}))
    found, refused = strips_of([torn])
    assert not found
    assert "p-31" in refused[0]


def test_a_label_of_another_time_does_not_apply_to_a_strip() -> None:
    first, second = strips(31, "typical", "sinus")[:2]
    assert strips_of([replace(first, labels=second.labels)]) == ([], [])


def test_corrections_of_a_rhythm_make_the_model_better_on_that_rhythm(
    starter: Bundle, tmp_path: Path
) -> None:
    strips_of_af = [s for seed in (41, 42) for s in strips(seed, "slow_af", "AF")]
    held_out = strips(43, "slow_af", "AF")
    candidate = training.train(context(tmp_path / "b", starter, strips_of_af))
    before, after = evaluate(starter, held_out, None), evaluate(candidate, held_out, None)
    assert after.slices["patient:p-43"].value > before.slices["patient:p-43"].value
    verdict = judge(training.gate, after, before)
    assert verdict.passed, verdict.reasons
    assert candidate.manifest.lineage.parent == starter.version
    assert candidate.manifest.parameters["strips"] == len(strips_of_af)


def test_one_strip_makes_the_model_better_on_its_patient_and_worse_on_nobody(
    starter: Bundle, tmp_path: Path
) -> None:
    first, *others = strips(44, "slow_af", "AF")
    candidate = training.train(context(tmp_path / "b", starter, [first]))
    before, after = evaluate(starter, others, None), evaluate(candidate, others, None)
    assert after.slices["patient:p-44"].value > before.slices["patient:p-44"].value + 0.1
    verdict = judge(training.gate, after, before)
    assert verdict.passed, verdict.reasons


def test_strips_on_which_the_device_was_right_change_little(starter: Bundle, tmp_path: Path) -> None:
    candidate = training.train(context(tmp_path / "b", starter, strips(45, "typical", "sinus")))
    known = examples_of(virtual_recording({"seed": "61", "pac": "5", "pvc": "5"}, 60.0))[0]
    before, after = (scorer_of(b.model_path(), b.manifest.parameters)(known) for b in (starter, candidate))
    assert np.abs(after.beat_p - before.beat_p).mean() < 0.005
    assert np.mean(after.kinds == before.kinds) > 0.99


@pytest.mark.parametrize(("field", "weight"), [("a", 1 / 3), ("aaaa", 1 / 3), ("ab", 2 / 3), ("abcd", 1.0)])
def test_a_patient_counts_like_a_known_one_however_many_strips(field: str, weight: float) -> None:
    assert field_weight(field, "xxyyz") == pytest.approx(weight)


def test_a_named_folder_without_the_database_is_never_replaced_by_virtual_patients(
    starter: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="has no MIT-BIH"):
        evaluate(starter, (), tmp_path)
    with pytest.raises(DatasetError, match="has no MIT-BIH"):
        training.train(replace(context(tmp_path / "b", starter, ()), data_path=tmp_path))


def test_figures_name_their_data(starter: Bundle) -> None:
    metrics = evaluate(starter, (), None)
    assert metrics.data == ""
    assert metrics.evidence == {"strips": 0}
    assert all(figure.virtual for figure in (*metrics.figures.values(), *metrics.slices.values()))
    judged = evaluate(starter, strips(43, "slow_af", "AF"), None)
    assert judged.evidence == {"strips": 6}
    assert judged.figures["ecg_fleet_score"].unit == (
        "mean over slices, 8 virtual patients and 6 held-out strips"
    )
    assert not judged.slices["patient:p-43"].virtual
    recorded = measured_before(starter.manifest.parameters)
    assert recorded
    assert all(f.recorded and "recorded, not measured now" in f.unit for f in recorded.values())


def test_a_model_that_loses_v_is_refused(starter: Bundle, tmp_path: Path) -> None:
    held_out = strips(43, "slow_af", "AF")
    blind = blinded(starter, tmp_path)
    before, after = evaluate(starter, held_out, None), evaluate(blind, held_out, None)
    assert before.slices[V_SLICES[0]].value > 0.8
    verdict = judge(training.gate, after, before)
    assert not verdict.passed
    assert any(V_SLICES[0] in reason for reason in verdict.reasons)


def blinded(starter: Bundle, folder: Path) -> Bundle:
    """The starter with all V called something else."""
    at = read_corrections(starter.model_path())
    bias = at.beat.bias.copy()
    bias[KINDS.index("V")] -= 50
    path = folder / "blind"
    path.mkdir()
    (path / "golden.npz").write_bytes((starter.path / "golden.npz").read_bytes())
    with_corrections(starter.model_path(), path / "model.onnx", Correction(at.beat.weights, bias), at.rhythm)
    return seal(path, starter.manifest)


def test_without_strips_a_job_changes_nothing(starter: Bundle, tmp_path: Path) -> None:
    made = training.train(context(tmp_path / "b", starter, ()))
    one = examples_of(virtual_recording({"seed": "9"}, 20.0))[0]
    models = [scorer_of(b.model_path(), b.manifest.parameters)(one).beat_p for b in (starter, made)]
    assert np.array_equal(models[0], models[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipe": "best"},
        {"virtual_patients": 0},
        {"virtual_patients": "4"},
        {"max_rounds": 0, "recipe": "full"},
    ],
)
def test_a_bad_parameter_is_an_error(starter: Bundle, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        training.train(context(tmp_path / "b", starter, (), **wrong))


def test_a_first_model_of_few_rounds_and_patients_is_small_and_knows_beats(
    starter: Bundle, tmp_path: Path
) -> None:
    made = training.train(context(tmp_path / "b", None, (), virtual_patients=1, max_rounds=4))
    assert made.model_path().stat().st_size < 0.2 * starter.model_path().stat().st_size
    one = examples_of(virtual_recording({"seed": "9", "pvc": "10"}, 60.0))[0]
    found = scorer_of(made.model_path(), made.manifest.parameters)(one)
    assert np.mean(found.kinds == one.kinds) > 0.8

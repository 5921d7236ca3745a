"""Training, evaluation and the starter, on virtual runs; small recipes keep it to seconds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.industrial.app import SPEC
from apps.industrial.benchmarks.baselines import figures_over_seeds
from apps.industrial.benchmarks.starter import measure_seed
from apps.industrial.domain import CHANNELS
from apps.industrial.edge.features import FEATURES, contributions, features_of_runs
from apps.industrial.training import job as training
from apps.industrial.training.calibration import Interval, fit_interval, fit_novelty
from apps.industrial.training.dataset import FILES, Run, features_of, find_cmapss
from apps.industrial.training.evaluation import (
    cut_runs,
    estimator_of,
    evaluate,
    field_runs,
    nasa_score,
    slice_name,
    virtual_runs,
)
from apps.industrial.training.graph import OUTPUTS, read_ensemble, write_graph
from apps.industrial.training.regression import (
    FOLDS,
    Network,
    Recipe,
    TrainingRun,
    augmented,
    fit_ensemble,
    fold_of,
)
from apps.industrial.training.replay import published_rul
from common.app.edge import Arrays, Sample
from common.app.training import Figure, Label, LabelledSample, TrainContext
from common.bundle import Bundle, Manifest, open_bundle
from common.errors import DatasetError, TrainingError
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.apps.industrial.training.test_dataset import write_set

SMALL: Mapping[str, Any] = {"cmapss": False, "virtual_runs": 60, "epochs": 4}
TINY = Recipe(hidden=(16,), epochs=2)


@pytest.fixture(autouse=True)
def _no_data_sets(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "fd001" not in request.node.name:
        monkeypatch.delenv("EDGELOOP_DATA", raising=False)


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return open_bundle(SPEC.starter, app="industrial")


def context(
    output: Path, parent: Bundle | None = None, samples: Sequence[LabelledSample] = (), **more: Any
) -> TrainContext:
    output.mkdir(parents=True, exist_ok=True)
    progress = more.pop("progress", lambda _share, _message: None)
    return TrainContext("9.1.0", parent, samples, output, None, 3, {**SMALL, **more}, progress)


def field_sample(
    run: Run, *, cycle: int | None = None, remaining: int = 0, note: str = "", **attributes: Any
) -> LabelledSample:
    """``run`` as a node uploads it, with a work order that closes it."""
    end = len(run.values) if cycle is None else cycle
    sample = Sample(
        "pump", run.name, 0, {"novelty": 1.0}, {"values": run.values.astype(np.float32)},
        {"first_cycle": 1, "last_cycle": len(run.values), "channels": list(CHANNELS), **attributes},
    )  # fmt: skip
    body = {"cycle": end, "remaining_cycles": remaining, "note": note}
    label = Label("industrial", "pump", run.name, "inspection" if remaining else "failure", body, "test", 1)
    return LabelledSample("digest", sample, [label], False)


def rmse(bundle: Bundle, runs: Sequence[Run]) -> float:
    found = estimator_of(bundle.model_path())(runs)
    return float(
        np.sqrt(np.mean([np.mean((e.rul - r.rul_cycles()) ** 2) for e, r in zip(found, runs, strict=True)]))
    )


def novelty_rate(bundle: Bundle, runs: Sequence[Run]) -> float:
    return float(np.mean([np.mean(e.novelty > 1) for e in estimator_of(bundle.model_path())(runs)]))


# ----------------------------------------------------------------------------------------- the starter


def test_the_starter_knows_its_fault_and_knows_what_it_does_not_know(starter: Bundle) -> None:
    known, other = virtual_runs("hpc", 25, 1), virtual_runs("fan", 10, 1)
    assert rmse(starter, known) < 11
    assert rmse(starter, other) > 40
    assert novelty_rate(starter, known) < 0.03
    assert novelty_rate(starter, other) > 0.5


def test_the_starter_keeps_its_interval_on_virtual_engines(starter: Bundle) -> None:
    runs = virtual_runs("hpc", 60, 2)
    found = estimator_of(starter.model_path())(runs)
    inside = [
        np.mean((e.lower <= r.rul_cycles()) & (r.rul_cycles() <= e.upper))
        for e, r in zip(found, runs, strict=True)
    ]
    assert 0.84 < np.mean(inside) < 0.97
    for estimates in found:
        assert np.all(estimates.lower <= estimates.rul)
        assert np.all(estimates.rul <= estimates.upper)
        assert estimates.lower.min() >= 0
        assert estimates.upper.max() <= 125


def test_the_starter_on_fd001_is_as_good_as_its_manifest_says(starter: Bundle) -> None:
    if find_cmapss() is None:
        pytest.skip("C-MAPSS FD001 is not under EDGELOOP_DATA (see datasets/cmapss.md)")
    figures = evaluate(starter, (), find_cmapss()).figures
    for name in ("rul_rmse", "rul_nasa_score", "rul_interval_coverage", "rul_interval_width"):
        assert figures[name].value == pytest.approx(starter.manifest.figures[name], rel=1e-3)
    assert figures["rul_rmse"].value < 11
    assert 0.85 <= figures["rul_interval_coverage"].value <= 0.95
    assert figures["rul_rmse"].value < 0.4 * figures["rul_rmse_of_age"].value
    assert starter.manifest.parameters["measured"]["mean_over_seeds"]["rul_rmse"] < 11


def test_contributions_through_the_graph_name_sensors_of_the_fault(starter: Bundle) -> None:
    class GraphModel:
        manifest: Manifest = starter.manifest

        def run(self, inputs: Arrays) -> Arrays:
            import onnxruntime

            session = onnxruntime.InferenceSession(starter.model_path())
            outputs: list[Any] = list(session.run(list(OUTPUTS), dict(inputs)))
            return dict(zip(OUTPUTS, outputs, strict=True))

    features = features_of_runs([virtual_runs("hpc", 1, 3)[0].values])[0]
    named = contributions(GraphModel(), features[-3])
    assert {name for name, _ in named[:3]} <= {"T50", "Ps30", "phi", "P30", "Nf", "NRf", "BPR", "T24", "T30",
                                               "htBleed", "W31", "W32", "Nc", "NRc"}  # fmt: skip
    assert named[0][1] > 1
    assert abs(dict(named)["epr"]) < 1


# ------------------------------------------------------------------------------------------ retraining


def test_a_new_fault_is_learnt_from_few_runs_and_the_old_one_is_kept(starter: Bundle, tmp_path: Path) -> None:
    samples = [field_sample(run, note="Fan blades eroded") for run in virtual_runs("fan", 6, 50)]
    made = training.train(context(tmp_path / "new", starter, samples, virtual_runs=150))
    fan, hpc = virtual_runs("fan", 15, 60), virtual_runs("hpc", 25, 60)
    assert rmse(made, fan) < 0.4 * rmse(starter, fan)
    assert rmse(made, hpc) < 1.25 * rmse(starter, hpc)
    assert novelty_rate(made, fan) < 0.2
    assert novelty_rate(made, virtual_runs("bearing", 10, 60)) > 0.4
    assert made.manifest.lineage.parent == starter.version
    judging = [field_sample(run, note="fan blades eroded") for run in fan[:4]]
    found, before = evaluate(made, judging, None), evaluate(starter, judging, None)
    assert set(found.slices) == {"virtual-hpc", "field:fan-blades-eroded"}
    assert found.figures["rul_fleet_rmse"].value < 0.6 * before.figures["rul_fleet_rmse"].value


def test_a_first_model_is_whole_repeats_itself_and_proves_itself(tmp_path: Path) -> None:
    steps: list[tuple[float, str]] = []
    made = training.train(context(tmp_path / "a", progress=lambda *step: steps.append(step)))
    again = training.train(context(tmp_path / "b"))
    assert made.manifest.files == again.manifest.files
    assert made.manifest.lineage.parent == ""
    assert set(made.manifest.lineage.data) == {"virtual-hpc"}
    assert [spec.name for spec in made.manifest.outputs] == list(OUTPUTS)
    assert made.manifest.inputs[0].shape == [None, FEATURES]
    assert made.manifest.drift is not None
    assert made.manifest.drift.output == "novelty"
    shares = [share for share, _ in steps]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    inputs, outputs = made.golden()
    import onnxruntime

    session = onnxruntime.InferenceSession(made.model_path())
    for name, found in zip(OUTPUTS, session.run(list(OUTPUTS), inputs), strict=True):
        assert np.abs(found - outputs[name]).max() <= made.manifest.tolerance[name]
        low, high = made.manifest.parameters["output_bounds"][name]
        assert np.all((low <= found) & (found <= high))


def test_a_cancelled_job_stops(tmp_path: Path) -> None:
    def progress(share: float, _message: str) -> None:
        if share > 0.2:
            raise TrainingError("the job was cancelled")

    with pytest.raises(TrainingError, match="cancelled"):
        training.train(context(tmp_path / "x", progress=progress))
    assert not (tmp_path / "x" / "manifest.json").exists()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": "many"}, {"virtual_runs": True}])
def test_a_wrong_parameter_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        training.train(context(tmp_path / "x", **wrong))


# -------------------------------------------------------------------------------------- runs from the field


def test_work_orders_tell_the_end_of_a_run() -> None:
    run = virtual_runs("hpc", 1, 4)[0]
    life = len(run.values)
    failed, _ = field_runs([field_sample(run, note="HPC worn.\nsecond line")])
    assert failed[0].remaining_cycles == 0
    assert failed[0].slice == "field:hpc-worn"
    inspected, _ = field_runs([field_sample(run, cycle=life, remaining=40)])
    assert inspected[0].rul_cycles()[-1] == 40
    # The order was closed at an earlier cycle than the last one that the node saw.
    earlier, _ = field_runs([field_sample(run, cycle=life - 10)])
    assert len(earlier[0].values) == life - 10
    assert earlier[0].rul_cycles()[-1] == 0


def test_unusable_field_runs_are_left_out_with_a_reason() -> None:
    run = virtual_runs("hpc", 1, 5)[0]
    good = field_sample(run)
    unlabelled = replace(good, labels=[])
    late = field_sample(run, first_cycle=20)
    short = field_sample(Run("short", run.values[:12]))
    shape = field_sample(Run("narrow", run.values[:, :7]))
    lost = run.values.copy()
    lost[40:60, CHANNELS.index("T50")] = np.nan
    gaps = field_sample(Run("gaps", lost))
    runs, reasons = field_runs([good, unlabelled, late, short, shape, gaps])
    assert [r.name for r in runs] == [run.name, "gaps"]
    assert len(runs[1].values) == len(run.values) - 20
    assert len(reasons) == 3
    assert "12 usable cycles" in " ".join(reasons)


def test_a_field_run_with_lost_cycles_keeps_the_numbers_of_those_that_came() -> None:
    run = virtual_runs("hpc", 1, 5)[0]
    values = run.values.copy()
    values[[10, 11, 50, -1]] = np.nan
    ((found,), _) = field_runs([field_sample(Run("gaps", values))])
    assert found.numbers().tolist() == [n for n in range(1, len(values)) if n not in (11, 12, 51)]
    assert found.rul_cycles()[-1] == 1
    assert found.life_cycles() == len(run.values)


def test_the_newest_label_counts() -> None:
    sample = field_sample(virtual_runs("hpc", 1, 6)[0], remaining=50)
    corrected = replace(
        sample.labels[0], body={**sample.labels[0].body, "remaining_cycles": 20}, created_ns=9
    )
    runs, _ = field_runs([replace(sample, labels=[corrected, sample.labels[0]])])
    assert runs[0].remaining_cycles == 20


def test_slices_have_plain_names_and_small_ones_are_judged_together(starter: Bundle) -> None:
    assert slice_name("Fan: blade #3 ERODED\n...") == "fan-blade-3-eroded"
    assert slice_name(" \n ") == "unnamed"
    assert len(slice_name("x" * 300)) == 40
    runs = virtual_runs("fan", 4, 7)
    notes = ["a", "a", "b", "c"]
    samples = [field_sample(run, note=note) for run, note in zip(runs, notes, strict=True)]
    slices = evaluate(starter, samples, None).slices
    assert {name: figure.count for name, figure in slices.items()} == {
        "field:a": 2, "field:others": 2, "virtual-hpc": 60
    }  # fmt: skip


# ---------------------------------------------------------------------------------------- data sets


def test_a_figure_says_what_it_was_measured_on(starter: Bundle, tmp_path: Path) -> None:
    metrics = evaluate(starter, (), write_set(tmp_path))
    unit = metrics.figures["rul_rmse"].unit
    assert unit.startswith("cycles, 2 engines of test_FD001.txt, not the published file")
    assert "not the published files" in metrics.data
    assert str(tmp_path) in metrics.data
    assert not metrics.figures["rul_rmse"].virtual
    assert metrics.figures["rul_fleet_rmse"].virtual
    assert not any(figure.recorded for figure in metrics.figures.values())
    for file in FILES:
        (tmp_path / file).rename(tmp_path / file.replace("FD001", "FD002"))
    assert "test_FD002.txt" in evaluate(starter, (), tmp_path).figures["rul_rmse"].unit


def _write_engines(folder: Path, name: str, engines: Sequence[Run]) -> None:
    """``engines`` as the test engines of the set ``name``, in NASA's layout."""
    rows = [
        " ".join(f"{value:.4f}" for value in (unit, cycle, *values))
        for unit, run in enumerate(engines, start=1)
        for cycle, values in enumerate(run.values, start=1)
    ]
    (folder / f"test_{name}.txt").write_text("\n".join(rows) + "\n")
    (folder / f"RUL_{name}.txt").write_text("".join(f"{run.remaining_cycles}\n" for run in engines))


def test_what_a_node_publishes_is_measured_beside_the_model(starter: Bundle, tmp_path: Path) -> None:
    engines = cut_runs(virtual_runs("hpc", 6, 5), 1)
    _write_engines(tmp_path, "FD001", engines)
    figures = evaluate(starter, (), tmp_path).figures
    assert figures["rul_withheld_share"].value < 0.02
    assert figures["rul_published_rmse"].value < 15
    assert 0.7 < figures["rul_published_coverage"].value <= 1
    assert "that are not withheld" in figures["rul_published_rmse"].unit


def test_engines_of_other_regimes_are_withheld_and_have_no_error(starter: Bundle, tmp_path: Path) -> None:
    engines = cut_runs(virtual_runs("hpc", 3, 5), 1)
    for run in engines:
        run.values[:, 0] = 20.0
    _write_engines(tmp_path, "FD002", engines)
    figures = evaluate(starter, (), tmp_path).figures
    assert figures["rul_withheld_share"].value == 1
    assert figures["rul_rmse"].unit.endswith("model alone")
    assert not {name for name in figures if name.startswith("rul_published")}


def test_a_bundle_of_another_seed_is_not_measured_as_this_one(starter: Bundle, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data")
    shutil.copytree(starter.path, tmp_path / "seed-3")
    with pytest.raises(TrainingError, match="not trained with seed 3"):
        measure_seed(3, "9.1.0", data, tmp_path / "seed-3")


def test_figures_over_seeds_have_mean_range_and_the_mean_interval() -> None:
    seeds = [{"rmse": Figure(8.0, 7.0, 9.0, unit="cycles")}, {"rmse": Figure(9.0, 8.0, 11.0)}]
    assert list(figures_over_seeds(seeds)) == [
        {"figure": "rmse", "mean": 8.5, "least": 8.0, "most": 9.0, "lower": 7.5, "upper": 10.0, "seeds": 2,
         "unit": "cycles"}
    ]  # fmt: skip


def test_a_replayed_part_of_a_run_keeps_its_cycle_numbers(starter: Bundle) -> None:
    run = virtual_runs("hpc", 1, 5)[0].part(np.arange(30, 70))
    rows = list(published_rul(run, load_model(starter, find_profile("cpu"))))
    assert len(rows) == 40
    assert rows[0] is None, "as a history that begins late"
    assert rows[-1] is not None


def test_a_named_folder_without_the_set_is_never_replaced_by_virtual_engines(
    starter: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="has no C-MAPSS"):
        evaluate(starter, (), tmp_path)
    unnamed = context(tmp_path / "out", starter, cmapss=True)
    with pytest.raises(DatasetError, match=r"has no C-MAPSS: looked for train_FD001\.txt"):
        training.train(replace(unnamed, data_path=tmp_path))
    write_set(tmp_path / "b")
    for file in FILES:
        (tmp_path / "b" / file).rename(tmp_path / "b" / file.replace("FD001", "FD004"))
    with pytest.raises(DatasetError, match="has FD004 and no FD001"):
        training.train(replace(unnamed, data_path=tmp_path / "b"))


def test_figures_of_the_manifest_on_fd001_are_marked_as_recorded(starter: Bundle) -> None:
    if find_cmapss() is None:
        pytest.skip("C-MAPSS FD001 is not under EDGELOOP_DATA (see datasets/cmapss.md)")
    figures = evaluate(starter, (), find_cmapss()).figures
    recorded = {name for name, figure in figures.items() if figure.recorded}
    assert recorded == {
        "rul_rmse_mean_of_seeds",
        "rul_interval_coverage_by_folds",
        "rul_interval_width_by_folds",
        "rul_rmse_by_folds",
    }
    assert all("recorded, not measured now" in figures[name].unit for name in recorded)
    assert figures["rul_rmse"].unit == "cycles, 100 FD001 test engines"


# ------------------------------------------------------------------------------------------- the parts


def test_evaluation_gives_every_promised_figure_with_its_interval(starter: Bundle) -> None:
    figures = evaluate(starter, (), None).figures
    for name in (
        "rul_rmse",
        "rul_interval_coverage",
        "rul_interval_width",
        "rul_rmse_of_mean",
        "rul_rmse_of_age",
    ):
        figure = figures[name]
        assert figure.lower is not None
        assert figure.upper is not None
        assert figure.lower < figure.value < figure.upper
        assert figure.count == 100
        assert "virtual" in figure.unit
    assert figures["rul_rmse"].value < 0.5 * figures["rul_rmse_of_mean"].value
    assert figures["rul_nasa_score"].value > 0


def test_the_nasa_score_is_the_published_one() -> None:
    assert nasa_score(np.array([0.0])) == 0
    assert nasa_score(np.array([-13.0])) == pytest.approx(np.e - 1)
    assert nasa_score(np.array([10.0, 10.0])) == pytest.approx(2 * (np.e - 1))


def test_cut_runs_keep_their_truth() -> None:
    runs = virtual_runs("hpc", 20, 8)
    for cut, run in zip(cut_runs(runs, 1), runs, strict=True):
        assert 7 <= cut.remaining_cycles <= 145
        assert np.array_equal(cut.values, run.values[: len(cut.values)])
        assert len(cut.values) + cut.remaining_cycles == len(run.values)


def test_copies_are_like_their_original_and_live_longer_or_shorter() -> None:
    run = virtual_runs("hpc", 1, 9)[0]
    copies = augmented(run, 30, 0.3, np.random.default_rng(0))
    lives = np.array([len(copy.values) for copy in copies]) / len(run.values)
    assert 0.7 < lives.min() < 0.85
    assert 1.15 < lives.max() < 1.4
    column = CHANNELS.index("T50")
    for copy in copies:
        assert abs(copy.values[-10:, column].mean() - run.values[-10:, column].mean()) < 10
        assert 0.7 < np.diff(copy.values[:, column]).std() / np.diff(run.values[:, column]).std() < 1.4
    half = Run("half", run.values[: len(run.values) // 2], 80)
    stretched = augmented(half, 5, 0.3, np.random.default_rng(0))
    for copy in stretched:
        assert copy.remaining_cycles == pytest.approx(80 * len(copy.values) / len(half.values), abs=1.5)


def test_a_member_never_sees_its_fold() -> None:
    """The members of a fold are the same whatever that fold's runs say."""
    runs = virtual_runs("hpc", 20, 10)
    fold = fold_of(runs[0].name)
    lied = [replace(r, remaining_cycles=100) if fold_of(r.name) == fold else r for r in runs]
    honest = fit_ensemble([TrainingRun(r) for r in runs], TINY, 0)
    misled = fit_ensemble([TrainingRun(r) for r in lied], TINY, 0)
    for number in range(FOLDS):
        same = np.array_equal(honest.members[number].weights[0], misled.members[number].weights[0])
        assert same == (number == fold)


def test_the_graph_gives_what_its_parts_give_and_can_be_read_back(tmp_path: Path) -> None:
    runs = virtual_runs("hpc", 20, 11)
    ensemble = fit_ensemble([TrainingRun(r) for r in runs], TINY, 0)
    features = features_of_runs([r.values for r in runs])
    interval = fit_interval([ensemble.predict(f) for f in features], [r.rul_cycles() for r in runs])
    late = Interval(2 * interval.low - 1.0, 2 * interval.high + 1.0)
    novelty = fit_novelty(features, [fold_of(r.name) for r in runs])
    path = tmp_path / "model.onnx"
    write_graph(path, ensemble, interval, late, novelty)
    found = estimator_of(path)(runs[:1])[0]
    rul = np.clip(ensemble.predict(features[0]), 0, 125)
    lower, upper = interval.bounds(rul)
    np.testing.assert_allclose(found.rul, rul, atol=1e-3)
    np.testing.assert_allclose(found.lower, lower, atol=2e-3)
    np.testing.assert_allclose(found.upper, upper, atol=2e-3)
    np.testing.assert_allclose(found.novelty, novelty.measure(features[0]), rtol=1e-3, atol=1e-3)
    part = runs[0].part(np.arange(60, len(runs[0].values)))
    (of_part,) = features_of([part])
    found = estimator_of(path)([part])[0]
    lower, upper = late.bounds(np.clip(ensemble.predict(of_part), 0, 125))
    np.testing.assert_allclose(found.lower, lower, atol=2e-3)
    np.testing.assert_allclose(found.upper, upper, atol=2e-3)
    back = read_ensemble(path)
    assert len(back.members) == FOLDS
    assert np.array_equal(back.predict(features[0]), ensemble.predict(features[0]))
    path.write_bytes((tmp_path / "model.onnx").read_bytes().replace(b"member0.weight0", b"menber0.weight0"))
    with pytest.raises(TrainingError, match="no ensemble"):
        read_ensemble(path)


def test_intervals_cover_what_they_promise_where_errors_differ() -> None:
    random = np.random.default_rng(0)

    def series(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        predictions = [random.uniform(20, 90, size=100) for _ in range(count)]
        return predictions, [p + random.normal(size=100) * p / 10 for p in predictions]

    interval = fit_interval(*series(200))
    predictions, truths = (np.concatenate(part) for part in series(100))
    lower, upper = interval.bounds(predictions)
    inside = (lower <= truths) & (truths <= upper)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    for part in (predictions < 40, predictions > 70):
        assert np.mean(inside[part]) == pytest.approx(0.9, abs=0.05)
    assert np.mean((upper - lower)[predictions > 80]) > 2 * np.mean((upper - lower)[predictions < 30])


def test_one_percent_of_unseen_known_engines_is_novel() -> None:
    def measured(fault: str, seed: int) -> list[np.ndarray]:
        return features_of_runs([r.values for r in virtual_runs(fault, 60, seed)])

    known = measured("hpc", 12)
    novelty = fit_novelty(known, [k % FOLDS for k in range(60)])
    fresh = np.concatenate([novelty.measure(f) for f in measured("hpc", 13)])
    assert 0.002 < np.mean(fresh > 1) < 0.04
    old = np.concatenate([novelty.measure(f[-20:]) for f in measured("hpc", 13)])
    assert np.mean(old > 1) < 0.06, "ageing by a known fault must not look novel"
    for fault in ("fan", "lpt", "bearing"):
        assert np.mean([np.mean(novelty.measure(f[-50:]) > 1) for f in measured(fault, 13)[:15]]) > 0.95


def test_the_network_learns_a_curve() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(6000, 3)).astype(np.float32)
    targets = np.abs(inputs[:, 0]) + 0.5 * inputs[:, 1]
    from apps.industrial.training.regression import fit_network

    recipe = Recipe(hidden=(24, 24), epochs=15, batch=256, decay=0.0)
    network = fit_network(inputs, targets, np.ones(6000, np.float32), recipe, random)
    assert isinstance(network, Network)
    assert np.sqrt(np.mean((network.predict(inputs) - targets) ** 2)) < 0.06

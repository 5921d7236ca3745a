"""Training jobs on virtual runs; small recipes keep them to seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.industrial.edge.features import FEATURES
from apps.industrial.training import job as training
from apps.industrial.training.dataset import FILES
from apps.industrial.training.evaluation import (
    evaluate,
    virtual_runs,
)
from apps.industrial.training.graph import OUTPUTS
from common.bundle import Bundle
from common.errors import DatasetError, TrainingError
from tests.apps.industrial.training.contexts import context, field_sample, novelty_rate, rmse
from tests.apps.industrial.training.test_dataset import write_set

pytestmark = pytest.mark.slow


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

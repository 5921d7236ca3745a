"""Models run as in their manifest, or the error names the difference."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from common.app.edge import Arrays
from common.bundle import Limits, Manifest, TensorSpec, open_bundle, seal
from common.errors import BundleIncompatible, BundleIncomplete, InferenceError
from common.model.golden import check_golden
from common.model.inference import LATENCY_WINDOW, OnnxModel, RunTime, load_model
from common.model.profile import find_profile
from tests.builders import make_bundle


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    return load_model(make_bundle(tmp_path / "b", sour=10.0), find_profile("cpu"))


def resealed(path: Path, **changes: object) -> Manifest:
    return seal(path, msgspec.structs.replace(open_bundle(path).manifest, **changes)).manifest


def test_a_bundle_that_was_built_here_passes_its_golden_cases(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    assert check_golden(bundle, load_model(bundle, find_profile("cpu"))).cases == 8


def test_a_run_gives_every_output_by_name_and_notifies_observers(model: OnnxModel) -> None:
    seen: list[tuple[Arrays, RunTime]] = []
    model.on_run = lambda outputs, took: seen.append((outputs, took))
    outputs = model.run({"x": np.array([[1, 2, 3, -4]], np.float32)})
    assert outputs["y"] == pytest.approx(2)
    assert outputs["novelty"] == pytest.approx(4)
    assert seen[0][0] is outputs
    assert seen[0][1].wall_s > 0
    assert seen[0][1].work_s > 0
    assert 0 < model.latency.p50_ms <= model.latency.p99_ms
    assert model.provider == "CPUExecutionProvider"


class WaitingSession:
    """Waits for others instead of working."""

    def __init__(self, session: Any, provider: str) -> None:
        self._session = session
        self._provider = provider

    def get_providers(self) -> list[str]:
        return [self._provider]

    def run(self, names: list[str], feeds: Arrays) -> Any:
        threading.Event().wait(0.05)
        return self._session.run(names, feeds)


@pytest.mark.parametrize(
    ("provider", "counted"), [("CPUExecutionProvider", False), ("CUDAExecutionProvider", True)]
)
def test_waiting_is_no_work_of_a_processor(model: OnnxModel, provider: str, counted: bool) -> None:
    seen: list[RunTime] = []
    waiting = OnnxModel(model.manifest, WaitingSession(model._session, provider))
    waiting.on_run = lambda _, took: seen.append(took)
    waiting.run({"x": np.ones((1, 4), np.float32)})
    assert seen[0].wall_s >= 0.05
    assert (seen[0].work_s >= 0.05) is counted


def test_double_precision_is_taken_for_a_float_input(model: OnnxModel) -> None:
    assert model.run({"x": np.ones((1, 4))})["y"] == pytest.approx(4)


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, "needs the input 'x'"),
        ({"x": np.ones((1, 3), np.float32)}, r"shape \[1, 3\]"),
        ({"x": np.ones(4, np.float32)}, r"shape \[4\]"),
        ({"x": np.ones((1, 4), np.complex64)}, "complex64"),
    ],
)
def test_inputs_that_are_not_the_manifests_are_refused(
    model: OnnxModel, inputs: Arrays, complaint: str
) -> None:
    with pytest.raises(InferenceError, match=complaint):
        model.run(inputs)


def test_nan_in_an_output_is_a_failure_and_not_counted_as_a_run(model: OnnxModel) -> None:
    with pytest.raises(InferenceError, match="NaN or infinity in its output 'y'"):
        model.run({"x": np.array([[11, 0, 0, 0]], np.float32)})
    assert model.latency.p50_ms == 0


def test_the_latencies_that_are_kept_are_bounded(model: OnnxModel) -> None:
    for _ in range(3 * LATENCY_WINDOW):
        model.latency.add(0.001)
    model.latency.add(1.0)
    assert model.latency.percentile_ms(100) == pytest.approx(1000)
    for _ in range(LATENCY_WINDOW):
        model.latency.add(0.002)
    assert model.latency.percentile_ms(100) == pytest.approx(2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"inputs": [TensorSpec(name="z", dtype="float32", shape=[None, 4])]}, "names the input 'z'"),
        ({"inputs": [TensorSpec(name="x", dtype="float64", shape=[None, 4])]}, "is float32, not float64"),
        ({"inputs": [TensorSpec(name="x", dtype="float32", shape=[None, 5])]}, "shape"),
        ({"inputs": []}, r"needs inputs that its manifest lacks: \['x'\]"),
    ],
)
def test_a_manifest_that_does_not_fit_its_model_is_refused_at_loading(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    make_bundle(tmp_path / "b")
    resealed(tmp_path / "b", **changes)
    with pytest.raises(BundleIncompatible, match=complaint):
        load_model(open_bundle(tmp_path / "b"), find_profile("cpu"))


def test_a_file_that_is_not_a_model_is_refused_at_loading(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "model.onnx").write_bytes(b"not a model")
    resealed_path = tmp_path / "b"
    manifest = msgspec.json.decode((resealed_path / "manifest.json").read_bytes(), type=Manifest)
    bundle = seal(resealed_path, msgspec.structs.replace(manifest, limits=Limits(latency_ms=1)))
    with pytest.raises(BundleIncompatible, match=r"model\.onnx cannot be loaded"):
        load_model(bundle, find_profile("cpu"))


def test_a_bundle_with_a_missing_file_is_incomplete(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "model.onnx").unlink()
    with pytest.raises(BundleIncomplete, match=r"lacks model\.onnx"):
        open_bundle(tmp_path / "b")


def test_a_manifest_from_the_future_asks_for_an_update(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    path.write_bytes(msgspec.json.encode({"format": 99, "unheard_of": True}))
    with pytest.raises(BundleIncompatible, match="update edgeloop first"):
        open_bundle(tmp_path / "b")


def test_a_runtime_keeps_and_reports_nothing_of_its_own(tmp_path: Path) -> None:
    """Without the setting, its first import writes a device identifier and a queue of reports to the home."""
    home = tmp_path / "home"
    home.mkdir()
    path = make_bundle(tmp_path / "b").path / "model.onnx"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from common.model.inference import open_session\n"
        "open_session(Path(sys.argv[1]))\n"
    )
    environment = {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)
    assert list(home.rglob("*")) == []

"""A bundle with model files by precision and runtime: a node takes the one that its profile prefers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cloud_backend.registry.golden import check_golden as check_in_cloud
from common.bundle import ONNX_RUNTIME, Bundle, Variant, open_bundle, seal, write_golden
from common.errors import BundleIncompatible, BundleIncomplete, GoldenCaseFailed
from common.model.golden import check_golden
from common.model.inference import OPENVINO, RunTime, load_model
from common.model.load_test import load_proven, prove
from common.model.profile import Profile
from hardware.profiles.cpu import PROFILE as CPU
from hardware.profiles.openvino import PROFILE as OPENVINO_PROFILE
from tests.builders import make_bundle

FLOAT = Profile("float", ("CPUExecutionProvider",), 1, "float32", lambda: True)
INT8_FILE = "model.int8.onnx"
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: edgeloop[openvino]"
)


def with_variant(
    folder: Path,
    *,
    runtime: str = ONNX_RUNTIME,
    gain: float = 1.01,
    own_outputs: bool = True,
    tolerance: float = 1e-4,
) -> Bundle:
    """A bundle of gain 1 with an int8 variant, recognised by its gain of 1.01."""
    bundle = make_bundle(folder)
    other = make_bundle(folder.with_name("other"), gain=gain)
    (folder / INT8_FILE).write_bytes(other.model_path().read_bytes())
    inputs, outputs = bundle.golden()
    write_golden(folder, inputs, outputs, {INT8_FILE: other.golden()[1]} if own_outputs else None)
    variant = Variant(file=INT8_FILE, precision="int8", runtime=runtime, tolerance={"y": tolerance})
    return seal(folder, msgspec.structs.replace(bundle.manifest, variants=[variant]))


def gain_of(model: Any) -> float:
    return float(model.run({"x": np.full((1, 4), 0.25, np.float32)})["y"][0, 0])


def test_a_device_takes_the_variant_of_its_precision_and_the_others_the_model(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b")
    fast, plain = load_model(bundle, CPU), load_model(bundle, FLOAT)
    assert (gain_of(fast), gain_of(plain)) == (pytest.approx(1.01), pytest.approx(1.0))
    assert (fast.manifest.precision, fast.manifest.model) == ("int8", INT8_FILE)
    assert (plain.manifest.precision, plain.manifest.model) == ("float32", "model.onnx")
    assert check_golden(bundle, fast).cases == check_golden(bundle, plain).cases == 8


def test_a_bundle_without_variants_runs_under_every_profile(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    for profile in (CPU, FLOAT, OPENVINO_PROFILE):
        assert load_model(bundle, profile).provider == "CPUExecutionProvider"
    assert b"variants" not in (bundle.path / "manifest.json").read_bytes()


@pytest.mark.parametrize("runtime", [OPENVINO, "a-runtime-of-the-future"])
def test_a_variant_for_another_runtime_is_not_taken(tmp_path: Path, runtime: str) -> None:
    bundle = with_variant(tmp_path / "b", runtime=runtime)
    assert gain_of(load_model(bundle, CPU)) == pytest.approx(1.0)


def test_golden_cases_expect_the_outputs_of_the_variant_that_runs(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b", own_outputs=False)
    check_golden(bundle, load_model(bundle, FLOAT))
    with pytest.raises(GoldenCaseFailed, match=rf"\({INT8_FILE}\): y is off by"):
        check_golden(bundle, load_model(bundle, CPU))
    check_golden(bundle, load_model(with_variant(tmp_path / "c", own_outputs=False, tolerance=0.1), CPU))


def test_a_variant_must_be_there_and_whole(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b")
    (bundle.path / INT8_FILE).write_bytes(bundle.model_path().read_bytes())
    with pytest.raises(BundleIncomplete, match=INT8_FILE):
        open_bundle(bundle.path)
    (bundle.path / INT8_FILE).unlink()
    with pytest.raises(BundleIncomplete, match="does not list"):
        seal(bundle.path, bundle.manifest)


def test_every_variant_is_proven_in_the_cloud_and_its_own_on_a_node(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b", runtime=OPENVINO)
    check_in_cloud(bundle)
    (bundle.path / INT8_FILE).write_bytes(b"\x08\x08")
    broken = seal(bundle.path, bundle.manifest)
    with pytest.raises(BundleIncompatible, match=INT8_FILE):
        check_in_cloud(broken)
    assert gain_of(load_proven(broken, FLOAT)) == pytest.approx(1.0)


@needs_openvino
def test_openvino_gives_the_outputs_of_onnx_runtime(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b", runtime=OPENVINO)
    model = load_proven(bundle, OPENVINO_PROFILE)
    seen: list[RunTime] = []
    model.on_run = lambda _, took: seen.append(took)
    assert gain_of(model) == pytest.approx(1.01)
    assert model.provider == "OpenVINO"
    assert seen[0].work_s > 0
    assert check_golden(bundle, model).cases == 8


@needs_openvino
def test_outputs_of_openvino_stay_as_they_are_after_the_next_run(tmp_path: Path) -> None:
    model = load_model(with_variant(tmp_path / "b", runtime=OPENVINO), OPENVINO_PROFILE)
    first = model.run({"x": np.ones((1, 4), np.float32)})["y"]
    before = first.copy()
    model.run({"x": np.zeros((1, 4), np.float32)})
    np.testing.assert_array_equal(first, before)


SWITCH_AND_SIGNAL = """
import os, signal, sys, threading
from pathlib import Path
from common.model.openvino_session import open_openvino_session

signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
sessions = [open_openvino_session(Path(sys.argv[1]), 1)]

def switch():
    sessions.append(open_openvino_session(Path(sys.argv[1]), 1))
    del sessions[0]

thread = threading.Thread(target=switch)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@needs_openvino
def test_a_signal_is_handled_after_another_thread_has_released_a_model(tmp_path: Path) -> None:
    file = str(with_variant(tmp_path / "b", runtime=OPENVINO).model_path())
    signalled = subprocess.run(
        [sys.executable, "-c", SWITCH_AND_SIGNAL, file], capture_output=True, text=True, check=False
    )
    assert (signalled.returncode, signalled.stdout) == (0, "handled\n"), signalled.stderr


@needs_openvino
def test_a_model_that_takes_too_much_memory_in_openvino_is_refused(tmp_path: Path) -> None:
    bundle = with_variant(tmp_path / "b", runtime=OPENVINO)
    variant = bundle.manifest.variants[0]
    prove(bundle, variant)
    with pytest.raises((BundleIncompatible, GoldenCaseFailed), match="at most 1024 bytes"):
        prove(bundle, variant, memory_bytes=1024)


def test_without_openvino_its_variant_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BundleIncompatible, match=r"edgeloop\[openvino\]"):
        load_model(with_variant(tmp_path / "b", runtime=OPENVINO), OPENVINO_PROFILE)

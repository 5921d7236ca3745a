"""A model that takes more memory or time than there is, or crashes the runtime, is found out in a child."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cloud_backend.registry.golden import check_golden
from common.bundle import Bundle, Limits, Lineage, Manifest, TensorSpec, seal, write_golden
from common.errors import BundleError, BundleIncompatible, GoldenCaseFailed, InferenceError
from common.model.inference import load_model, model_memory_bytes
from common.model.load_test import load_proven, prove
from common.model.profile import Profile
from tests.builders import make_bundle

PROFILE = Profile("test", ("CPUExecutionProvider",), 1, "float32", lambda: True)
LIMIT_BYTES = 256 * 1024 * 1024
HUGE = 1 << 34
"""Elements of a tensor that no device of ours holds (64 GiB)."""


def bundle_of(folder: Path, nodes: list[Any], constants: dict[str, Any], value: int = 1) -> Bundle:
    """A bundle whose model is ``nodes`` from ``x`` (one int64, in the golden case ``value``) to ``y``."""
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.INT64, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_golden(folder, {"x": np.array([[value]], np.int64)}, {"y": np.zeros((1, 1), np.float32)})
    manifest = Manifest(
        app="sums",
        version="bomb",
        task="test",
        inputs=[TensorSpec(name="x", dtype="int64", shape=[1])],
        outputs=[TensorSpec(name="y", dtype="float32", shape=[1])],
        precision="float32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=1000.0),
        lineage=Lineage(data={}, code="test"),
        tolerance={},
    )
    return seal(folder, manifest)


def sum_of(node: Any) -> list[Any]:
    """``node`` gives ``big``; its sum is the output."""
    from onnx import helper

    return [node, helper.make_node("ReduceSum", ["big", "axis"], ["y"], keepdims=0)]


def grown(folder: Path, kind: str, count: int = HUGE) -> Bundle:
    """A model that makes ``count`` numbers: from constants, or from its input (``run``)."""
    from onnx import helper

    axis: dict[str, Any] = {"axis": np.array([1], np.int64)}
    shape = np.array([1, count], np.int64)
    one = np.ones((1, 1), np.float32)
    if kind == "fill":
        return bundle_of(
            folder, sum_of(helper.make_node("ConstantOfShape", ["s"], ["big"])), axis | {"s": shape}
        )
    if kind in ("expand", "tile"):
        grow = helper.make_node(kind.title(), ["one", "s"], ["big"])
        return bundle_of(folder, sum_of(grow), axis | {"one": one, "s": shape})
    if kind == "double":
        names = ["one", *(f"d{step}" for step in range(count.bit_length() - 2)), "big"]
        doubling = [
            helper.make_node("Concat", [names[i], names[i]], [names[i + 1]], axis=1)
            for i in range(len(names) - 1)
        ]
        return bundle_of(folder, [*doubling[:-1], *sum_of(doubling[-1])], axis | {"one": one})
    shaped = helper.make_node("Concat", ["n1", "x"], ["s"], axis=0)
    nodes = [shaped, *sum_of(helper.make_node("ConstantOfShape", ["s"], ["big"]))]
    return bundle_of(folder, nodes, axis | {"n1": np.array([1], np.int64)}, count)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fill", "expand", "tile", "double", "run"])
def test_a_small_model_that_grows_is_refused_by_node_and_registry(tmp_path: Path, kind: str) -> None:
    bundle = grown(tmp_path / "b", kind)
    assert bundle.model_path().stat().st_size < 10_000
    before = peak_bytes()
    with pytest.raises(BundleError, match="memory"):
        load_proven(bundle, PROFILE)
    with pytest.raises(BundleError, match="memory"):
        check_golden(bundle)
    assert peak_bytes() - before < 100 * 1024 * 1024


@pytest.mark.parametrize("kind", ["fill", "expand", "tile", "double", "run"])
def test_what_fits_the_memory_passes(tmp_path: Path, kind: str) -> None:
    bundle = grown(tmp_path / "b", kind, 1 << 20)
    prove(bundle, memory_bytes=LIMIT_BYTES)
    assert load_model(bundle, PROFILE).manifest.version == bundle.version


def test_memory_is_bounded_where_a_single_step_fits_and_all_together_do_not(tmp_path: Path) -> None:
    from onnx import helper, numpy_helper

    rows = 64
    values = [numpy_helper.from_array(np.array([row], np.float32)) for row in range(rows)]
    big = [
        helper.make_node("ConstantOfShape", ["s"], [f"big{row}"], value=values[row]) for row in range(rows)
    ]
    total = helper.make_node("Sum", [f"big{row}" for row in range(rows)], ["all"])
    end = helper.make_node("ReduceSum", ["all", "axis"], ["y"], keepdims=0)
    constants = {"s": np.array([1, 1 << 22], np.int64), "axis": np.array([1], np.int64)}
    with pytest.raises(BundleError, match="memory"):
        prove(bundle_of(tmp_path / "b", [*big, total, end], constants), memory_bytes=LIMIT_BYTES)


def test_a_model_that_does_not_end_is_refused_in_time(tmp_path: Path) -> None:
    from onnx import helper

    product = [helper.make_node("MatMul", ["m", "m"], ["m0"])]
    product += [helper.make_node("MatMul", [f"m{i}", "m"], [f"m{i + 1}"]) for i in range(2000)]
    ends = helper.make_node("ReduceSum", ["m2000", "axes"], ["s"], keepdims=0)
    shaped = helper.make_node("Reshape", ["s", "one"], ["y"])
    constants = {
        "m": np.eye(800, dtype=np.float32),
        "axes": np.array([0, 1], np.int64),
        "one": np.array([1], np.int64),
    }
    bundle = bundle_of(tmp_path / "b", [*product, ends, shaped], constants)
    started = time.monotonic()
    with pytest.raises(BundleIncompatible, match="3 s"):
        prove(bundle, timeout_s=3.0)
    assert time.monotonic() - started < 20


def test_a_run_on_live_readings_is_bounded_in_memory(tmp_path: Path) -> None:
    model = load_model(grown(tmp_path / "b", "run", 1), PROFILE)
    before = peak_bytes()
    with pytest.raises(InferenceError, match="memory"):
        model.run({"x": np.array([model_memory_bytes() // 2], np.int64)})
    assert peak_bytes() - before < 100 * 1024 * 1024
    assert model.run({"x": np.array([10], np.int64)})["y"].shape == (1,)


def test_a_good_model_passes_silently(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    assert load_proven(bundle, PROFILE).manifest.version == bundle.version


def test_golden_cases_that_cannot_be_run_are_named(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b").path
    manifest = make_bundle(tmp_path / "c").manifest
    write_golden(folder, {"x": np.zeros((1, 3, 3, 3), np.float32)}, {})
    with pytest.raises(GoldenCaseFailed):
        prove(seal(folder, msgspec.structs.replace(manifest, files={})))

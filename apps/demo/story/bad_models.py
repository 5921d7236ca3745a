"""Deliberately bad models: the ONNX graph of a good bundle with an injected fault.

The manifest and golden cases of the good bundle are kept. `LIVE_FAULTS` pass their golden cases: the graph
contains the golden inputs and behaves correctly only on them.

========  =====================================================================================
fault     effect
========  =====================================================================================
wrong     outputs differ from the golden cases
heavy     correct, but thousands of matrix products slower on any input
nan       NaN on about half of all fresh inputs, pseudo-random
slow      correct, but thousands of matrix products slower on fresh inputs
stale     correct on golden cases, constant at the upper end of their range on fresh inputs
late      NaN on fresh inputs whose output is at the low end of its golden range
========  =====================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from apps.demo.world.processes import ShowError
from common import bundle as bundles
from common.bundle import Bundle

LIVE_FAULTS = ("nan", "slow", "stale", "late")
FAULTS = ("wrong", "heavy", *LIVE_FAULTS)
SLOW_PRODUCTS = 4000
LATE_SHARE = 0.08
"""Share of the golden range, from its low end, in which ``late`` fails."""
PREFIX = "bad_"


def spoil(good: Bundle, fault: str, version: str, folder: Path) -> Bundle:
    """Copy of ``good`` with one of `FAULTS`, as ``version``, in the empty ``folder``.

    The fault affects the first output that is not the drift output. An input is fresh if its first array is
    not in the golden cases. Raises `ShowError` for an unknown fault.
    """
    import onnx

    if fault not in FAULTS:
        raise ShowError(f"no fault {fault!r}; available: {', '.join(FAULTS)}")
    model = onnx.load_model_from_string(good.model_path().read_bytes())
    drift = good.manifest.drift.output if good.manifest.drift else ""
    output = next(each for each in model.graph.output if each.name != drift)
    _edit(model, good, fault, output)
    folder.mkdir(parents=True, exist_ok=True)
    for name in good.manifest.files:
        if name != good.manifest.model:
            (folder / name).write_bytes((good.path / name).read_bytes())
    (folder / good.manifest.model).write_bytes(model.SerializeToString())
    lineage = msgspec.structs.replace(good.manifest.lineage, parent=good.version, job="", approved_by="")
    manifest = msgspec.structs.replace(good.manifest, version=version, lineage=lineage)
    return bundles.seal(folder, manifest)


def _edit(model: Any, good: Bundle, fault: str, output: Any) -> None:
    """Insert the fault between the graph node of ``output`` and the output."""
    from onnx import helper

    graph = model.graph
    inner = PREFIX + output.name
    for node in graph.node:
        node.input[:] = [inner if name == output.name else name for name in node.input]
        node.output[:] = [inner if name == output.name else name for name in node.output]
    inputs, expected = good.golden()
    spec = good.manifest.inputs[0]
    known = inputs[spec.name].astype(np.float32).reshape(-1, inputs[spec.name].shape[-1])
    rank = len(output.type.tensor_type.shape.dim)
    lowest, highest = float(np.min(expected[output.name])), float(np.max(expected[output.name]))

    def constant(name: str, value: Any, dtype: Any = np.float32) -> str:
        from onnx import numpy_helper

        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), PREFIX + name))
        return PREFIX + name

    def add(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, inputs, [PREFIX + name], **attributes))
        return PREFIX + name

    if fault == "wrong":
        scaled = add("Mul", [inner, constant("half", 0.5)], "scaled")
        graph.node.append(helper.make_node("Identity", [scaled], [output.name]))
        return
    if fault == "heavy":
        delay = _delay(add, constant, constant("always", [True], np.bool_))
        graph.node.append(helper.make_node("Add", [inner, delay], [output.name]))
        return
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    fresh = _fresh(add, constant, spec.name, known, rank, opset)
    if fault == "nan":
        many = constant("many", np.full((known.shape[1], 1), 1e3))
        total = add("MatMul", [spec.name, many], "total")
        high = add("Greater", [add("Sin", [total], "wave"), constant("middle", 0.0)], "high")
        if rank == 1:
            high = add("Reshape", [high, constant("flat", [-1], np.int64)], "high_flat")
        chosen, other = add("And", [fresh, high], "chosen"), constant("nan", np.nan)
        graph.node.append(helper.make_node("Where", [chosen, other, inner], [output.name]))
    elif fault == "late":
        low = add("Less", [inner, constant("low", lowest + LATE_SHARE * (highest - lowest))], "is_low")
        chosen, other = add("And", [fresh, low], "chosen"), constant("nan", np.nan)
        graph.node.append(helper.make_node("Where", [chosen, other, inner], [output.name]))
    elif fault == "stale":
        other = constant("highest", highest)
        graph.node.append(helper.make_node("Where", [fresh, other, inner], [output.name]))
    else:
        delay = _delay(add, constant, fresh)
        graph.node.append(helper.make_node("Add", [inner, delay], [output.name]))


def _fresh(add: Any, constant: Any, name: str, known: np.ndarray, rank: int, opset: int) -> str:
    """True for each row of input ``name`` that is not among ``known``; shaped as an output of ``rank``."""

    def reduce(kind: str, source: str, axis: int, result: str, keepdims: int) -> str:
        if opset < 18:  # Since opset 18 the axes are an input.
            return add(kind, [source], result, axes=[axis], keepdims=keepdims)
        return add(kind, [source, constant(f"{result}_axis", [axis], np.int64)], result, keepdims=keepdims)

    row = add("Unsqueeze", [name, constant("row_axis", [1], np.int64)], "rows")
    apart = add("Abs", [add("Sub", [row, constant("known", known[None])], "apart")], "distance")
    furthest = reduce("ReduceMax", apart, 2, "furthest", keepdims=0)
    nearest = reduce("ReduceMin", furthest, 1, "nearest", keepdims=int(rank == 2))
    return add("Greater", [nearest, constant("same", 1e-6)], "fresh")


def _delay(add: Any, constant: Any, fresh: str) -> str:
    """Zero, after `SLOW_PRODUCTS` matrix products if any row is fresh."""
    from onnx import TensorProto, helper

    number = add("Cast", [fresh], "fresh_number", to=TensorProto.FLOAT)
    share = add("ReduceMax", [number], "any_fresh", keepdims=0)
    iterations = add("Mul", [share, constant("max_iterations", SLOW_PRODUCTS)], "iterations_float")
    end = add("Cast", [iterations], "iterations", to=TensorProto.INT64)
    end = add("Max", [end, constant("one_iteration", 1, np.int64)], "end")
    end = add("Reshape", [end, constant("end_shape", [1], np.int64)], "end_index")
    start = constant("start_index", [0], np.int64)
    iterations = add(
        "Slice", [constant("iterations_all", np.zeros(SLOW_PRODUCTS)), start, end], "iterations_taken"
    )
    size = 64  # A power of two, so that the matrix is its own square exactly.
    matrix_in, iteration, matrix_out = [PREFIX + name for name in ("matrix_in", "iteration", "matrix_out")]
    shape = [size, size]
    body = helper.make_graph(
        [helper.make_node("MatMul", [matrix_in, matrix_in], [matrix_out])],
        PREFIX + "iteration_body",
        [
            helper.make_tensor_value_info(matrix_in, TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(iteration, TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(matrix_out, TensorProto.FLOAT, shape)],
    )
    matrix = constant("matrix", np.zeros(shape))
    last = add("Scan", [matrix, iterations], "matrix_last", body=body, num_scan_inputs=1)
    total = add("ReduceMean", [last], "matrix_mean", keepdims=0)
    return add("Mul", [total, constant("zero", 0.0)], "delay")

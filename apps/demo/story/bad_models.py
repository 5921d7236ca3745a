"""Deliberately bad models, made from a good bundle by editing its ONNX graph.

Each keeps the good bundle's manifest and golden cases, as a model would that was broken after it was
measured, or that was only ever right on what it was measured on. `LIVE_FAULTS` pass their golden cases:
the graph is told the golden inputs, and behaves only on them.

========  =====================================================================================
fault     what it does
========  =====================================================================================
wrong     gives other outputs than its golden cases promise
heavy     right, but takes thousands of matrix products longer on any input
nan       NaN on about half of all fresh inputs, as by chance
slow      right, but takes thousands of matrix products longer on fresh inputs
stale     right on its golden cases, the upper end of their range on everything else
late      NaN on fresh inputs where the output is at the low end of its golden range
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
SLOW_TURNS = 4000
LATE_SHARE = 0.08
"""Share of the golden range, from its low end, in which ``late`` fails."""
PREFIX = "bad_"


def spoil(good: Bundle, fault: str, version: str, folder: Path) -> Bundle:
    """A bundle like ``good`` with one of `FAULTS`, as ``version``, in the empty ``folder``.

    The first output that is no drift output is spoiled; inputs are fresh whose first array is new. Raises
    `ShowError` for an unknown fault.
    """
    import onnx

    if fault not in FAULTS:
        raise ShowError(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
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
    """Put the fault between the node that makes ``output`` and the output."""
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

    def add(kind: str, given: list[str], name: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, given, [PREFIX + name], **attributes))
        return PREFIX + name

    if fault == "wrong":
        scaled = add("Mul", [inner, constant("half", 0.5)], "scaled")
        graph.node.append(helper.make_node("Identity", [scaled], [output.name]))
        return
    if fault == "heavy":
        nothing = _dawdle(add, constant, constant("always", [True], np.bool_))
        graph.node.append(helper.make_node("Add", [inner, nothing], [output.name]))
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
        nothing = _dawdle(add, constant, fresh)
        graph.node.append(helper.make_node("Add", [inner, nothing], [output.name]))


def _fresh(add: Any, constant: Any, name: str, known: np.ndarray, rank: int, opset: int) -> str:
    """Whether each row of input ``name`` is none of the ``known`` rows; shaped as an output of ``rank``."""

    def reduce(kind: str, given: str, axis: int, made: str, keepdims: int) -> str:
        if opset < 18:  # From opset 18 on, the axes are an input.
            return add(kind, [given], made, axes=[axis], keepdims=keepdims)
        return add(kind, [given, constant(f"{made}_axis", [axis], np.int64)], made, keepdims=keepdims)

    row = add("Unsqueeze", [name, constant("row_axis", [1], np.int64)], "rows")
    apart = add("Abs", [add("Sub", [row, constant("known", known[None])], "apart")], "distance")
    furthest = reduce("ReduceMax", apart, 2, "furthest", keepdims=0)
    nearest = reduce("ReduceMin", furthest, 1, "nearest", keepdims=int(rank == 2))
    return add("Greater", [nearest, constant("same", 1e-6)], "fresh")


def _dawdle(add: Any, constant: Any, fresh: str) -> str:
    """Zero, after `SLOW_TURNS` matrix products wherever a row is fresh."""
    from onnx import TensorProto, helper

    number = add("Cast", [fresh], "fresh_number", to=TensorProto.FLOAT)
    share = add("ReduceMax", [number], "any_fresh", keepdims=0)
    turns = add("Mul", [share, constant("most_turns", SLOW_TURNS)], "turns_float")
    end = add("Cast", [turns], "turns", to=TensorProto.INT64)
    end = add("Max", [end, constant("one_turn", 1, np.int64)], "end")
    end = add("Reshape", [end, constant("end_shape", [1], np.int64)], "end_index")
    start = constant("start_index", [0], np.int64)
    turns = add("Slice", [constant("turns_all", np.zeros(SLOW_TURNS)), start, end], "turns_taken")
    size = 64  # A power of two, so that the matrix is its own square exactly.
    given, turn, made = [PREFIX + name for name in ("matrix_in", "turn", "matrix_out")]
    shape = [size, size]
    body = helper.make_graph(
        [helper.make_node("MatMul", [given, given], [made])],
        PREFIX + "turn_body",
        [
            helper.make_tensor_value_info(given, TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(turn, TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(made, TensorProto.FLOAT, shape)],
    )
    matrix = constant("matrix", np.zeros(shape))
    last = add("Scan", [matrix, turns], "matrix_last", body=body, num_scan_inputs=1)
    total = add("ReduceMean", [last], "matrix_mean", keepdims=0)
    return add("Mul", [total, constant("zero", 0.0)], "nothing")

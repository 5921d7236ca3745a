"""A model is whole in its own file; what names weights elsewhere, or gigabytes in a few bytes, is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import BundleIncompatible
from common.model.onnx_file import check_model_file
from tests.builders import make_bundle


def model(path: Path, nodes: list[Any] | None = None, **graph: Any) -> Path:
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [x], [y], **graph)).SerializeToString())
    return path


def external() -> Any:
    from onnx import TensorProto

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def sparse() -> Any:
    from onnx import helper, numpy_helper

    value = numpy_helper.from_array(np.array([1.0], np.float32), "w")
    return helper.make_sparse_tensor(value, numpy_helper.from_array(np.array([0], np.int64), "i"), [1 << 29])


def test_a_model_that_is_whole_passes(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle").model_path()
    before = path.read_bytes()
    check_model_file(path)
    assert path.read_bytes() == before


def test_weights_in_another_file_are_refused_wherever_they_are_named(tmp_path: Path) -> None:
    from onnx import helper

    constant = helper.make_node("Constant", [], ["y"], value=external())
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("y", 1, None)])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    for number, given in enumerate(
        ({"initializer": [external()]}, {"nodes": [constant]}, {"nodes": [branch]})
    ):
        with pytest.raises(BundleIncompatible, match="weights in another file"):
            check_model_file(model(tmp_path / f"{number}.onnx", **given))


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    from onnx import helper

    constant = helper.make_node("Constant", [], ["y"], sparse_value=sparse())
    for number, given in enumerate(({"sparse_initializer": [sparse()]}, {"nodes": [constant]})):
        with pytest.raises(BundleIncompatible, match="sparse"):
            check_model_file(model(tmp_path / f"{number}.onnx", **given))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    whole = make_bundle(tmp_path / "bundle").model_path().read_bytes()
    for number, content in enumerate(
        (b"", whole[:-1], b"\xff" * 100, b"\x3f" * 100, b"\x3a\xff\xff\xff\x7f")
    ):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleIncompatible):
            check_model_file(path)


def test_loops_are_refused_wherever_they_are(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "body", [], output)
    loop = helper.make_node("Loop", ["", "", "x"], ["y"], body=body)
    inner = helper.make_graph([loop], "inner", [], output)
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    for number, node in enumerate((loop, branch)):
        with pytest.raises(BundleIncompatible, match="loop"):
            check_model_file(model(tmp_path / f"{number}.onnx", [node]))


def test_functions_that_call_each_other_are_refused(tmp_path: Path) -> None:
    from onnx import helper

    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function(
            "own",
            f"f{depth}",
            ["a"],
            ["b"],
            [
                helper.make_node(f"f{depth + 1}", ["a"], ["c"], domain="own"),
                helper.make_node(f"f{depth + 1}", ["c"], ["b"], domain="own"),
            ],
            opset,
        )
        for depth in range(40)
    ]
    path = model(tmp_path / "f.onnx")
    import onnx

    proto = onnx.load(path)
    proto.functions.extend(functions)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(BundleIncompatible, match="functions"):
        check_model_file(path)


def test_graphs_nested_deeply_are_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    node = helper.make_node("Identity", ["x"], ["y"])
    for depth in range(20):
        inner = helper.make_graph([node], f"g{depth}", [], output)
        node = helper.make_node("Scan", ["x"], ["y"], body=inner, num_scan_inputs=1)
    with pytest.raises(BundleIncompatible, match="nested"):
        check_model_file(model(tmp_path / "deep.onnx", [node]))

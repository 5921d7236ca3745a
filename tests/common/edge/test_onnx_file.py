"""A model is whole in its own file; what names weights elsewhere, or gigabytes in a few bytes, is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.edge.onnx_file import check_model_file
from common.errors import BundleIncompatible
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
    check_model_file(make_bundle(tmp_path / "bundle").model_path())


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

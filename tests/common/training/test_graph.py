"""Graphs by `GraphBuilder`: what they compute, equal bytes each time, and refusals of bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from common.training.graph import GraphBuilder, read_constants


def doubled(path: Path) -> None:
    graph = GraphBuilder()
    graph.node("Mul", ["x", graph.constant("gain", np.float32(2.0))], "y")
    graph.write(path, "doubled", {"x": ["rows", 3]}, {"y": ["rows", 3]})


def test_a_graph_computes_its_nodes_for_any_number_of_rows(tmp_path: Path) -> None:
    doubled(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 4):
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
        assert np.array_equal(np.asarray(session.run(["y"], {"x": x})[0]), 2 * x)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    doubled(tmp_path / "first.onnx")
    doubled(tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_constants_are_read_back_by_name(tmp_path: Path) -> None:
    doubled(tmp_path / "model.onnx")
    found = read_constants(tmp_path / "model.onnx")
    assert found["gain"].shape == ()
    assert float(found["gain"]) == 2.0


def test_a_node_without_its_input_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    graph = GraphBuilder()
    graph.node("Abs", ["missing"], "y")
    with pytest.raises(onnx.checker.ValidationError, match="missing"):
        graph.write(tmp_path / "model.onnx", "bad", {"x": ["rows"]}, {"y": ["rows"]})
    assert not (tmp_path / "model.onnx").exists()

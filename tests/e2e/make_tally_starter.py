"""Makes the tally's model: the sum of its inputs. Run once; the result is kept beside the app."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from common.bundle import Limits, Lineage, Manifest, TensorSpec, seal, write_golden

STARTER = Path(__file__).with_name("tally") / "starter"


def make(folder: Path, version: str = "starter-1") -> None:
    """Write the bundle into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        "tally",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    inputs = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    write_golden(folder, {"x": inputs}, {"y": inputs.sum(axis=1, keepdims=True)})
    seal(
        folder,
        Manifest(
            app="tally",
            version=version,
            task="regression",
            inputs=[TensorSpec(name="x", dtype="float32", shape=[None, 4], columns=["a", "b", "c", "d"])],
            outputs=[TensorSpec(name="y", dtype="float32", shape=[None, 1])],
            precision="float32",
            licence="Apache-2.0",
            limits=Limits(latency_ms=50),
            lineage=Lineage(data={}, code="0.1.0"),
            tolerance={"y": 1e-4},
        ),
    )


if __name__ == "__main__":
    make(STARTER)

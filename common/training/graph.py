"""An ONNX graph, node by node: `GraphBuilder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
Shape = Sequence[int | str]
"""Lengths of a tensor's axes; text names a free one."""


class GraphBuilder:
    """Nodes and initializers in the order in which they are added; each is known by the name of its output.

    >>> graph = GraphBuilder()
    >>> graph.node("Mul", ["x", graph.constant("gain", np.float32(2.0))], "y")
    'y'
    >>> graph.write(path, "doubled", {"x": ["rows", 4]}, {"y": ["rows", 4]})
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def constant(self, name: str, value: ArrayLike) -> str:
        """Add an initializer; its name."""
        from onnx import numpy_helper

        self._initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; the output's name. ``domain="ai.onnx.ml"`` for trees."""
        from onnx import helper

        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def write(self, path: Path, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
        """Check the graph and write it to ``path``; all inputs and outputs are float32.

        Raises ``onnx.checker.ValidationError`` or ``onnx.shape_inference.InferenceError`` for a bad graph.
        """
        import onnx
        from onnx import TensorProto, helper

        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == "ai.onnx.ml" for node in self._nodes):
            opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        takes, gives = (
            [
                helper.make_tensor_value_info(tensor, TensorProto.FLOAT, list(shape))
                for tensor, shape in side.items()
            ]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, name, takes, gives, self._initializers)
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgeloop"
        )
        onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]: as below
        path.write_bytes(model.SerializeToString(deterministic=True))


def read_constants(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Initializers of the graph at ``path``, by name."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)  # pyright: ignore[reportUnknownMemberType]: partly typed library
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

"""A model file in OpenVINO, behind the methods of an ONNX Runtime session that `OnnxModel` uses.

OpenVINO reads the same ``.onnx`` files; it runs quantized ones (QDQ) in INT8. It is installed with the extra
``openvino`` and imported when a model is loaded. Its memory is bounded in the proof of a model
(`common.model.load_test`), not afterwards.
"""

# OpenVINO is an optional extra; its types are incomplete.
# pyright: reportMissingImports=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from common.errors import BundleIncompatible
from common.model.onnx_file import check_model_file

_TYPES = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "i8": "int8",
    "u8": "uint8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "boolean": "bool",
}


_ONE_CORE = threading.Lock()
"""Held while `_core` is called: two threads at once would make a core each, and one would be released."""


class Node(NamedTuple):
    """An input or output; ``shape`` has None where a dimension is free."""

    name: str
    type: str
    shape: list[int | None]


class OpenvinoSession:
    """One compiled model with one request; belongs to one thread at a time."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs, self._outputs = (
            [_node(port) for port in side] for side in (compiled.inputs, compiled.outputs)
        )
        self._place = {node.name: index for index, node in enumerate(self._outputs)}

    def get_inputs(self) -> list[Node]:
        return self._inputs

    def get_outputs(self) -> list[Node]:
        return self._outputs

    def get_providers(self) -> list[str]:
        return ["OpenVINO"]

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs by these names. Raises what OpenVINO raises."""
        results = self._request.infer(dict(feeds), share_inputs=True)
        return [results[self._place[name]] for name in names]


def open_openvino_session(path: Path, threads: int) -> OpenvinoSession:
    """A session of a model file on the CPU with that many threads. Raises `BundleIncompatible`."""
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError as error:
        raise BundleIncompatible(
            f"{path} is for OpenVINO, which is not installed ({error}): pip install 'edgeloop[openvino]', or "
            "take another profile"
        ) from error
    check_model_file(path)
    # On processors with bfloat16, OpenVINO would compute in it by default: other outputs than on other
    # devices, and quantized models that it then cannot load (2026.4: no suitable implementations).
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        with _ONE_CORE:
            core = _core(openvino)
        return OpenvinoSession(core.compile_model(str(path), "CPU", options))
    except Exception as error:  # OpenVINO's classes share no base below Exception.
        raise BundleIncompatible(f"{path} cannot be loaded in OpenVINO: {error}") from error


@lru_cache(1)
def _core(openvino: Any) -> Any:
    """The one core of this process, which is never released.

    A core's CPU plugin replaces the alternate signal stack of the thread that first uses it, and unmaps its
    own when the core is released, by whatever thread (2026.4). The first thread would then end the process
    with SIGSEGV at its next signal.
    """
    return openvino.Core()


def _node(port: Any) -> Node:
    lengths = [None if length.is_dynamic else length.get_length() for length in port.get_partial_shape()]
    kind = str(port.get_element_type().get_type_name())
    return Node(str(port.get_any_name()), _TYPES.get(kind) or kind, lengths)

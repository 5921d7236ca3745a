"""A processor with OpenVINO, which runs INT8 models of images faster than ONNX Runtime does.

Recognised by the installed package (extra ``openvino``) on x86-64 and ARM64. Only variants of a bundle that
are for OpenVINO run there; any other model runs in ONNX Runtime as with the profile ``cpu``.
"""

from __future__ import annotations

import platform
from importlib.util import find_spec

from common.bundle import ONNX_RUNTIME
from common.model.inference import OPENVINO
from common.model.profile import Profile, usable_cores

PROCESSORS = ("x86_64", "amd64", "aarch64", "arm64")


def is_here() -> bool:
    """Whether OpenVINO is installed on a processor that it knows."""
    return platform.machine().lower() in PROCESSORS and find_spec("openvino") is not None


PROFILE = Profile(
    name="openvino",
    providers=("CPUExecutionProvider",),
    intra_op_threads=min(2, usable_cores()),
    precision="int8",
    detect=is_here,
    rank=5,
    tags=("cpu", "openvino"),
    runtimes=(OPENVINO, ONNX_RUNTIME),
)

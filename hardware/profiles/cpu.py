"""Any machine with a processor that ONNX Runtime knows: x86-64 and ARM64 servers, gateways, laptops.

Two threads at most: a node shares its machine, and the models of one stream gain little from more. INT8 is
fastest wherever the processor has VNNI or dot-product instructions, and never slower elsewhere by much.
"""

from __future__ import annotations

from common.model.profile import Profile, usable_cores


def is_here() -> bool:
    """Always: every device has a processor."""
    return True


PROFILE = Profile(
    name="cpu",
    providers=("CPUExecutionProvider",),
    intra_op_threads=min(2, usable_cores()),
    precision="int8",
    detect=is_here,
    tags=("cpu",),
)

"""Raspberry Pi: recognised by the device tree. Four small cores, of which a model may take three."""

from __future__ import annotations

from common.model.profile import Profile, device_model, usable_cores


def is_here() -> bool:
    """Whether this is a Raspberry Pi."""
    return device_model().startswith("Raspberry Pi")


PROFILE = Profile(
    name="raspberry_pi",
    providers=("CPUExecutionProvider",),
    intra_op_threads=max(1, min(3, usable_cores() - 1)),
    precision="int8",
    detect=is_here,
    rank=10,
    tags=("cpu", "raspberry-pi"),
)

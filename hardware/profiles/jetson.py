"""NVIDIA Jetson modules: recognised by the device tree, or by the L4T release file inside a container.

Needs an ONNX Runtime built for JetPack; without its GPU providers the models run on the processor.
TensorRT engines are built at the first load and kept in the cache that ``trt_engine_cache_enable`` makes.
"""

from __future__ import annotations

from pathlib import Path

from common.model.profile import Profile, device_model

L4T_RELEASE = Path("/etc/nv_tegra_release")


def is_here() -> bool:
    """Whether this is a Jetson."""
    model = device_model()
    return "jetson" in model.lower() or "tegra" in model.lower() or L4T_RELEASE.exists()


PROFILE = Profile(
    name="jetson",
    providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    intra_op_threads=2,
    precision="float16",
    detect=is_here,
    rank=20,
    tags=("gpu", "jetson"),
    provider_options={
        "TensorrtExecutionProvider": {"trt_fp16_enable": True, "trt_engine_cache_enable": True},
    },
)

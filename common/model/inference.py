"""A bundle's model in the runtime that fits it and the device, with the threads of the device's profile.

Of a bundle's model files the device's profile prefers one (`Manifest.preferred`). It runs in ONNX Runtime,
or in OpenVINO (`common.model.openvino_session`) if it is for that.

The manifest's inputs and outputs are checked against the model when it is loaded, and every input against the
manifest when it runs, so that a wrong shape is an error with a name instead of a wrong number. NaN or
infinity in an output is a failure. Sessions are made small: no memory pattern, threads that sleep between
runs, and none but the caller's for a model under `SMALL_BYTES`: such a model has done its work before another
thread is awake. On the CPU all sessions of the process share one arena of at most `model_memory_bytes`, which
grows by what is needed: a run that wants more is an `InferenceError`.
"""

# ONNX Runtime has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import Arrays
from common.bundle import Bundle, Manifest, TensorSpec, Variant
from common.errors import BundleIncompatible, InferenceError
from common.model.onnx_file import check_model_file
from common.model.profile import Profile

LATENCY_WINDOW = 1024
SMALL_BYTES = 1 << 20
MEMORY_LIMIT_BYTES = 2 * 1024**3
MEMORY_SHARE = 0.5
CPU_PROVIDER = "CPUExecutionProvider"
CPU = ((CPU_PROVIDER, dict[str, Any]()),)
OPENVINO = "openvino"
_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class Latency:
    """The last `LATENCY_WINDOW` run times."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def percentile_ms(self, share: float) -> float:
        """Latency under which ``share`` percent of the runs stay; 0 before the first run."""
        seconds = tuple(self._seconds)
        return float(np.percentile(seconds, share)) * 1e3 if seconds else 0.0

    @property
    def p50_ms(self) -> float:
        return self.percentile_ms(50)

    @property
    def p99_ms(self) -> float:
        return self.percentile_ms(99)


@dataclass(frozen=True, slots=True)
class RunTime:
    """Duration of a run, and its share of work: two models are compared by their work.

    On a processor ``work_s`` is what the calling thread was given of it, so that waiting for other processes,
    of which the model that runs second does more, is no model's fault. On an accelerator it is ``wall_s``.
    """

    wall_s: float
    work_s: float


class OnnxModel:
    """`common.app.edge.Model` over a session. ``on_run`` is called after each run.

    ``manifest`` is that of the model file (`Manifest.of_variant`); ``session`` is one of ONNX Runtime, or has
    its methods.
    """

    def __init__(self, manifest: Manifest, session: Any) -> None:
        self.manifest = manifest
        self.latency = Latency()
        self.on_run: Callable[[Arrays, RunTime], None] | None = None
        self._session = session
        self._work_clock = time.thread_time if self.provider == CPU_PROVIDER else time.perf_counter
        self._inputs = [(spec, np.dtype(spec.dtype)) for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    @property
    def provider(self) -> str:
        """The execution provider that is in use."""
        return self._session.get_providers()[0]

    @property
    def session(self) -> Any:
        """The session itself, for measurements: nothing is checked, nothing is counted."""
        return self._session

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name, as the manifest lists them.

        Raises `InferenceError` for inputs that are not the manifest's, for a failed run, and for NaN or
        infinity in an output.
        """
        feeds = {spec.name: self._feed(spec, dtype, inputs) for spec, dtype in self._inputs}
        work_clock = time.perf_counter if self.on_run is None else self._work_clock
        started, work_started = time.perf_counter(), work_clock()
        try:
            values = self._session.run(self._outputs, feeds)
        except Exception as error:  # ONNX Runtime's classes share no base below Exception.
            raise InferenceError(f"the model {self.manifest.version} failed: {error}") from error
        wall_s, work_s = time.perf_counter() - started, work_clock() - work_started
        outputs: dict[str, NDArray[Any]] = dict(zip(self._outputs, values, strict=True))
        for name, value in outputs.items():
            if value.dtype.kind == "f" and np.count_nonzero(np.isfinite(value)) < value.size:
                raise InferenceError(
                    f"the model {self.manifest.version} gave NaN or infinity in its output {name!r}"
                )
        self.latency.add(wall_s)
        if self.on_run is not None:
            self.on_run(outputs, RunTime(wall_s, work_s))
        return outputs

    def _feed(self, spec: TensorSpec, dtype: np.dtype[Any], inputs: Arrays) -> NDArray[Any]:
        value = inputs.get(spec.name)
        if value is None:
            raise InferenceError(
                f"the model {self.manifest.version} needs the input {spec.name!r}; got {sorted(inputs)}"
            )
        if not _fits(spec, value.shape):
            raise InferenceError(
                f"the input {spec.name!r} of {self.manifest.version} has shape {list(value.shape)}, "
                f"not {spec.shape}"
            )
        if value.dtype == dtype:
            return value
        if not np.can_cast(value.dtype, dtype, "same_kind"):
            raise InferenceError(
                f"the input {spec.name!r} of {self.manifest.version} is {value.dtype}, not {spec.dtype}"
            )
        return value.astype(dtype)


def model_memory_bytes() -> int:
    """Memory limit of a process's models: `MEMORY_SHARE` of the machine's, up to `MEMORY_LIMIT_BYTES`."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MEMORY_LIMIT_BYTES, int(MEMORY_SHARE * machine_bytes))


_arena_lock = threading.Lock()


def _bound_memory() -> None:
    with _arena_lock:
        _make_arena()


@cache
def _make_arena() -> None:
    """Create the arena of all sessions of this process."""
    import onnxruntime

    kind, purpose = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    same_as_requested = 1
    arena = {
        "max_mem": model_memory_bytes(),
        "arena_extend_strategy": same_as_requested,
        "initial_chunk_size_bytes": 64 * 1024,
    }
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo("Cpu", kind, 0, purpose), onnxruntime.OrtArenaCfg(arena)
    )


def open_session(path: Path, providers: Sequence[tuple[str, dict[str, Any]]] = CPU, threads: int = 1) -> Any:
    """An ONNX Runtime session of a model file: the only way in which models are opened there.

    A node runs a model in it, and training and the gate judge the same model in it. It runs on one thread if
    the model is small. Raises `BundleIncompatible`.
    """
    import onnxruntime

    check_model_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if path.stat().st_size < SMALL_BYTES else threads
    options.inter_op_num_threads = 1
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's classes share no base below Exception.
        raise BundleIncompatible(f"{path} cannot be loaded: {error}") from error


def load_model(bundle: Bundle, profile: Profile) -> OnnxModel:
    """The bundle's model for a device, ready to run. Raises `BundleIncompatible` if it cannot be loaded."""
    return load_variant(bundle, bundle.manifest.preferred(profile.runtimes, profile.precision), profile)


def load_variant(bundle: Bundle, variant: Variant, profile: Profile) -> OnnxModel:
    """One of the bundle's model files, ready to run. Raises as `load_model`."""
    manifest = bundle.manifest.of_variant(variant)
    path = bundle.path / variant.file
    if variant.runtime == OPENVINO:
        from common.model.openvino_session import open_openvino_session

        session = open_openvino_session(path, profile.intra_op_threads)
    else:
        session = open_session(path, _providers(profile), profile.intra_op_threads)
    _check(manifest, "input", manifest.inputs, session.get_inputs(), str(path))
    _check(manifest, "output", manifest.outputs, session.get_outputs(), str(path))
    needed = {node.name for node in session.get_inputs()} - {spec.name for spec in manifest.inputs}
    if needed:
        raise BundleIncompatible(f"{path} needs inputs that its manifest lacks: {sorted(needed)}")
    return OnnxModel(manifest, session)


def _providers(profile: Profile) -> list[tuple[str, dict[str, Any]]]:
    """The profile's providers that are installed. Raises `BundleIncompatible` if none is."""
    import onnxruntime

    installed = onnxruntime.get_available_providers()
    providers = [
        (name, dict(profile.provider_options.get(name, {})))
        for name in profile.providers
        if name in installed
    ]
    if not providers:
        raise BundleIncompatible(
            f"profile {profile.name} wants one of {', '.join(profile.providers)}; "
            f"the installed ONNX Runtime has {', '.join(installed)}"
        )
    return providers


def _fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    if len(shape) != len(spec.shape):
        return False
    for wanted, length in zip(spec.shape, shape, strict=True):
        if wanted is not None and wanted != length:
            return False
    return True


def _check(manifest: Manifest, what: str, specs: list[TensorSpec], nodes: Sequence[Any], where: str) -> None:
    """Compare the manifest's tensors with the model's."""
    known: Mapping[str, Any] = {node.name: node for node in nodes}
    for spec in specs:
        node = known.get(spec.name)
        if node is None:
            raise BundleIncompatible(
                f"{where}: the manifest of {manifest.version} names the {what} {spec.name!r}; "
                f"the model has {sorted(known)}"
            )
        dtype = _ONNX_TYPES.get(node.type, node.type)
        if dtype != spec.dtype:
            raise BundleIncompatible(f"{where}: {what} {spec.name!r} is {dtype}, not {spec.dtype}")
        shape = list(node.shape or [])
        clash = len(shape) != len(spec.shape) or any(
            isinstance(length, int) and wanted is not None and length != wanted
            for length, wanted in zip(shape, spec.shape, strict=True)
        )
        if clash:
            raise BundleIncompatible(f"{where}: {what} {spec.name!r} has shape {shape}, not {spec.shape}")

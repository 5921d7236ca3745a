"""Proof of a model before it is loaded: a process with limits loads it and runs its golden cases once.

A small file can name any amount of memory or time (constants that are folded at load, tensors that are
tiled, operators that are slow), and can crash the runtime. `prove` finds that out in a child process on the
CPU, whose memory and time are bounded by the system; the process of the node or cloud loads only what has
passed. Outputs and latency are judged afterwards, on the device (`common.model.golden`).

``python -m common.model.load_test BUNDLE MEMORY_BYTES TIMEOUT_S [FILE RUNTIME]`` is the child.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import msgspec

from common.bundle import ONNX_RUNTIME, Bundle, Variant, open_bundle
from common.errors import BundleError, BundleIncompatible, GoldenCaseFailed
from common.model.golden import run_golden
from common.model.inference import OnnxModel, load_variant, model_memory_bytes
from common.model.profile import Profile

TIMEOUT_S = 120.0
"""Longest time for the proof of a model."""
DETAIL_CHARACTERS = 1000
_REFUSED, _FAILED_GOLDEN = 3, 4
_CPU = Profile("proof", ("CPUExecutionProvider",), 1, "float32", lambda: False)


def prove(
    bundle: Bundle,
    variant: Variant | None = None,
    *,
    memory_bytes: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Check that ``bundle`` loads and runs within ``memory_bytes`` (`model_memory_bytes`) and ``timeout_s``.

    Every model file is run in ONNX Runtime, or only ``variant``, in its own runtime. Raises
    `BundleIncompatible` for a model that cannot be loaded, needs more, or ends the process, and
    `GoldenCaseFailed` for golden cases that cannot be run.
    """
    limit_bytes = memory_bytes or model_memory_bytes()
    limits = [str(limit_bytes), str(math.ceil(timeout_s))]
    command = [sys.executable, "-P", "-m", "common.model.load_test", str(bundle.path), *limits]
    if variant is not None:
        command += [variant.file, variant.runtime]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleIncompatible(f"{bundle.version} is not loaded and run within {timeout_s:g} s") from None
    detail = ended.stdout.decode("utf-8", "replace").strip()[-DETAIL_CHARACTERS:]
    bounds = f"at most {limit_bytes} bytes of memory and {timeout_s:g} s"
    status = ended.returncode
    if status == _FAILED_GOLDEN:
        raise GoldenCaseFailed(f"{detail} ({bounds})")
    if status == _REFUSED:
        raise BundleIncompatible(f"{detail} ({bounds})")
    if status < 0:
        name = signal.Signals(-status).name
        raise BundleIncompatible(f"{bundle.version} ends the process that runs it by {name} ({bounds})")
    if status:
        trace = ended.stderr.decode("utf-8", "replace").strip()[-DETAIL_CHARACTERS:]
        raise BundleIncompatible(f"the proof of {bundle.version} ended with status {status}: {trace}")


def load_proven(bundle: Bundle, profile: Profile) -> OnnxModel:
    """`load_model` after `prove` of the model file that it loads. Raises what either raises."""
    variant = bundle.manifest.preferred(profile.runtimes, profile.precision)
    prove(bundle, variant)
    return load_variant(bundle, variant, profile)


def _limit(memory_bytes: int, timeout_s: int) -> None:
    """Bound what this process may take from here on."""
    # Where the system has no RLIMIT_DATA that counts mappings (macOS), time alone is bounded.
    used_bytes = _data_bytes()
    allowed_bytes = used_bytes + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (allowed_bytes, allowed_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (timeout_s, timeout_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)


def main() -> int:
    """Load and run the bundle under limits; what is wrong with it goes to standard output."""
    path, memory_bytes, timeout_s, *only = sys.argv[1:]
    file, runtime = only or ("", ONNX_RUNTIME)
    try:
        import_module(runtime)  # its own memory is not the model's
    except ImportError as error:
        sys.stdout.write(f"{runtime} is not installed: {error}")
        return _REFUSED
    _limit(int(memory_bytes), int(timeout_s))
    try:
        bundle = open_bundle(Path(path))
        for variant in bundle.manifest.model_files():
            if file and (variant.file, variant.runtime) != (file, runtime):
                continue
            in_runtime = msgspec.structs.replace(variant, runtime=runtime)
            run_golden(bundle, load_variant(bundle, in_runtime, _CPU))
    except GoldenCaseFailed as error:
        sys.stdout.write(str(error))
        return _FAILED_GOLDEN
    except BundleError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    except MemoryError:
        sys.stdout.write("loading and running the model takes too much memory")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Executors of jobs: a child process of the cloud, or a Ray cluster. Both fill the same folder."""

# Ray is optional.
# pyright: reportMissingImports=false

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cloud_backend.training.job import BUNDLE, LOG, RESULT, SPEC, JobResult, read_spec, write_struct
from common import durable
from common.errors import ConfigError, EdgeloopError

PID = "worker.pid"


class Run(Protocol):
    """A job that was started."""

    def poll(self) -> str | None:
        """None while it runs; else the reason of its end, empty for a regular one."""
        ...

    def terminate(self) -> None:
        """Request its stop."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...


class Executor(Protocol):
    """Starts jobs, each from the ``job.json`` in its folder."""

    def start(self, folder: Path) -> Run: ...

    def abandon(self, folder: Path) -> None:
        """End a job that an earlier start of the cloud may have left running in ``folder``."""
        ...


class ChildProcesses:
    """Each job in a child process with lower priority, whose output goes to the job's log."""

    def start(self, folder: Path) -> Run:
        environment = {k: v for k, v in os.environ.items() if k != "EDGELOOP_TOKEN"}
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "cloud_backend.training.worker", str((folder / SPEC).resolve())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        os.setpriority(os.PRIO_PROCESS, child.pid, 10)
        durable.write(folder / PID, str(child.pid).encode())
        return _Child(child)

    def abandon(self, folder: Path) -> None:
        try:
            pid = int((folder / PID).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str((folder / SPEC).resolve()).encode() in command.split(b"\0"):
            os.kill(pid, signal.SIGKILL)


class _Child:
    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def poll(self) -> str | None:
        status = self._child.poll()
        if status is None:
            return None
        if self._child.stdin is not None:
            self._child.stdin.close()
        if status < 0:
            return f"the worker was ended by {signal.Signals(-status).name}"
        return f"the worker ended with status {status}" if status else ""

    def terminate(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(10)


class RayCluster:
    """Each job as a task on a Ray cluster; the folder's content travels with it and back.

    Raises `ConfigError` where Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str) -> None:
        if find_spec("ray") is None:
            raise ConfigError(
                f"training.ray_address is {address!r}, but Ray is not installed: pip install ray"
            )
        import ray

        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
        except Exception as error:  # Ray's own errors have no common root
            raise ConfigError(f"cannot reach the Ray cluster at {address!r}: {error}") from error
        self._task = ray.remote(max_retries=0)(run_remote)

    def start(self, folder: Path) -> Run:
        return _RayRun(self._task.remote(pack(folder)), folder)

    def abandon(self, folder: Path) -> None:
        """Nothing to do: a task ends with the driver that started it."""


class _RayRun:
    def __init__(self, task: Any, folder: Path) -> None:
        self._task = task
        self._folder = folder

    def poll(self) -> str | None:
        import ray

        done, _ = ray.wait([self._task], timeout=0)
        if not done:
            return None
        try:
            files: dict[str, bytes] = ray.get(self._task)
        except Exception as error:  # noqa: BLE001  Ray's own errors have no common root
            return f"the task failed on the cluster: {str(error).splitlines()[-1]}"
        (self._folder / BUNDLE).mkdir(exist_ok=True)
        for name in sorted(files, key=lambda name: name == RESULT):  # the result last
            durable.write(self._folder / name, files[name])
        return ""

    def terminate(self) -> None:
        import ray

        ray.cancel(self._task)

    def kill(self) -> None:
        import ray

        ray.cancel(self._task, force=True)


def pack(folder: Path) -> dict[str, bytes]:
    """A job's folder with all that its spec names, by relative path."""
    spec = read_spec(folder / SPEC)
    files: dict[str, bytes] = {}
    samples = []
    for sample in spec.samples:
        files[f"samples/{sample.digest}"] = Path(sample.path).read_bytes()
        samples.append(msgspec.structs.replace(sample, path=f"samples/{sample.digest}"))
    if spec.parent:
        files |= {f"parent/{p.name}": p.read_bytes() for p in Path(spec.parent).iterdir() if p.is_file()}
    portable = msgspec.structs.replace(spec, samples=samples, parent="parent" if spec.parent else "")
    return files | {SPEC: msgspec.json.encode(portable)}


def run_remote(files: dict[str, bytes]) -> dict[str, bytes]:
    """The task on the cluster: unpack, `run_job`, and return the candidate and the result."""
    from cloud_backend.training.worker import run_job

    with tempfile.TemporaryDirectory(prefix="edgeloop-job-") as name:
        folder = Path(name)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        spec = read_spec(folder / SPEC)
        spec = msgspec.structs.replace(
            spec,
            samples=[msgspec.structs.replace(s, path=str(folder / s.path)) for s in spec.samples],
            parent=str(folder / spec.parent) if spec.parent else "",
        )
        lines: list[str] = []
        try:
            result = run_job(
                spec, folder, lambda fraction, message: lines.append(f"{fraction:.2f} {message}")
            )
        except EdgeloopError as error:
            result = JobResult(state="failed", reason=str(error))
        write_struct(folder / RESULT, result)
        out = {f"{BUNDLE}/{p.name}": p.read_bytes() for p in (folder / BUNDLE).glob("*") if p.is_file()}
        return out | {RESULT: (folder / RESULT).read_bytes(), LOG: "\n".join(lines).encode()}


def make_executor(ray_address: str) -> Executor:
    """The executor for this setting: child processes where it is empty."""
    return RayCluster(ray_address) if ray_address else ChildProcesses()

"""Child processes of the show: started, waited for by condition, stopped, and never left behind.

Rules:

- Every child writes to a log file; `Children.tail` shows its end where something goes wrong.
- A child runs in a session of its own, so Ctrl-C reaches only the show, which then stops its children
  in order; `Child.stop` asks with SIGTERM and kills the whole group where that does not help.
- On Linux a child also dies when the show is killed with SIGKILL (parent-death signal).
- Only what was started here is ever touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from common.errors import EdgeloopError

T = TypeVar("T")
POLL_S = 0.05
STOP_TIMEOUT_S = 60.0

# Runs in the child before its program: heed SIGINT, which what a shell starts in the background ignores; ask
# Linux to send SIGTERM when the parent's thread ends, then look whether the parent is gone already. 1 is
# PR_SET_PDEATHSIG of prctl(2).
_LAUNCH = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ShowError(EdgeloopError):
    """A step of the show did not happen."""


def wait_until(
    condition: Callable[[], T],
    *,
    what: str,
    timeout_s: float,
    poll_s: float = POLL_S,
    failed: Callable[[], str | None] = lambda: None,
) -> T:
    """The first true value of ``condition``.

    Raises `ShowError` naming ``what`` once ``timeout_s`` is over, or as soon as ``failed`` tells a reason
    why it can never be.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if reason := failed():
            raise ShowError(f"{what}: {reason}")
        if time.monotonic() > deadline:
            raise ShowError(f"{what}: not within {timeout_s:g} s")
        time.sleep(poll_s)


class Child:
    """One child process and its log. Made by `Children.start`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def death(self) -> str | None:
        """Why it ended, with the end of its log; None while it runs. For ``failed`` of `wait_until`."""
        if self.alive:
            return None
        return f"{self.name} ended with exit code {self.exit_code}; the end of {self.log}:\n{tail(self.log)}"

    def terminate(self) -> None:
        """Ask it to drain and end (SIGTERM)."""
        if self.alive:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to this one process, now; its own children are left to themselves."""
        if self.alive:
            self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises `ShowError` if it does not end in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ShowError(f"{self.name} did not end within {timeout_s:g} s; see {self.log}") from None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, then SIGKILL to its whole group; returns the exit code."""
        self.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.reap()
        return self._process.wait()

    def reap(self) -> None:
        """SIGKILL to whatever is left of its group; only once the child itself has ended."""
        if self.alive:
            return
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            pass
        else:
            return  # The number has been given to another process, so nothing of the group is left.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Children:
    """All child processes of one show or test; a context manager that leaves none behind."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._lock = threading.Lock()
        # The parent-death signal follows the thread that starts a child, so that thread must live on.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="starter")

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start ``command``; its output is added to ``<logs>/<name>.log``. Raises `ShowError`."""
        log = self.logs / f"{name}.log"
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]

        def open_process() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    launch,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=folder,
                    start_new_session=True,
                )

        try:
            child = Child(name, self._starter.submit(open_process).result(), log)
        except (OSError, RuntimeError) as error:  # RuntimeError: the show ends, nothing is started any more.
            raise ShowError(f"cannot start {name}: {error}") from error
        with self._lock:
            self._children.append(child)
        return child

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop all that still run, the last started first, all within ``timeout_s``; then start no more."""
        with self._lock:
            children, self._children = self._children, []
        deadline = time.monotonic() + timeout_s
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            child.stop(max(0.1, deadline - time.monotonic()))
        self._starter.shutdown()


def edgeloop(*arguments: str) -> list[str]:
    """The command line of ``edgeloop ...`` in this Python."""
    return [sys.executable, "-m", "common.cli", *arguments]


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"

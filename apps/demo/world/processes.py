"""Child processes of a show: start, wait by condition, and stop, with none left behind.

Rules:

- Every child writes to a log file; error messages quote its end.
- A child runs in a session of its own, so Ctrl-C reaches only the show, which then stops its children in
  order: `Child.stop` sends SIGTERM, and SIGKILL to the whole group after a timeout.
- On Linux a child also ends if the show is killed with SIGKILL (parent-death signal).
- No other process is ever signalled.
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

# Runs in the child before its program: restore SIGINT, which a shell's background jobs ignore; request
# SIGTERM at the end of the parent's thread (Linux, PR_SET_PDEATHSIG = 1 of prctl(2)); exit if the parent has
# ended already.
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
    """A step of the show failed."""


def wait_until(
    condition: Callable[[], T | None],
    *,
    what: str,
    timeout_s: float,
    poll_s: float = POLL_S,
    failed: Callable[[], str | None] = lambda: None,
) -> T:
    """Wait for the first true value of ``condition`` and return it.

    Raises `ShowError` naming ``what`` after ``timeout_s``, or as soon as ``failed`` returns a reason.
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
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def exit_report(self) -> str | None:
        """Exit code and end of the log; None while it runs. For ``failed`` of `wait_until`."""
        if self.alive:
            return None
        return f"{self.name} ended with exit code {self.exit_code}; the end of {self.log}:\n{tail(self.log)}"

    def terminate(self) -> None:
        """Send SIGTERM: drain and end."""
        if self.alive:
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to this process only, not to its children."""
        if self.alive:
            self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait for its exit code. Raises `ShowError` after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ShowError(f"{self.name} did not end within {timeout_s:g} s; see {self.log}") from None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send SIGTERM, then SIGKILL to its whole group; returns the exit code. A kill is in its log."""
        self.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{self.name} did not end within {timeout_s:g} s of SIGTERM and was killed\n")
        self.reap()
        return self._process.wait()

    def reap(self) -> None:
        """Send SIGKILL to the rest of its group once the child itself has ended."""
        if self.alive:
            return
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            pass
        else:
            return  # The number belongs to another process now, so the group is empty.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Children:
    """All child processes of one show or test; a context manager that stops them."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._lock = threading.Lock()
        # The parent-death signal follows the thread that starts a child, so that thread must stay alive.
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
        """Start ``command``; its output is appended to ``<logs>/<name>.log``. Raises `ShowError`."""
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
        except (OSError, RuntimeError) as error:  # RuntimeError: the show ends.
            raise ShowError(f"cannot start {name}: {error}") from error
        with self._lock:
            self._children.append(child)
        return child

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop all running children in reverse order, within ``timeout_s``; no more can be started."""
        with self._lock:
            children, self._children = self._children, []
        deadline = time.monotonic() + timeout_s
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            child.stop(max(0.1, deadline - time.monotonic()))
        self._starter.shutdown()


def edgeloop(*arguments: str) -> list[str]:
    """Command line of ``edgeloop ...`` with this Python."""
    return [sys.executable, "-m", "common.cli", *arguments]


def tail(log: Path, lines: int = 15) -> str:
    """Last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"

"""A broker process: started, watched, its log bounded, and never left behind.

The process dies with the thread that started it (see `cloud_backend.broker.launch`), so start it from
one that lives as long as the broker should. Its pid and start time lie in a file; a process is only ever
killed if both match, so a pid that the system has given to someone else is left alone.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from common import durable
from common.errors import BrokerError

START_TIMEOUT_S = 60.0
PORT_TIMEOUT_S = 10.0
"""Maximum time in which the broker of a killed cloud releases the port."""
LOG_LIMIT_BYTES = 1_000_000
_POLL_S = 0.02
SPARE_FILES = 100
"""Files of a broker besides its connections."""

_log = structlog.get_logger("edgeloop.broker")


class BrokerChild:
    """One broker process listening on ``host:port``; ``arguments`` are those of the launcher."""

    def __init__(self, folder: Path, host: str, port: int, arguments: Sequence[str]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = folder / "broker.log"
        self._pid_file = folder / "broker.pid"
        self._address = host, port
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.pid is not None

    def start(self) -> None:
        """Start it and wait until it accepts connections. Raises `BrokerError` with the reason."""
        if self.alive():
            return
        self._end_stale()
        _wait(lambda: port_is_free(*self._address), PORT_TIMEOUT_S)
        if not port_is_free(*self._address):
            raise BrokerError(
                f"port {self._address[1]} of {self._address[0]} is used by another program: stop it, or "
                "choose another with --mqtt HOST:PORT (port 0 finds a free one)"
            )
        self.trim_log()
        command = [
            sys.executable,
            "-P",
            "-m",
            "cloud_backend.broker.launch",
            str(os.getpid()),
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            # In a session of its own, so that Ctrl-C in a terminal leaves it to us to end it after the drain.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        stamp = f"{self._process.pid} {_start_time(self._process.pid)}\n"
        durable.write(self._pid_file, stamp.encode(), mode=0o600)
        _wait(lambda: not self.alive() or _accepts(*self._address), START_TIMEOUT_S)
        if not self.alive() or not _accepts(*self._address):
            self.stop()
            raise BrokerError(f"the broker does not start; the end of {self.log}: {self._last_words()}")

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it; safe to call when it does not run."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout_s)
        self._pid_file.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def trim_log(self) -> None:
        """Empty the log when it is over its bound (the broker appends, so it goes on at the start)."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.write_bytes(self.log.read_bytes()[-LOG_LIMIT_BYTES // 10 :])

    def _last_words(self) -> str:
        lines = self.log.read_text("utf-8", "replace").strip().splitlines() if self.log.exists() else []
        return " | ".join(lines[-3:]) or "nothing"

    def _end_stale(self) -> None:
        """End a broker of an earlier cloud on this folder, where its parent's death did not."""
        try:
            pid, _, started = self._pid_file.read_text("ascii").strip().partition(" ")
            number = int(pid)
        except (FileNotFoundError, ValueError):
            return
        if started and _start_time(number) == started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
                _wait(lambda: _start_time(number) != started, START_TIMEOUT_S)
        self._pid_file.unlink(missing_ok=True)


def connections_within(wanted: int) -> int:
    """Maximum connections of a broker on this machine: each takes a file descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if hard == resource.RLIM_INFINITY else max(10, hard - SPARE_FILES)
    if possible < wanted:
        _log.warning(
            "the system's limit of open files allows fewer connections than mqtt.max_connections",
            connections=possible,
            wanted=wanted,
        )
    return min(wanted, possible)


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str) -> int:
    """A port of ``host`` that no one listens on at the moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _start_time(pid: int) -> str:
    """Start time of a process in the system's ticks; empty if it does not exist or is not readable."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]

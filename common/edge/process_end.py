"""End of the previous process on a node's data folder: cleanly, by a crash, or killed from outside.

A model is blamed for a crash, not for a kill or a power cut. The cases:

- A clean stop removes ``process.json``; where it is not there, nothing went wrong.
- A crash leaves a trace in ``crash.log``: `faulthandler` writes one on SIGSEGV, SIGABRT, SIGBUS, SIGFPE and
  SIGILL, and `ProcessEnd.crashed` for a thread that failed.
- The kernel counts processes that it killed for lack of memory; where that count grew since the process
  started (in the same boot), the end counts as a crash.
- Any other end without a trace was a kill from outside: SIGKILL, a power cut, a reset.
"""

from __future__ import annotations

import faulthandler
import logging
import os
from enum import StrEnum
from pathlib import Path

import msgspec

from common import durable

log = logging.getLogger(__name__)

MARK = "process.json"
TRACE = "crash.log"
TRACE_SHOWN = 2000
"""Maximum logged length of a trace, in characters."""


class Ending(StrEnum):
    """End of a process."""

    CLEAN = "clean"
    CRASHED = "crashed"
    KILLED = "killed"


class _Mark(msgspec.Struct, frozen=True):
    boot: str = ""
    out_of_memory: int = 0


class ProcessEnd:
    """Watches over the end of this process; ``previous`` is the end of the one before on ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._mark = folder / MARK
        self._trace = folder / TRACE
        self.previous = self._judge()
        durable.write(self._mark, msgspec.json.encode(_now()))
        self._file = self._trace.open("wb")
        faulthandler.enable(self._file, all_threads=False)

    def crashed(self, detail: str) -> None:
        """This process is about to end because something in it failed."""
        os.write(self._file.fileno(), f"{detail}\n".encode("utf-8", "replace"))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """This process ends as planned, or after `crashed`."""
        faulthandler.disable()
        self._file.close()
        if not self._trace.stat().st_size:
            self._mark.unlink(missing_ok=True)

    def _judge(self) -> Ending:
        try:
            mark = msgspec.json.decode(self._mark.read_bytes(), type=_Mark)
        except FileNotFoundError:
            return Ending.CLEAN
        except (OSError, msgspec.MsgspecError):
            mark = _Mark()  # it was cut while it was written
        trace = self._trace.read_text("utf-8", "replace") if self._trace.is_file() else ""
        if trace:
            log.error("the previous process crashed: %s", trace[:TRACE_SHOWN])
            return Ending.CRASHED
        now = _now()
        if mark.boot and mark.boot == now.boot and now.out_of_memory > mark.out_of_memory:
            log.error("the previous process ended when this machine ran out of memory")
            return Ending.CRASHED
        log.warning("the previous process was killed from outside, or the power was cut")
        return Ending.KILLED


def _now() -> _Mark:
    """This boot of the machine, and how many processes the kernel has killed in it for lack of memory."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        counts = dict(line.split(None, 1) for line in Path("/proc/vmstat").read_text("ascii").splitlines())
        return _Mark(boot, int(counts.get("oom_kill", "0")))
    except (OSError, ValueError):
        return _Mark()

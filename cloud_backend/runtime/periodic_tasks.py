"""The chores that a cloud does by itself, each in its own time, none able to stop the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from common.app.cloud import Chore

__all__ = ["Chore", "Steward"]

_log = structlog.get_logger("edgeloop.steward")
LONGEST_PAUSE_S = 60.0


class Steward:
    """A thread that does chores until it is stopped. A failure is logged when it is new, and once over."""

    def __init__(self, name: str, chores: Sequence[Chore]) -> None:
        self._chores = list(chores)
        self._due = dict.fromkeys((chore.name for chore in chores), 0.0)
        self._failures: dict[str, tuple[int, str]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Start the thread; each chore is done at once, then in its time."""
        self._thread.start()

    def stop(self) -> None:
        """Let the chore in hand end, then stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for chore in self._chores:
                if self._due[chore.name] <= time.monotonic() and not self._stopping.is_set():
                    pause_s = self._do(chore)
                    self._due[chore.name] = time.monotonic() + pause_s
            self._stopping.wait(max(min(self._due.values()) - time.monotonic(), 0.0))

    def _do(self, chore: Chore) -> float:
        """Do one chore; returns the pause until it is due again."""
        failures, last = self._failures.get(chore.name, (0, ""))
        try:
            chore.do()
        except Exception as error:  # noqa: BLE001  one chore must not stop the others
            text = f"{type(error).__name__}: {error}"
            if text != last:
                _log.error("a chore failed", chore=chore.name, error=text, exc_info=error)
            self._failures[chore.name] = failures + 1, text
            return min(chore.every_s * 2 ** min(failures, 10), max(LONGEST_PAUSE_S, chore.every_s))
        if failures:
            _log.info("a chore works again", chore=chore.name, failures=failures)
            del self._failures[chore.name]
        return chore.every_s

"""Periodic tasks of a cloud: each at its own interval, isolated from the failures of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from common.app.cloud import PeriodicTask
from common.backoff import backoff_s

__all__ = ["PeriodicTask", "PeriodicWorker"]

_log = structlog.get_logger("edgeloop.periodic_tasks")
MAX_PAUSE_S = 60.0
"""Longest pause after failures of a task with a shorter interval."""


class PeriodicWorker:
    """A thread that runs tasks until it is stopped.

    A failure is logged when it is new, and the first success after it. A failing task is paused twice as long
    each time.
    """

    def __init__(self, name: str, tasks: Sequence[PeriodicTask]) -> None:
        self._tasks = list(tasks)
        self._due = dict.fromkeys((task.name for task in tasks), 0.0)
        self._failures: dict[str, tuple[int, str]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Start the thread; each task runs at once, then at its interval."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the running task, then stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for task in self._tasks:
                if self._due[task.name] <= time.monotonic() and not self._stopping.is_set():
                    pause_s = self._run_task(task)
                    self._due[task.name] = time.monotonic() + pause_s
            self._stopping.wait(max(min(self._due.values()) - time.monotonic(), 0.0))

    def _run_task(self, task: PeriodicTask) -> float:
        """Run one task; the pause until it is due again."""
        failures, last = self._failures.get(task.name, (0, ""))
        try:
            task.run()
        except Exception as error:  # noqa: BLE001  one task must not stop the others
            text = f"{type(error).__name__}: {error}"
            if text != last:
                _log.error("a periodic task failed", task=task.name, error=text, exc_info=error)
            self._failures[task.name] = failures + 1, text
            return backoff_s(task.every_s, max(MAX_PAUSE_S, task.every_s), failures + 1)
        if failures:
            _log.info("a periodic task works again", task=task.name, failures=failures)
            del self._failures[task.name]
        return task.every_s

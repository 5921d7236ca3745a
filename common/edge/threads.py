"""The threads of a node: a node with a dead thread is worse than one that is restarted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

JOIN_S = 10.0
"""Longest wait for a thread to end; for the uplink, in addition to its drain."""


class NodeThreads:
    """Named threads; the first that fails sets ``ended`` and is kept in `failed`."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended
        self._threads: dict[str, threading.Thread] = {}
        self.failed: Exception | None = None

    def start(self, name: str, body: Callable[[], None]) -> None:
        """Run ``body`` in a thread."""

        def guarded() -> None:
            try:
                body()
            except Exception as error:
                log.exception("the thread %s failed", name)
                self.failed = error
                self._ended.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def join(self, name: str, timeout_s: float) -> None:
        """Wait for a thread, if it was started."""
        thread = self._threads.get(name)
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                log.warning("the thread %s does not end", name)

"""Running a node as a process of its own, from its settings until a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.app.spec import find_app
from common.config.node import Enrolment, NodeSettings
from common.edge.node import Node
from common.logs import Layout, set_up_logging
from common.private import forbid_core_dumps, restrict_new_files

log = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT)


def run_node(
    settings: NodeSettings,
    enrolment: Enrolment | None,
    *,
    record: Path | None = None,
    once: bool = False,
    json_log: bool = False,
    watch: Callable[[Mapping[str, Any]], object] | None = None,
) -> int:
    """Run a node until SIGTERM or SIGINT (or, with ``once``, until its source has ended and all is sent).

    With ``once`` the exit code is 1 where nothing of the source could be used. ``record`` is a folder to
    write readings to; ``json_log`` logs JSON lines; ``watch`` is called with each committed event, as
    `common.edge.delivery.history.KeptEvent.facts`. Returns the exit code. A second signal ends the process
    at once. Raises `EdgeloopError` if the node cannot start.
    """
    restrict_new_files()
    forbid_core_dumps()
    set_up_logging(Layout.JSON if json_log else Layout.CONSOLE)
    ended = threading.Event()
    _end_on_signal(ended)
    node = Node(
        settings,
        enrolment,
        find_app(settings.app),
        ended=ended,
        record_to=record,
        once=once,
        own_process=True,
        watch=watch,
    )
    node.start()
    ended.wait()
    return node.stop()


def _end_on_signal(ended: threading.Event) -> None:
    """Set ``ended`` at the first SIGTERM or SIGINT; a second one ends the process at once.

    A thread reads the signal's number from a pipe. Python calls handlers in the main thread only, which never
    calls one for a signal that came just before it began to wait without a timeout.
    """
    numbers, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def end() -> None:
        (number,) = os.read(numbers, 1)
        log.info("%s: draining", signal.Signals(number).name)
        ended.set()

    def restore(_number: int, _frame: Any) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_DFL)

    threading.Thread(target=end, name="signals", daemon=True).start()
    for each in ENDING:
        signal.signal(each, restore)

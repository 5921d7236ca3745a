"""Running a node as a process of its own, from its settings until a signal."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.app.spec import find_app
from common.config.node import Enrolment, NodeSettings
from common.edge.node import Node
from common.logs import Layout, set_up_logging
from common.private import restrict_new_files

log = logging.getLogger(__name__)


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
    set_up_logging(Layout.JSON if json_log else Layout.CONSOLE)
    ended = threading.Event()

    def drain(number: int, _frame: Any) -> None:
        log.info("%s: draining", signal.Signals(number).name)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        ended.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, drain)
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

"""Logging of node and cloud: one line a fact on stderr, through structlog, whoever logs it.

Code of edgeloop logs through the standard library or through structlog; both end in the same handler.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Any

OUR_LOGGERS = ("apps", "cloud_backend", "common", "edgeloop", "hardware")
QUIET_LOGGERS = ("urllib3", "tuf")


class Layout(StrEnum):
    """Form of a log line."""

    CONSOLE = "console"
    JSON = "json"
    LOGFMT = "logfmt"


def set_up_logging(layout: Layout, *, libraries: int = logging.INFO) -> None:
    """Send the log lines of this process to stderr: edgeloop's from INFO, others from ``libraries``."""
    import structlog

    stamps: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if layout is not Layout.LOGFMT:
        thread = structlog.processors.CallsiteParameter.THREAD_NAME
        stamps.append(structlog.processors.CallsiteParameterAdder([thread]))
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamps,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(layout)],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(libraries)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*stamps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _renderers(layout: Layout) -> list[Any]:
    import structlog

    match layout:
        case Layout.JSON:
            return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        case Layout.LOGFMT:
            order = ["timestamp", "level", "event"]
            return [
                structlog.processors.format_exc_info,
                structlog.processors.LogfmtRenderer(key_order=order),
            ]
        case Layout.CONSOLE:
            plain = structlog.dev.plain_traceback
            colors = sys.stderr.isatty()
            return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]

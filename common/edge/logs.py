"""The node's log: one line a fact on stderr, for people or as JSON."""

from __future__ import annotations

import logging
import sys


def set_up_logging(as_json: bool) -> None:
    """Let all of edgeloop log through structlog to stderr."""
    import structlog

    stamps = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.CallsiteParameterAdder([structlog.processors.CallsiteParameter.THREAD_NAME]),
    ]
    last = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamps,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(logging.INFO)
    for noisy in ("urllib3", "tuf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

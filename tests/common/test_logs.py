"""Log lines of the standard library and of structlog leave a process in the same form."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import logging, sys
import structlog
from common.logs import Layout, set_up_logging
set_up_logging(Layout(sys.argv[1]), libraries=logging.WARNING)
logging.getLogger("common.edge").info("the node %s has stopped", "bed-1")
structlog.get_logger("edgeloop.cloud").info("the API answers", port=8080)
logging.getLogger("uvicorn").info("noise")
try:
    raise ValueError("of this place")
except ValueError:
    logging.getLogger("apps.x").exception("it failed")
"""


def lines(layout: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, layout], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_lines_hold_level_logger_and_facts() -> None:
    node, cloud, failed = map(json.loads, lines("json"))
    assert (node["event"], node["level"]) == ("the node bed-1 has stopped", "info")
    assert (cloud["event"], cloud["port"], cloud["logger"]) == ("the API answers", 8080, "edgeloop.cloud")
    assert "ValueError: of this place" in failed["exception"]


def test_logfmt_lines_begin_with_time_level_and_event() -> None:
    node, cloud, *_ = lines("logfmt")
    assert 'level=info event="the node bed-1 has stopped"' in node
    assert 'level=info event="the API answers"' in cloud
    assert "port=8080" in cloud


@pytest.mark.parametrize("layout", ["json", "logfmt", "console"])
def test_libraries_are_quiet_below_their_level(layout: str) -> None:
    assert not any("noise" in line for line in lines(layout))

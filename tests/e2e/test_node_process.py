"""A node as a process: killed, and on a full disk."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from common.config.node import OutboxSettings
from tests.integration.conftest import make_node, spec, truth
from tests.integration.nodes import COUNT, SOURCE, facts, kept, of_the_app
from tests.waiting import PATIENCE_S, wait_for

__all__ = ["make_node", "spec", "truth"]

pytestmark = [pytest.mark.e2e]
CHILD = """
import sys, threading
from pathlib import Path
from common.config.node import NodeSettings, OutboxSettings
from common.edge.node import Node
from tests.builders import make_app
folder = Path(sys.argv[1])
settings = NodeSettings(app="sums", source=sys.argv[2], data=str(folder / "data"),
    outbox=OutboxSettings(commit_interval_s=float(sys.argv[3])))
Node(settings, None, make_app(folder / "starter")).start()
threading.Event().wait()
"""


def start(folder: Path, *, rate_hz: int, commit_interval_s: float) -> subprocess.Popen[bytes]:
    """A process that is a node in ``folder``, from there or from where the one before it was."""
    source = f"{SOURCE}&rate_hz={rate_hz}"
    command = [sys.executable, "-c", CHILD, str(folder), source, str(commit_interval_s)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _healthz(data: Path) -> dict[str, Any]:
    try:
        port = int((data / "telemetry.port").read_text("ascii"))
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S, retries=False)
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        return {"readings": 0, "outbox_events": 0, "ok": None}
    return msgspec.json.decode(answer.data)


def _readings(data: Path) -> int:
    return _healthz(data)["readings"]


def test_a_node_that_is_killed_goes_on_behind_its_last_reading(tmp_path: Path, truth) -> None:

    def position() -> int:
        if not (tmp_path / "data" / "outbox.sqlite").exists():
            return 0
        with closing(sqlite3.connect(tmp_path / "data" / "outbox.sqlite")) as connection:
            return connection.execute("SELECT position FROM meta").fetchone()[0] or 0

    for _ in range(4):
        before = position()
        child = start(tmp_path, rate_hz=400, commit_interval_s=0.1)
        try:
            wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
            wait_for(lambda before=before: position() >= min(before + 1, COUNT), "a committed reading")
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        (tmp_path / "data" / "telemetry.port").unlink()
        assert position() >= min(before + 1, COUNT)
    child = start(tmp_path, rate_hz=400, commit_interval_s=0.1)
    try:
        wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
        wait_for(lambda: position() == COUNT, "the rest")
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert of_the_app(kept(tmp_path / "data")) == truth


def test_a_full_disk_holds_the_node_up_and_loses_nothing(tmp_path: Path, truth) -> None:
    data = tmp_path / "data"
    child = start(tmp_path, rate_hz=200, commit_interval_s=OutboxSettings().commit_interval_s)
    try:
        wait_for(lambda: _readings(data) > 20, "some readings")
        limit = (data / "outbox.sqlite-wal").stat().st_size
        before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        wait_for(lambda: _healthz(data)["ok"] is False, "it shows")
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, before)
        wait_for(lambda: _readings(data) >= COUNT and _healthz(data)["ok"], "the rest")
        wait_for(lambda: _healthz(data)["outbox_events"] > len(truth), "all is kept")
    finally:
        child.kill()
        child.wait()
    events = kept(data)
    assert of_the_app(events) == truth
    assert facts(events, "edgeloop.outbox")[0]["problem"] == "disk"

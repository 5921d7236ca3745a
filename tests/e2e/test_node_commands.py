"""``edgeloop node`` as a process of its own: signals, and a second process that follows its events."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.e2e]
SOURCE = ("--source", "virtual:turbofan?seed=3", "--data", "data")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "TERM": "dumb",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}

MISSED_BY_THE_MAIN_THREAD = """
import signal, sys, threading, traceback
from common.config.node import NodeSettings
from common.edge.run import run_node
from tests.waiting import wait_for

def main_thread_waits():
    frame = sys._current_frames()[threading.main_thread().ident]
    return [each.name for each in traceback.extract_stack(frame)][-3:] == ["run_node", "wait", "wait"]

def end():
    wait_for(main_thread_waits, "the main thread waits for the end")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=end, daemon=True).start()
sys.exit(run_node(NodeSettings(app="industrial", source="virtual:turbofan?seed=3", data="data"), None))
"""
"""A node whose SIGTERM arrives in another thread: the main thread's wait is not interrupted, as where the
signal comes just before that begins."""


def edgeloop(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "common.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=folder,
        env=ENVIRONMENT,
    )


def test_events_are_followed_and_the_status_is_shown_while_the_node_runs(tmp_path: Path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-m", "common.cli", "node", "run", "--app", "industrial", *SOURCE, "--speed", "50"],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    follower = None
    try:
        wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
        shown = edgeloop("node", "status", "--data", "data", "--json", folder=tmp_path)
        assert shown.returncode == 0, shown.stdout
        status = json.loads(shown.stdout)
        assert status["source_state"] in ("waiting", "reading")
        assert {"novelty", "budget_left_bytes", "detail"} <= status["samples"].keys()
        follower = subprocess.Popen(
            [sys.executable, "-m", "common.cli", "node", "events", "--data", "data", "--follow", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=ENVIRONMENT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert follower.stdout is not None
        seqs = [json.loads(follower.stdout.readline())["seq"] for _ in range(40)]
        assert seqs == list(range(1, 41))
        follower.send_signal(signal.SIGINT)
        _, complaint = follower.communicate(timeout=60)
        assert (follower.returncode, complaint) == (0, "")
    finally:
        for process in (node, follower):
            if process is not None:
                process.kill()
                process.wait()
    ended = edgeloop("node", "status", "--data", "data", folder=tmp_path)
    assert ended.returncode == 1
    assert "no node runs in data" in ended.stderr


def test_a_term_signal_drains_and_ends_well(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "common.cli", "node", "run", "--app", "industrial", *SOURCE],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    try:
        wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
    assert child.returncode == 0, log
    assert "SIGTERM: draining" in log
    assert "the node has stopped" in log


def test_a_term_signal_that_does_not_interrupt_the_main_thread_ends_the_node(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", MISSED_BY_THE_MAIN_THREAD],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    try:
        _, log = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
    assert child.returncode == 0, log
    assert "the node has stopped" in log

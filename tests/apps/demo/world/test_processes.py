"""Child processes of the show, with real children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from apps.demo.world.processes import Children, ShowError, wait_until
from tests.waiting import PATIENCE_S

IDLE = [sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    "while True: signal.pause()",
]
PARENT_OF_ONE = [
    sys.executable,
    "-c",
    "import subprocess, sys, signal\n"
    f"child = subprocess.Popen({IDLE!r}, stdout=subprocess.DEVNULL)\n"
    "print('ready', child.pid, flush=True); signal.pause()",
]
SHOW = """
import pathlib, signal, sys
from apps.demo.world.processes import Children
children = Children(pathlib.Path(sys.argv[1]))
child = children.start("idle", {idle!r})
print(child.pid, flush=True)
signal.pause()
"""


def ready(child) -> bool:
    return b"ready" in child.log.read_bytes()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_writes_its_log_and_ends_on_request(tmp_path: Path):
    with Children(tmp_path) as children:
        child = children.start("idle", IDLE)
        wait_until(lambda: ready(child), what="ready", timeout_s=PATIENCE_S)
        assert child.stop() == -signal.SIGTERM
        assert not child.alive


def test_no_child_is_left_behind_when_the_show_fails(tmp_path: Path):
    started = []

    def show() -> None:
        with Children(tmp_path) as children:
            started.append(children.start("idle", IDLE))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        show()
    assert gone(started[0].pid)


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path):
    with Children(tmp_path) as children:
        child = children.start("stubborn", STUBBORN)
        wait_until(lambda: ready(child), what="ready", timeout_s=PATIENCE_S)
        assert child.stop(timeout_s=0.2) == -signal.SIGKILL
        assert "did not end within 0.2 s" in str(child.exit_report())


def test_grandchildren_go_with_the_child(tmp_path: Path):
    with Children(tmp_path) as children:
        child = children.start("parent", PARENT_OF_ONE)
        wait_until(lambda: ready(child), what="ready", timeout_s=PATIENCE_S)
        grandchild = int(child.log.read_text().split()[1])
        child.stop()
        wait_until(lambda: gone(grandchild), what="the grandchild is gone", timeout_s=PATIENCE_S)
        assert not child.alive


def test_grandchildren_of_a_killed_child_go_at_the_end(tmp_path: Path):
    with Children(tmp_path) as children:
        child = children.start("parent", PARENT_OF_ONE)
        wait_until(lambda: ready(child), what="ready", timeout_s=PATIENCE_S)
        grandchild = int(child.log.read_text().split()[1])
        child.kill()
        assert not gone(grandchild)
    wait_until(lambda: gone(grandchild), what="the grandchild is gone", timeout_s=PATIENCE_S)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_children_die_with_a_killed_show(tmp_path: Path):
    show = subprocess.Popen(
        [sys.executable, "-c", SHOW.format(idle=IDLE), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with show:
        assert show.stdout is not None
        pid = int(show.stdout.readline())
        os.kill(show.pid, signal.SIGKILL)
        show.wait()
    wait_until(lambda: gone(pid), what="the child is gone", timeout_s=PATIENCE_S)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path):
    with Children(tmp_path) as children:
        started = []
        thread = threading.Thread(target=lambda: started.append(children.start("idle", IDLE)))
        thread.start()
        thread.join()
        wait_until(lambda: ready(started[0]), what="ready", timeout_s=PATIENCE_S)
        assert started[0].alive


def test_an_ended_child_reports_its_exit_code_and_log(tmp_path: Path):
    with Children(tmp_path) as children:
        child = children.start("broken", [sys.executable, "-c", "raise SystemExit('no such engine')"])
        with pytest.raises(ShowError, match="no such engine"):
            wait_until(lambda: False, what="a broken child", timeout_s=PATIENCE_S, failed=child.exit_report)


def test_a_timeout_names_the_missing_condition():
    with pytest.raises(ShowError, match="pigs fly: not within"):
        wait_until(lambda: False, what="pigs fly", timeout_s=0.01)

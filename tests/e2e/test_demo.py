"""A headless show prints the evidence of every step, and leaves no process behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from apps.demo.world.processes import Child, Children, edgeloop, tail, wait_until
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SHOW_S = 2400.0
"""Bound of all stories: nine minutes on a quiet machine, several times as long on a busy one."""


def started_by_the_show(folder: Path) -> list[psutil.Process]:
    """Processes with the show's folder in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if "demo" not in arguments and any(str(folder) in argument for argument in arguments):
            found.append(process)
    return found


def start(children: Children, folder: Path) -> Child:
    return children.start(f"show-{folder.name}", edgeloop("demo", "--headless", "--data", str(folder)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "show"


@pytest.mark.timeout(2 * SHOW_S)
def test_every_step_passes_and_is_printed(children: Children, folder: Path):
    show = start(children, folder)
    assert show.wait(SHOW_S) == 0, tail(show.log, 60)
    text = show.log.read_text()
    print(text)
    assert re.search(r"All \d+ steps passed", text)
    assert "virtual" in text
    engines, rest = text.split("=== Patients")
    patients, stores = rest.split("=== Stores")
    for part in ("0 missing, 0 duplicated", "0 lost, 0 duplicated", "second round", "reverted", "RMSE"):
        assert part in engines, part
    for part in (
        "after the onset",
        "GET /fhir/Observation",
        "after: AF detected in",
        "refused",
        "0 lost, 0 duplicated",
    ):
        assert part in patients, part
    for part in (
        "crossings within 1 s of the true ones",
        "none, it is day there",
        "every head that the detector finds blurred before",
        "after: ",
        "0 lost, 0 duplicated",
    ):
        assert part in stores, part
    wait_until(lambda: not started_by_the_show(folder), what="all processes have ended", timeout_s=PATIENCE_S)


def test_no_process_is_left_however_the_show_is_stopped(children: Children, tmp_path: Path):
    """Three shows at once, since their start takes most of the time."""
    shows = {
        number: (tmp_path / number.name, start(children, tmp_path / number.name))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    }
    for number, (folder, show) in shows.items():
        wait_until(
            lambda folder=folder, show=show: (
                b"three nodes start ..." in show.log.read_bytes() and len(started_by_the_show(folder)) >= 4
            ),
            what="the show runs",
            timeout_s=PATIENCE_S,
            failed=show.exit_report,
        )
        os.kill(show.pid, number)
    for number, (folder, show) in shows.items():
        show.wait(PATIENCE_S)
        assert show.exit_code in (1, 130, -number)
        wait_until(
            lambda folder=folder: not started_by_the_show(folder), what="all have ended", timeout_s=PATIENCE_S
        )

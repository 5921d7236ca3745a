"""A copied app beside edgeloop and inside a checkout of it: its own tests pass in a process of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.authoring.new_app import new_app

pytestmark = [pytest.mark.e2e]

ROOT = Path(__file__).resolve().parents[2]


def python(project: Path, *arguments: str, first: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A Python of its own that can import the edgeloop in ``first`` and the new app."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={"PYTHONPATH": f"{first}:{project}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_the_tests_of_a_copy_pass(tmp_path: Path) -> None:
    project = new_app("pump_room", out=tmp_path / "project")
    run = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_decisions.py")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_copy_inside_a_checkout_is_a_package_of_it(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for part in ("apps/template", "common"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("apps/__init__.py", "pyproject.toml"):
        shutil.copy(ROOT / part, checkout / part)
    made = python(
        checkout,
        "-c",
        "from pathlib import Path; from common.authoring.new_app import new_app; "
        "new_app('pump_room', out=Path('apps'))",
        first=checkout,
    )
    assert made.returncode == 0, made.stderr
    assert 'pump_room = "apps.pump_room.app:SPEC"' in (checkout / "pyproject.toml").read_text()
    assert "from apps.pump_room.domain" in (checkout / "apps" / "pump_room" / "edge" / "app.py").read_text()
    tests = "apps/pump_room/tests/test_decisions.py"
    run = python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, first=checkout)
    assert run.returncode == 0, run.stdout + run.stderr

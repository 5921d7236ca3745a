"""Import rules cover a new app without naming it, and the rooms of each app form a graph without cycles."""

from __future__ import annotations

import graphlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "apps", "cloud_backend", "hardware")
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
MAX_ROOMS = 9
FIFTH_APP = {
    "__init__.py": "",
    "app.py": "from common.app.spec import AppSpec\n",
    "events.py": "import msgspec\n",
    "edge/__init__.py": "",
    "edge/app.py": "from apps.fifth import events\nfrom common.app.edge import EdgeContext\n",
    "virtual/__init__.py": "",
    "cloud/__init__.py": "",
    "cloud/projection.py": "import sqlmodel\nfrom apps.fifth import events\n",
    "pages/__init__.py": "from apps.fifth.cloud import projection\nimport common.pages\n",
    "training/__init__.py": "import onnx\nfrom apps.fifth.edge import app\n",
}

FORBIDDEN = [
    ("edge/app.py", "fastapi"),
    ("edge/app.py", "lightgbm"),
    ("edge/app.py", "common.pages"),
    ("edge/app.py", "apps.fifth.cloud"),
    ("edge/app.py", "apps.fifth.training"),
    ("virtual/source.py", "nicegui"),
    ("events.py", "sqlmodel"),
    ("cloud/routes.py", "apps.fifth.edge"),
    ("cloud/routes.py", "apps.fifth.training"),
    ("cloud/routes.py", "cloud_backend.store.tables"),
    ("training/job.py", "apps.ecg.app"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with a fifth app, which has no entry in the rules."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.onnx", "*.npz")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    for name, content in FIFTH_APP.items():
        file = folder / "apps" / "fifth" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def refused(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Report of the rules on a fifth app with all of `FORBIDDEN`."""
    folder = tmp_path_factory.mktemp("refused") / "tree"
    shutil.copytree(copy, folder)
    for module, imported in FORBIDDEN:
        with (folder / "apps" / "fifth" / module).open("a") as file:
            file.write(f"import {imported}\n")
    result = lint(folder)
    assert result.returncode == 1, result.stdout
    return result.stdout


def test_a_fifth_app_within_the_rules_is_accepted(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("module", "imported"), FORBIDDEN)
def test_a_forbidden_import_of_a_fifth_app_is_refused(refused: str, module: str, imported: str) -> None:
    dotted = f"apps.fifth.{module.removesuffix('.py').replace('/', '.')}"
    assert f"{dotted} -> {imported}" in refused, refused


APPS = sorted(folder.name for folder in (ROOT / "apps").iterdir() if (folder / "__init__.py").exists())


@pytest.mark.parametrize("app", APPS)
def test_rooms_of_an_app_are_few_and_import_one_way(app: str) -> None:
    arrows = room_imports(app)
    print(drawing(app, arrows))
    assert len(arrows) <= MAX_ROOMS, sorted(arrows)
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"rooms of {app} import each other: {' -> '.join(error.args[1])}")


@cache
def imports_of_apps() -> grimp.ImportGraph:
    return grimp.build_graph("apps", cache_dir=None)


def room_imports(app: str) -> dict[str, set[str]]:
    """The rooms that each room (folder, or module beside the folders) of an app imports."""
    graph = imports_of_apps()
    prefix = f"apps.{app}."
    rooms = {module: module.split(".")[2] for module in graph.modules if module.startswith(prefix)}
    arrows: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for module, room in rooms.items():
        imported = graph.find_modules_directly_imported_by(module)
        arrows[room] |= {rooms[each] for each in imported if each in rooms} - {room}
    return arrows


def drawing(app: str, arrows: dict[str, set[str]]) -> str:
    """The graph as text: one line for each room, with an arrow to those that it imports."""
    lines = [f"  {room:11s} -> {', '.join(sorted(arrows[room])) or '(none)'}" for room in sorted(arrows)]
    return "\n".join([f"apps/{app}", *lines])

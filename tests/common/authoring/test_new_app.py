"""`edgeloop new-app`: names, folders, and what a copy holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from common.authoring import commands
from common.authoring.new_app import Renaming, check_name, new_app
from common.bundle import open_bundle
from common.errors import ConfigError, TrainingError

ROOT = Path(__file__).resolve().parents[3]


def python(project: Path, *arguments: str, first: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A Python of its own that can import the edgeloop in ``first`` and the new app."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={"PYTHONPATH": f"{first}:{project}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_no_name_of_the_template_is_left_in_a_copy(tmp_path: Path) -> None:
    project = new_app("pump_room", out=tmp_path / "project")
    texts = {
        path: path.read_text()
        for path in project.rglob("*")
        if path.suffix in {".py", ".md", ".json", ".toml"}
    }
    assert len(texts) > 15
    assert not [path for path, text in texts.items() if "template" in text.lower()]
    assert 'pump_room = "pump_room.app:SPEC"' in texts[project / "pyproject.toml"]
    assert "class PumpRoomSettings" in texts[project / "pump_room" / "app.py"]
    assert '__tablename__ = "pump_room_machine"' in texts[project / "pump_room" / "cloud" / "tables.py"]
    assert 'title="Pump room"' in texts[project / "pump_room" / "app.py"]
    assert open_bundle(project / "pump_room" / "starter", app="pump_room").manifest.lineage.data


def test_the_tests_of_a_copy_pass(tmp_path: Path) -> None:
    project = new_app("pump_room", out=tmp_path / "project")
    run = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_decisions.py")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "name", ["", "Pump", "1pump", "pump-room", "class", "x" * 41, "pump/room", "../pump"]
)
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an app"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("industrial", "name of an installed app"),
        ("industrial_two", "table prefix"),
        ("json", "module"),
        ("common", "module"),
        ("template", "module"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_name(name)


def test_an_existing_folder_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        new_app("pump_room", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_nothing_is_left_of_an_app_whose_training_fails(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epochs"):
        new_app("pump_room", like="industrial", out=tmp_path / "project", parameters={"epochs": 0})
    assert not (tmp_path / "project").exists()


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


def test_names_of_other_packages_stay() -> None:
    renaming = Renaming("ecg", "apps.ecg", "heart", "heart")
    assert (
        renaming.text("from hardware.sensors.ecg_labels import x")
        == "from hardware.sensors.ecg_labels import x"
    )
    assert renaming.text("apps.ecg.edge ecg.alarm ecg_hour EcgCloud ECG_X sleepecg") == (
        "heart.edge heart.alarm heart_hour HeartCloud HEART_X sleepecg"
    )


def test_routes_and_folders_get_the_new_name() -> None:
    renaming = Renaming("template", "apps.template", "pump", "pump")
    assert renaming.text('get("/v1/apps/template/x")') == 'get("/v1/apps/pump/x")'
    assert renaming.text("/ui/apps/template, apps/template/edge") == "/ui/apps/pump, pump/edge"


def test_a_wrong_name_exits_with_1_and_says_why(tmp_path: Path) -> None:
    root = typer.Typer()
    root.command()(commands.new_app)
    result = CliRunner().invoke(root, ["industrial", "--out", str(tmp_path / "p")])
    assert result.exit_code == 1
    assert "name of an installed app" in str(result.exception)

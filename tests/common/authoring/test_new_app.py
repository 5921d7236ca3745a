"""`edgeloop new-app`: names, folders, and what a copy holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from common.app.spec import find_app
from common.authoring import commands
from common.authoring.new_app import Renaming, check_name, new_app
from common.bundle import open_bundle
from common.errors import ConfigError, TrainingError


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


def test_a_copy_that_learns_from_data_sets_only_begins_with_the_starter_of_its_origin(tmp_path: Path) -> None:
    project = new_app("kiosk", like="retail", out=tmp_path / "project")
    made, origin = (open_bundle(path) for path in (project / "kiosk" / "starter", find_app("retail").starter))
    assert (made.manifest.app, made.manifest.licence) == ("kiosk", origin.manifest.licence)
    assert set(made.manifest.lineage.data) - set(origin.manifest.lineage.data) == {
        f"starter of retail {origin.version}"
    }
    texts = {path: path.read_text() for path in project.rglob("*.py")}
    assert [path for path, text in texts.items() if "retail" in text.lower()] == []


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


def test_a_wrong_name_exits_with_1_and_a_reason(tmp_path: Path) -> None:
    root = typer.Typer()
    root.command()(commands.new_app)
    result = CliRunner().invoke(root, ["industrial", "--out", str(tmp_path / "p")])
    assert result.exit_code == 1
    assert "name of an installed app" in str(result.exception)

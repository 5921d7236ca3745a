"""Starters: made by an app's own training, measured, and never into a folder with files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from apps.template.app import SPEC
from cloud_backend.commands.models import app as model
from common.bundle import open_bundle
from common.errors import TrainingError
from common.training.starter import make_starter
from tests.common.authoring.broken_apps import broken


def test_the_starter_of_the_template_is_what_its_training_makes_now(tmp_path: Path) -> None:
    made = make_starter(SPEC, tmp_path / "starter")
    shipped = open_bundle(SPEC.starter, app=SPEC.name)
    assert made.model_path().read_bytes() == shipped.model_path().read_bytes()
    assert made.manifest.lineage.data == shipped.manifest.lineage.data
    assert made.manifest.figures == shipped.manifest.figures
    assert made.manifest.figures["accuracy"] > 0.97


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(TrainingError, match="not empty"):
        make_starter(SPEC, tmp_path)


def test_a_training_that_makes_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="made template 9, not template 1"):
        make_starter(broken(train="other_version_training"), tmp_path / "starter")


def test_the_command_trains_and_prints_the_figures(tmp_path: Path) -> None:
    arguments = [
        "starter",
        "apps.template.app:SPEC",
        "--out",
        str(tmp_path / "s"),
        "--version",
        "3",
        "--json",
    ]
    result = CliRunner().invoke(model, arguments)
    assert result.exit_code == 0, result.output
    assert '"accuracy"' in result.stdout
    assert open_bundle(tmp_path / "s", app="template").version == "3"

"""Files that edgeloop creates or finds in its folders are private to their owner."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from common.private import close_folder
from tests.builders import open_paths


def fill(folder: Path) -> None:
    for path in (folder / "slots" / "a" / "model.onnx", folder / "outbox.sqlite", folder / "of-a-person.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o664)
    for each in (folder, folder / "slots", folder / "slots" / "a"):
        each.chmod(0o755)


def test_what_lies_open_is_closed_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data"
    fill(folder)
    with caplog.at_level(logging.WARNING):
        assert close_folder(folder, ("outbox.*", "slots", "absent")) == 5
    assert open_paths(folder) == [folder / "of-a-person.txt"]
    assert "5 files and folders were open to other users" in caplog.text
    assert stat.S_IMODE((folder / "slots" / "a" / "model.onnx").stat().st_mode) == 0o600
    caplog.clear()
    assert close_folder(folder, ("outbox.*", "slots")) == 0
    assert not caplog.text


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    close_folder(tmp_path / "a" / "data", ())
    assert open_paths(tmp_path / "a" / "data") == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    fill(target)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "slots").symlink_to(target)
    (folder / "outbox.sqlite").symlink_to(target / "outbox.sqlite")
    before = open_paths(target)
    close_folder(folder, ("outbox.*", "slots"))
    assert open_paths(target) == before


def test_a_folder_that_all_share_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with caplog.at_level(logging.WARNING):
        close_folder(shared, ())
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert "use a folder of its own" in caplog.text


def test_the_command_creates_private_files_only(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['--help']\nfrom common import cli\n"
    code += "try:\n cli.main()\nfinally:\n open('out', 'w')"
    before = os.umask(0o022)
    try:
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    finally:
        os.umask(before)
    assert open_paths(tmp_path / "out") == []

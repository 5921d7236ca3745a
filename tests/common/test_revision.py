"""The revision of the code: a checkout's and a worktree's, marked where files differ from it."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from common.revision import code_version


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("1")
    git(folder, "add", "code.py")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


def revision(folder: Path) -> str:
    return f"{version('edgeloop')}+{git(folder, 'rev-parse', '--short=12', 'HEAD')}"


def test_a_checkout_has_its_revision_and_says_where_files_differ_from_it(checkout: Path) -> None:
    assert code_version(checkout) == revision(checkout)
    (checkout / "code.py").write_text("2")
    assert code_version(checkout) == revision(checkout) + "-dirty"


def test_a_worktree_has_its_own_revision(checkout: Path, tmp_path: Path) -> None:
    worktree = tmp_path / "worktree"
    git(checkout, "worktree", "add", "-q", "-b", "other", str(worktree))
    (worktree / "code.py").write_text("3")
    git(worktree, "commit", "-q", "-a", "-m", "Change")
    assert code_version(worktree) == revision(worktree) != revision(checkout)


def test_an_installation_has_its_version_alone(tmp_path: Path, checkout: Path) -> None:
    assert code_version(tmp_path) == version("edgeloop")
    inside = checkout / "site-packages"
    inside.mkdir()
    assert code_version(inside) == version("edgeloop")

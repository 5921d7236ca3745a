"""Revision of the running code, for the lineage of models."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def code_version(checkout: Path = CHECKOUT) -> str:
    """Version of edgeloop, and the revision where it runs from a checkout or a worktree of one.

    The version is that of the installation; ``dirty`` says that tracked files differ from the revision.
    """
    try:
        version = installed_version("edgeloop")
    except PackageNotFoundError:
        version = "unknown"
    if not (checkout / ".git").exists():
        return version  # Installed, perhaps into a folder of some other repository.
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{described.stdout.strip()}"

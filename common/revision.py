"""Which code runs: for the lineage of models."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path


def code_version() -> str:
    """Version of edgeloop, and the revision where it runs from a checkout."""
    try:
        version = installed_version("edgeloop")
    except PackageNotFoundError:
        version = "unknown"
    git = Path(__file__).resolve().parents[1] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = (git / head[5:]).read_text().strip()
    except OSError:
        return version
    return f"{version}+{head[:12]}" if head else version

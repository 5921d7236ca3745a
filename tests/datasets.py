"""Published data sets below ``EDGELOOP_DATA``; a test that needs one is skipped without it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.ecg.training.dataset import DS1, mitdb_in
from apps.industrial.training.dataset import cmapss_in
from common.errors import DatasetError


def mitdb_folder() -> Path:
    """The folder of the MIT-BIH Arrhythmia Database, with all records of DS1 at least."""
    return _found("mitdb", lambda root: mitdb_in(root, DS1))


def cmapss_folder() -> Path:
    """The folder of C-MAPSS, with FD001 at least."""
    return _found("cmapss", lambda root: cmapss_in(root, ("train",))[0])


def _found(name: str, find: Callable[[Path], Path]) -> Path:
    root = os.environ.get("EDGELOOP_DATA")
    if not root:
        pytest.skip(f"no EDGELOOP_DATA with {name} (see datasets/{name}.md)")
    try:
        return find(Path(root))
    except DatasetError as error:
        pytest.skip(str(error))

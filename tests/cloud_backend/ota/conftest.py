"""Fixtures of the tests of rollouts and of the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_backend.ota.repository import Repository
from tests.cloud_backend.ota.repositories import DAY_S
from tests.cloud_backend.ota.yard import Yard
from tests.updates import APP, StillClock


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.close()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def open_repository(tmp_path: Path, clock: StillClock) -> Callable[..., Repository]:
    def run(*apps: str, timestamp_validity_s: float = DAY_S) -> Repository:
        return Repository(tmp_path / "tuf", tmp_path / "secrets", apps or (APP,), timestamp_validity_s, clock)

    return run

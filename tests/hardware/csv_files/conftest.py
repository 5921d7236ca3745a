"""A logger, and a source that follows its file and looks often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hardware.csv_files.following import Followed, Logger, source_at


@pytest.fixture
def logger(tmp_path: Path) -> Logger:
    return Logger(tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardware.sensors.csv.FOLLOW_S", 0.01)


@pytest.fixture
def follow(logger: Logger, memory: Path) -> Iterator[Callable[..., Followed]]:
    followed: list[Followed] = []

    def start(after: int | None = None) -> Followed:
        followed.append(Followed(source_at(logger.path, memory, follow="true"), after))
        return followed[-1]

    yield start
    for each in followed:
        each.source.close()

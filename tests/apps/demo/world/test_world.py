"""A world that is not ready, and its watcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.snapshot import Watcher
from apps.demo.world.world import CloudSite
from tests.waiting import PATIENCE_S


def test_a_cloud_that_is_not_ready_is_reported(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children, pytest.raises(ShowError, match="not"):
        CloudSite(children, tmp_path / "cloud").client()


def test_the_watcher_retries_until_the_cloud_answers() -> None:
    paths: list[str] = []

    def get(path: str, **_query: Any) -> Any:
        paths.append(path)
        if len(paths) < 3:
            raise ShowError("the cloud is not ready")
        return {"counts": {"committed": 7}, "items": []}

    with Watcher([], get, "industrial", lambda get, app: {}) as watcher:
        wait_until(
            lambda: watcher.snapshot.events == 7, what="the watcher sees the cloud", timeout_s=PATIENCE_S
        )
    assert len(paths) >= 3

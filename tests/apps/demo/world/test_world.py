"""The world before it is ready, and the thread that looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.snapshot import Watcher
from apps.demo.world.world import CloudSite
from tests.waiting import PATIENCE_S


def test_a_cloud_that_is_not_ready_says_so(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children, pytest.raises(ShowError, match="not"):
        CloudSite(children, tmp_path / "cloud").client()


def test_the_watcher_goes_on_looking_until_the_cloud_answers() -> None:
    asked: list[str] = []

    def ask(path: str, **_query: Any) -> Any:
        asked.append(path)
        if len(asked) < 3:
            raise ShowError("the cloud is not ready")
        return {"counts": {"committed": 7}, "items": []}

    with Watcher([], ask, "industrial", lambda ask, app: {}) as watcher:
        wait_until(lambda: watcher.scene.events == 7, what="the watcher sees the cloud", timeout_s=PATIENCE_S)

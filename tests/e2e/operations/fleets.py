"""A cloud with running nodes, and the commands of its operator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.demo.world.processes import edgeloop, wait_until
from apps.demo.world.world import CloudSite
from common.bundle import MANIFEST, Bundle, open_bundle
from tests.e2e.conftest import ENVIRONMENT, FAST_CLOUD, TALLY, Settings
from tests.waiting import PATIENCE_S

SOURCE = "virtual:tally?seed=5&count=10000000&rate_hz=40"
APP = "tally"
CLOUD: Settings = {**FAST_CLOUD, "rollout": {"soak_s": 2.0, "check_interval_s": 0.2, "silence_s": 60.0}}
NODE: Settings = {
    "ota": {"poll_interval_s": 1.0, "shadow_readings": 5, "min_soak_readings": 5},
    "uplink": {"reconnect_min_s": 0.1, "reconnect_max_s": 0.5, "ack_timeout_s": 1.0},
    "telemetry": {"health_interval_s": 0.5},
}


def command(*arguments: str, status: int = 0) -> dict[str, Any]:
    """The output of ``edgeloop ... --json``."""
    ended = subprocess.run(
        edgeloop(*arguments, "--json"),
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return json.loads(ended.stdout) if not status else {"error": ended.stderr}


def model(folder: Path, version: str) -> Bundle:
    """The starter under another version."""
    shutil.copytree(TALLY / "starter", folder / version)
    path = folder / version / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    return open_bundle(folder / version, app=APP)


class Fleet:
    """A cloud with running nodes, and the queries of the tests."""

    def __init__(self, cloud: CloudSite, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder

    def ask(self, path: str, **query: Any) -> Any:
        with self.cloud.client() as client:
            return client.get(path, **query)

    def node(self, name: str) -> dict[str, Any]:
        return self.ask(f"/v1/nodes/{name}")

    def add_model(self, version: str) -> None:
        with self.cloud.client() as client:
            client.send_bundle(APP, model(self.folder, version))
            client.post(f"/v1/apps/{APP}/models", {"version": version})
            client.post(f"/v1/apps/{APP}/models/{version}/promote", {"by": "a test", "reason": "a test"})

    def start(self, version: str) -> str:
        self.add_model(version)
        with self.cloud.client() as client:
            body = {"version": version, "waves": [1.0]}
            return client.post(f"/v1/apps/{APP}/rollouts", body)["id"]

    def rollout(self, id: str) -> dict[str, Any]:
        return self.ask(f"/v1/apps/{APP}/rollouts/{id}")

    def progress(self, id: str) -> dict[str, Any]:
        return self.ask(f"/v1/apps/{APP}/rollouts/{id}/progress")

    def finish(self, id: str) -> None:
        until(lambda: self.rollout(id)["state"] != "running", f"the rollout {id} ends")
        assert self.rollout(id)["state"] == "done", self.rollout(id)

    def stored(self, name: str, **query: Any) -> int:
        with self.cloud.client() as client:
            return len(client.items(f"/v1/nodes/{name}/events", **query))


def until(condition: Callable[[], Any], what: str) -> Any:
    return wait_until(condition, what=what, timeout_s=PATIENCE_S)

"""``edgeloop cloud up`` on a folder of its own, as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from common.cloud_file import CloudFile, read_cloud_file
from tests.cloud_backend.ingest.nodes import SITE
from tests.waiting import PATIENCE_S


class CloudProcess:
    """``edgeloop cloud up`` on a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "common.cli", "cloud", "up", "--data", str(folder), *arguments]
        self.log = folder.with_suffix(".log").open("w+b")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGELOOP_")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment)

    def wait_ready(self) -> CloudFile:
        """Wait for the ready line; the content of ``cloud.json`` then."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert "is ready" in line, self.errors()
        return self.file()

    def file(self) -> CloudFile:
        return read_cloud_file(self.folder)

    def errors(self) -> str:
        return Path(self.log.name).read_text()

    def get(self, path: str, token: str | None = None) -> urllib3.BaseHTTPResponse:
        token = (self.folder / "secrets" / "admin-token").read_text().strip() if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return urllib3.request(
            "GET", self.file().http_url + path, headers=headers, retries=False, timeout=PATIENCE_S
        )

    def enrol(self) -> dict[str, str]:
        token = (self.folder / "secrets" / "admin-token").read_text().strip()
        answer = urllib3.request(
            "POST",
            self.file().http_url + "/v1/nodes",
            json={"node": "node-1", "site": SITE},
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_S,
        )
        assert answer.status == 201, answer.data
        return answer.json()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(PATIENCE_S)
        self.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., CloudProcess]]:
    clouds: list[CloudProcess] = []

    def start(*arguments: str, http: str = "127.0.0.1:0", mqtt: str = "127.0.0.1:0") -> CloudProcess:
        clouds.append(CloudProcess(tmp_path / "cloud", "--http", http, "--mqtt", mqtt, *arguments))
        return clouds[-1]

    yield start
    for cloud in clouds:
        cloud.close()

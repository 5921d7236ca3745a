"""World on one machine: a cloud and nodes as child processes, connected by links that can be cut.

The show and the end-to-end tests use it. It drives the product by public interfaces only: the command line,
the environment, the HTTP API and documented files. Settings are nested mappings, passed to the children as
``EDGELOOP_...`` variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from urllib3.util import parse_url

from apps.demo.world.network import Link, Rewrite
from apps.demo.world.processes import Child, Children, ShowError, edgeloop, wait_until
from common import durable
from common.cloud_client import CloudClient
from common.cloud_file import CloudFile, read_cloud_file
from common.config.loader import ENVIRONMENT_PREFIX
from common.config.node import Enrolment

READY_TIMEOUT_S = 240.0
REQUEST_TIMEOUT_S = 240.0
"""Bound of one request: the registry runs a model many times slower on a busy machine than on a quiet one."""
Settings = Mapping[str, Any]
COMMIT_INTERVAL_S = 0.5
"""Commit interval of a node's outbox here: prompt telemetry matters more than disk wear."""
Rewriter = Callable[[], tuple[Rewrite, Rewrite]]


class CloudSite:
    """One cloud: its folder, its process, and the links to it."""

    def __init__(
        self,
        children: Children,
        folder: Path,
        *,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        command: Callable[[list[str]], list[str]] = list,
    ) -> None:
        self.folder = folder
        self.command = command
        """Transforms the command line, for tests that limit the process."""
        self._children = children
        self._environment = environment_variables(settings or {}) | dict(environment or {})
        self._child: Child | None = None
        self._mqtt_links: list[Link] = []
        self._http_links: list[Link] = []

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def child(self) -> Child:
        if self._child is None:
            raise ShowError("the cloud was not started")
        return self._child

    @property
    def file(self) -> CloudFile:
        """``cloud.json`` as written by the running process. Raises `ShowError` before that."""
        found = self._read_file()
        if found is None:
            raise ShowError(f"the cloud in {self.folder} is not ready")
        return found

    def launch(self) -> Child:
        """Start the process without waiting."""
        arguments = ["cloud", "up", "--data", str(self.folder), "--http", "127.0.0.1:0"]
        command = self.command(edgeloop(*arguments, "--mqtt", "127.0.0.1:0"))
        self._child = self._children.start("cloud", command, environment=self._environment)
        return self._child

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> CloudFile:
        """Start it and wait until it serves requests."""
        self.launch()
        return self.await_ready(timeout_s)

    def await_ready(self, timeout_s: float = READY_TIMEOUT_S) -> CloudFile:
        """Wait until it serves requests, and point the links to its current addresses."""
        file = wait_until(
            self._answering, what="the cloud answers", timeout_s=timeout_s, failed=self.child.exit_report
        )
        for link in self._mqtt_links:
            link.target = (file.mqtt_host, file.mqtt_port)
        for link in self._http_links:
            link.target = _address(file.http_url)
        return file

    def client(self) -> CloudClient:
        """API client with the administrator's token. Raises `ShowError` if the cloud is not ready."""
        file = self.file
        token = (self.folder / "secrets" / "admin-token").read_text("utf-8").strip()
        return CloudClient(file.http_url, token, timeout_s=REQUEST_TIMEOUT_S)

    def add_links(
        self, rewrite: Rewriter | None = None, rewrite_http: Rewriter | None = None
    ) -> tuple[Link, Link]:
        """New links to this cloud for MQTT and HTTP; the caller closes them."""
        file = self.file
        mqtt = Link((file.mqtt_host, file.mqtt_port), rewrite=rewrite)
        http = Link(_address(file.http_url), rewrite=rewrite_http)
        self._mqtt_links.append(mqtt)
        self._http_links.append(http)
        return mqtt, http

    def stop(self, timeout_s: float = 60.0) -> int:
        return self.child.stop(timeout_s)

    def _read_file(self) -> CloudFile | None:
        try:
            found = read_cloud_file(self.folder)
        except FileNotFoundError:
            return None
        return found if self.alive and found.pid == self.child.pid else None

    def _answering(self) -> CloudFile | None:
        file = self._read_file()
        return file if file and answers(f"{file.http_url}/healthz") else None


class EdgeNode:
    """One node: its folder, its links and its process."""

    def __init__(
        self,
        children: Children,
        folder: Path,
        name: str,
        *,
        app: str,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.app = app
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mqtt: Link | None = None
        self.http: Link | None = None
        self._children = children
        given = settings or {}
        outbox = {"commit_interval_s": COMMIT_INTERVAL_S, **given.get("outbox", {})}
        self._environment = environment_variables({**given, "outbox": outbox}) | dict(environment or {})
        self._child: Child | None = None
        self._closing = ExitStack()

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def child(self) -> Child:
        if self._child is None:
            raise ShowError(f"node {self.name} was not started")
        return self._child

    @property
    def data(self) -> Path:
        """The node's own data folder."""
        return self.folder / "data"

    @property
    def links(self) -> list[Link]:
        return [link for link in (self.mqtt, self.http) if link is not None]

    def enrol(
        self,
        cloud: CloudSite,
        site: str,
        rewrite: Rewriter | None = None,
        rewrite_http: Rewriter | None = None,
    ) -> Enrolment:
        """Enrol with a running cloud, over links of its own."""
        self.mqtt, self.http = cloud.add_links(rewrite, rewrite_http)
        self._closing.callback(self.mqtt.close)
        self._closing.callback(self.http.close)
        with cloud.client() as client:
            answer = client.post("/v1/nodes", {"node": self.name, "site": site})
        enrolment = msgspec.structs.replace(
            msgspec.convert(answer, Enrolment),
            cloud_url=f"http://127.0.0.1:{self.http.port}",
            mqtt_host="127.0.0.1",
            mqtt_port=self.mqtt.port,
        )
        durable.write(self.folder / "enrolment.json", msgspec.json.encode(enrolment), mode=0o600)
        return enrolment

    def start(self, source: str, *arguments: str) -> Child:
        """Start the process without waiting."""
        command = ["node", "run", "--app", self.app, "--source", source, "--data", str(self.data)]
        enrolment = self.folder / "enrolment.json"
        if enrolment.exists():
            command += ["--enrolment", str(enrolment)]
        self._child = self._children.start(
            self.name, edgeloop(*command, *arguments), environment=self._environment
        )
        return self._child

    def await_ready(self, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Wait until /healthz answers; returns the address."""
        return wait_until(
            self._answering, what=f"{self.name} answers", timeout_s=timeout_s, failed=self.child.exit_report
        )

    def cut(self) -> None:
        """Cut its links to the cloud."""
        for link in self.links:
            link.cut()

    def restore(self) -> None:
        for link in self.links:
            link.restore()

    @property
    def is_cut(self) -> bool:
        return any(link.is_cut for link in self.links)

    def bytes_up(self) -> int:
        """Bytes sent by this node so far, as counted by its links."""
        return sum(link.bytes_up for link in self.links)

    def stop(self, timeout_s: float = 60.0) -> int:
        return self.child.stop(timeout_s)

    def close(self) -> None:
        """Close its links."""
        self._closing.close()

    def _answering(self) -> str | None:
        try:
            port = int((self.data / "telemetry.port").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        url = f"http://127.0.0.1:{port}"
        return url if answers(f"{url}/healthz") else None


def environment_variables(settings: Settings, prefix: str = ENVIRONMENT_PREFIX) -> dict[str, str]:
    """Settings as environment variables: ``{"uplink": {"linger_s": 1}}`` is ``EDGELOOP_UPLINK__LINGER_S=1``.

    Items of a list are separated by commas.
    """
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= environment_variables(value, f"{prefix}{key.upper()}__")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found[prefix + key.upper()] = text
    return found


def answers(url: str) -> bool:
    """Whether ``url`` answers with status 200."""
    try:
        return urllib3.request("GET", url, timeout=2.0, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _address(url: str) -> tuple[str, int]:
    parsed = parse_url(url)
    return str(parsed.host), int(parsed.port or 80)

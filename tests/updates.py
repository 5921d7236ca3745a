"""Builders of the tests of updates: a real repository, a real HTTP server, and a node's real parts."""

from __future__ import annotations

import json
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cloud_backend.ota.repository import Repository
from common.app.edge import EdgeContext, Reading, Sample
from common.app.events import fields_of
from common.bundle import Bundle, open_bundle
from common.config.node import Enrolment, OtaSettings
from common.deployment import Deployment, NodeTraits, Wave
from common.edge.update.adoption import Adoption
from common.edge.update.adoption_reports import ADOPTION_TYPE
from common.edge.update.app_settings import AppSettings
from common.edge.update.slots import Slots
from common.edge.update.update_client import UpdateClient
from common.messages import Event
from common.model.inference import OnnxModel, load_model
from common.model.profile import Profile
from common.sealing import key_text
from tests.builders import SumsEdge, make_app, make_bundle, make_reading

APP = "sums"
PROFILE = Profile("test", ("CPUExecutionProvider",), 1, "float32", lambda: True)
QUICK = OtaSettings(shadow_readings=5, min_soak_readings=5, download_grace_s=5.0)
SOAK = 10
"""Readings, a second apart, of the soak that `adopt` asks for."""
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
"""Writes an answer of its own instead of the file's content."""


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class FileServer:
    """Serves ``folder`` under ``/tuf/`` as any web server would, unless ``answers`` has one for the path.

    The keys of ``answers`` are the ends of paths. ``requests`` lists the requested paths.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.stopping = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.removeprefix("/tuf/")
        self.requests.append(path)
        file = self.folder / path
        content = file.read_bytes() if file.is_file() else None
        for end, answer in self.answers.items():
            if path.endswith(end):
                with suppress(BrokenPipeError, ConnectionResetError):
                    answer(request, content or b"")
                return
        if content is None:
            request.send_error(404)
            return
        self.send(request, content)

    @staticmethod
    def send(request: BaseHTTPRequestHandler, content: bytes, *, cut: int | None = None) -> None:
        """Answer with ``content``, from the byte where a Range begins; ``cut`` ends it after so many."""
        start = 0
        if requested := request.headers.get("Range"):
            start = int(requested.removeprefix("bytes=").partition("-")[0])
        if start and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        request.wfile.write(body if cut is None else body[:cut])


class UpdateSite:
    """A cloud's repository with published bundles, and what serves it."""

    def __init__(
        self, folder: Path, *, apps: tuple[str, ...] = (APP,), timestamp_validity_s: float = 86400.0
    ) -> None:
        self.folder = folder
        self.repository = Repository(folder / "tuf", folder / "secrets", apps, timestamp_validity_s)
        self.starter = make_bundle(folder / "starter", app=APP)
        self.server = FileServer(folder / "tuf")
        self.serial = 0

    def bundle(self, version: str, *, app: str = APP, **traits: Any) -> Bundle:
        """A good bundle; each version has weights of its own, a little apart from the others'."""
        gain = 1.0 + zlib.crc32(version.encode()) % 1000 / 1e5
        folder = self.folder / "bundles" / app / version
        return make_bundle(folder, **{"version": version, "app": app, "gain": gain, **traits})

    def publish(
        self, version: str, *, bundle: Bundle | None = None, app: str = APP, **changes: Any
    ) -> Deployment:
        """Roll ``version`` out to everybody at once."""
        self.serial += 1
        facts: dict[str, Any] = {"soak_s": 1.0, "rollout": f"r-{self.serial}", **changes}
        deployment = Deployment(app=app, serial=self.serial, waves=[Wave(version, 1.0)], **facts)
        self.repository.publish(app, bundle or self.bundle(version, app=app), deployment)
        return deployment

    def scratch(self) -> Path:
        """A folder for files that are not published."""
        return self.folder / f"extra-{self.serial}"

    def stolen(self) -> FileServer:
        """A server of the attacker's, with a copy of the repository that can be tampered with."""
        copy = self.folder / f"stolen-{time.monotonic_ns()}"
        shutil.copytree(self.folder / "tuf", copy)
        return FileServer(copy)


class NodeKit:
    """A node's slots, adoption and updates over ``folder``; another one there is the node after a restart."""

    def __init__(
        self,
        folder: Path,
        site: UpdateSite,
        *,
        url: str | None = None,
        root: Mapping[str, Any] | None = None,
        settings: OtaSettings = QUICK,
        clock: StillClock | None = None,
        node: str = "node-1",
        reserve_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self.folder = folder
        self.site = site
        self.clock = clock or StillClock()
        self.slots = Slots(folder / "slots", APP, site.starter.path, clock=self.clock)
        spec = replace(make_app(site.starter.path, APP), own_settings=("sample_every",))
        self.app_settings = AppSettings(spec, {}, folder, self.slots.state.content.settings)
        self.adoption = Adoption(self.slots, self.create, settings, self.clock)
        enrolment = Enrolment(
            node,
            "here",
            url or site.server.url,
            "127.0.0.1",
            1,
            "",
            "secret",
            dict(root or site.repository.root()),
            key_text(bytes(32)),
        )
        traits = NodeTraits(node, "here", "cpu")
        self.update_client = UpdateClient(
            folder / "tuf",
            enrolment,
            APP,
            traits,
            settings,
            self.slots,
            self.adoption,
            self.load,
            reserve_bytes=reserve_bytes,
            app_settings=self.app_settings,
        )
        self.position = 0
        self.drifting = False
        self.events: list[dict[str, Any]] = []

    def restarted(self) -> Self:
        """The same node after a restart."""
        again = type(self)(self.folder, self.site, clock=self.clock)
        again.position = self.position
        again.events = self.events
        return again

    @staticmethod
    def load(bundle: Bundle) -> OnnxModel:
        return load_model(bundle, PROFILE)

    def create(self, bundle: Bundle, changes: Mapping[str, Any]) -> tuple[SumsEdge, OnnxModel]:
        model = load_model(bundle, PROFILE)
        return SumsEdge(EdgeContext(self.app_settings.settings(changes), model)), model

    def look(self) -> list[dict[str, Any]]:
        """One check for a deployment; the node's reports of it."""
        self.update_client.check()
        facts = self._keep(self.adoption.events())
        self.adoption.committed()
        return facts

    def feed(self, count: int, *, values: Any = None, scale: float = 1.0) -> list[Event | Sample]:
        """Give the node readings, a second apart; the results of its app."""
        results: list[Event | Sample] = []
        for _ in range(count):
            self.position += 1
            self.clock.forward(1.0)
            reading = make_reading(self.position)
            if values is not None:
                reading = make_reading(self.position, values=values(self.position))
            elif scale != 1.0:
                reading = make_reading(self.position, values=reading.values * scale)
            results += self._process(reading)
        return results

    def version(self) -> str:
        """The version that answers the next reading."""
        (event, *_) = [e for e in self.feed(1) if isinstance(e, Event) and e.type == "sums.value"]
        return str(fields_of(event)["version"])

    def steps(self) -> list[str]:
        return [event["step"] for event in self.events]

    def reports(self, step: str) -> list[dict[str, Any]]:
        """The node's reports of this step."""
        return [event for event in self.events if event["step"] == step]

    def whole(self) -> str:
        """Version of the bundle that a restart would run; raises if it is not whole."""
        return open_bundle(self.folder / "slots" / self.slots.state.live, app=APP).version

    def _process(self, reading: Reading) -> list[Event | Sample]:
        given = self.adoption.process(reading, self.clock(), drifting=self.drifting)
        self._keep([each for each in given if isinstance(each, Event)])
        self.adoption.committed()
        return [each for each in given if not isinstance(each, Event) or each.type != ADOPTION_TYPE]

    def _keep(self, events: list[Event]) -> list[dict[str, Any]]:
        facts = [dict(fields_of(event)) for event in events if event.type == ADOPTION_TYPE]
        self.events += facts
        return facts


def adopt(node: NodeKit, site: UpdateSite, version: str, **changes: Any) -> None:
    """Publish, look, and feed until the model is live."""
    site.publish(version, **{"soak_s": float(SOAK), **changes})
    node.look()
    node.feed(QUICK.shadow_readings)


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Tamper with a metadata file, leaving its signatures as they are."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

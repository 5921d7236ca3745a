"""A new app outside the repository: made, installed in a new environment, tested, and once round the loop.

The environment has wheels of edgeloop and of the app; libraries are those of this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.demo.world.processes import Child, Children
from common.cloud_client import CloudClient
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
MIN_SAMPLES = 8
OUTSIDE = {"PYTHONPATH": "", "EDGELOOP_DATA": "", "PYTEST_ADDOPTS": ""}
FAST_CLOUD = {"EDGELOOP_ROLLOUT__CHECK_INTERVAL_S": "0.2"}
FAST_NODE = {"EDGELOOP_OTA__POLL_INTERVAL_S": "1", "EDGELOOP_OTA__SHADOW_READINGS": "20"}
ANY_MODEL = {"EDGELOOP_OTA__MAX_DISAGREEMENT": "1000", "EDGELOOP_OTA__MAX_LATENCY_FACTOR": "1000"}
"""For models that were trained for a second: their figures do not matter here."""
LEARNING = {"EDGELOOP_SETTINGS__CONSENT": "learning"}
PAUSES = ",".join(f"pause:{at_s}-{at_s + 6}" for at_s in range(40, 1240, 60))
"""Pauses of a patient's heart: each raises an alarm, whatever the model, and its strip is for review."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Workshop:
    """A new environment with edgeloop, and a folder to work in, both outside the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        dist = folder / "dist"
        self.run(sys.executable, "-m", "venv", folder / "venv")
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "-w")
        self.run(sys.executable, *wheel, dist, ROOT)
        self.install(next(dist.glob("edgeloop-*.whl")))

    def run(self, *command: str | Path) -> str:
        """Run a command to its end; its standard output."""
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env={**os.environ, **OUTSIDE},
            cwd=self.folder,
        )
        if "No matching distribution found for setuptools" in done.stderr:
            pytest.skip("no package index is reachable here, and a wheel needs setuptools")
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def edgeloop(self, *arguments: str | Path) -> str:
        return self.run(self.bin / "edgeloop", *arguments)

    def install(self, package: Path) -> None:
        pip = ("-m", "pip", "install", "--quiet", "--no-deps")
        self.run(self.bin / "python", *pip, package)

    def make(self, name: str, *options: str) -> None:
        """Make an app, install it, and run its tests and its check."""
        self.edgeloop("new-app", name, *options)
        self.install(self.folder / name)
        self.run(
            self.bin / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", self.folder / name / "tests"
        )
        results = [
            msgspec.json.decode(line) for line in self.edgeloop("app", "check", name, "--json").splitlines()
        ]
        assert len(results) > 25
        assert {result["state"] for result in results} <= {"holds", "skipped"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


class Loop:
    """A cloud and one node of a new app, both run by the environment's own command.

    ``subjects`` is the app's list of what its nodes decide on.
    """

    def __init__(
        self, workshop: Workshop, children: Children, app: str, folder: Path, subjects: str = "machines"
    ) -> None:
        self.workshop = workshop
        self.children = children
        self.app = app
        self.subjects = f"/v1/apps/{app}/{subjects}"
        self.cloud = folder / "cloud"
        self._node = folder / "node"
        command = ["cloud", "up", "--data", self.cloud, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
        process = self._start("cloud", command, FAST_CLOUD | {"EDGELOOP_ONLY_APPS": app})

        def is_up() -> bool:
            assert process.alive, process.exit_report()
            return (self.cloud / "cloud.json").exists()

        wait_for(is_up, "the cloud")
        url = msgspec.json.decode((self.cloud / "cloud.json").read_bytes())["http_url"]
        self.client = CloudClient(url, (self.cloud / "secrets" / "admin-token").read_text().strip())

    def start_node(self, speed: str, settings: Mapping[str, str], *sources: str) -> None:
        enrolment = self.cloud.with_name("node.json")
        self.edgeloop("fleet", "enrol", "node-1", "--site", "here", "--out", enrolment)
        command = ["node", "run", "--app", self.app, "--speed", speed]
        command += [word for source in sources for word in ("--source", source)]
        command = [*command, "--data", self._node, "--enrolment", enrolment]
        self._process = self._start("node", command, {**FAST_NODE, **settings})

    def edgeloop(self, *arguments: str | Path) -> str:
        return self.workshop.edgeloop(*arguments, "--data", self.cloud)

    def get(self, path: str, **query: Any) -> list[dict[str, Any]]:
        return self.client.get(path, **query)["items"]

    def samples(self, groups: int = 1) -> list[dict[str, Any]]:
        """Samples of the app, once there are `MIN_SAMPLES`, from so many groups."""

        def enough() -> list[dict[str, Any]]:
            assert self._process.alive, self._process.exit_report()
            found = self.get("/v1/samples", app=self.app, limit=100)
            of = {sample["group"] for sample in found}
            return found if len(found) >= MIN_SAMPLES and len(of) >= groups else []

        return wait_for(enough, f"samples of the node from {groups} groups")

    def versions(self) -> list[str]:
        return [row["version"] for row in self.get(f"/v1/apps/{self.app}/models")]

    def roll_out(self, version: str) -> None:
        """Roll out to the node, and wait until its decisions are by this version."""
        self.edgeloop("rollout", "start", self.app, version, "--waves", "1.0", "--soak-s", "2", "--follow")
        wait_for(
            lambda: {row["version"] for row in self.get(self.subjects)} == {version},
            f"decisions by {version}",
        )

    def learn(self, *parameters: str) -> str:
        """Train, promote whatever the verdict is, and roll out; the version."""
        self.edgeloop("model", "train", self.app, *parameters, "--no-follow")
        jobs = f"/v1/apps/{self.app}/jobs"
        wait_for(lambda: self.get(jobs)[0]["state"] in ("done", "refused", "failed"), "the verdict")
        assert self.get(jobs)[0]["state"] != "failed", self.get(jobs)[0]
        version = self.versions()[0]
        self.edgeloop("model", "promote", self.app, version, "--reason", "a test of the loop", "--by", "test")
        self.roll_out(version)
        return version

    def _start(self, name: str, arguments: list[str | Path], settings: Mapping[str, str]) -> Child:
        command = [str(self.workshop.bin / "edgeloop"), *map(str, arguments)]
        environment = {**OUTSIDE, **settings}
        return self.children.start(name, command, environment=environment, folder=self.workshop.folder)


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path / "logs") as children:
        yield children


def test_a_copy_of_the_template_goes_once_round_the_loop(
    workshop: Workshop, children: Children, tmp_path: Path
) -> None:
    workshop.make("pump_room")
    loop = Loop(workshop, children, "pump_room", tmp_path)
    loop.start_node("20", {}, "virtual:machine?seed=7&machines=4&fault=overheating:100-1000000")
    for sample in loop.samples():
        label = {"subject": sample["subject"], "group": sample["group"], "kind": "condition"}
        loop.client.post("/v1/apps/pump_room/labels", {**label, "body": {"faulty": True}})
    assert not any(row["alarm"] for row in loop.get(loop.subjects)), "the starter does not know this fault"

    loop.edgeloop("model", "train", "pump_room", "--json")
    version = loop.versions()[0]
    loop.roll_out(version)
    wait_for(
        lambda: all(row["alarm"] for row in loop.get(loop.subjects)),
        "alarms by the model that learnt the fault",
    )


def test_a_copy_of_the_industrial_app_goes_once_round_the_loop(
    workshop: Workshop, children: Children, tmp_path: Path
) -> None:
    tiny = ("--parameter", "epochs=1", "--parameter", "virtual_runs=12")
    workshop.make("press_line", "--like", "industrial", *tiny)
    loop = Loop(workshop, children, "press_line", tmp_path)
    loop.start_node("50", ANY_MODEL, "virtual:turbofan?seed=7&machines=4&fault=fan")
    for sample in loop.samples():
        order = {"machine": sample["subject"], "run": sample["attributes"]["run"], "kind": "failure"}
        cycle = sample["attributes"]["last_cycle"]
        loop.client.post("/v1/apps/press_line/work-orders", {**order, "cycle": cycle, "note": "fan"})
    loop.learn(*tiny)


def test_a_copy_of_the_ecg_app_goes_once_round_the_loop(
    workshop: Workshop, children: Children, tmp_path: Path
) -> None:
    tiny = ("--parameter", "virtual_patients=2", "--parameter", "max_rounds=8")
    workshop.make("bedside", "--like", "ecg", *tiny)
    loop = Loop(workshop, children, "bedside", tmp_path, subjects="patients")
    patients = [f"virtual:patient?seed={seed}&episodes={PAUSES}" for seed in (7, 8)]
    loop.start_node("30", ANY_MODEL | LEARNING, *patients)
    for sample in loop.samples(groups=2):
        began_ns = sample["attributes"]["began_ns"]
        body = {"began_ns": began_ns, "ended_ns": began_ns + 30 * 10**9, "rhythm": "sinus"}
        label = {"subject": sample["subject"], "group": sample["group"], "kind": "rhythm", "body": body}
        loop.client.post("/v1/apps/bedside/labels", label)
    strips = wait_for(lambda: loop.get("/v1/apps/bedside/review"), "strips around the alarms")
    for strip in strips:
        loop.client.post(f"/v1/apps/bedside/strips/{strip['id']}/review", {"verdict": "confirmed"})

    version = loop.learn(*tiny)
    manifest = loop.client.get(f"/v1/apps/bedside/models/{version}")["manifest"]
    assert manifest["parameters"]["strips"] > 0, "one patient's strips are for training"

"""Operation of a fleet: restore of its cloud, retirement and replacement of nodes, addresses, keys."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from apps.demo.world.processes import edgeloop, wait_until
from apps.demo.world.world import CloudSite, EdgeNode, environment_variables
from cloud_backend.broker.child import free_port
from cloud_backend.broker.choice import find_mosquitto
from cloud_backend.ota.repository import Repository
from common.broker_tls import tls_context
from common.bundle import MANIFEST, Bundle, open_bundle
from common.config.node import Enrolment
from common.deployment import SERIAL_LIMIT, Deployment
from tests.e2e.conftest import ENVIRONMENT, FAST_CLOUD, TALLY, Settings
from tests.updates import FileServer
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * PATIENCE_S)]
SOURCE = "virtual:tally?seed=5&count=10000000&rate_hz=40"
APP = "tally"
CLOUD: Settings = {**FAST_CLOUD, "rollout": {"soak_s": 2.0, "tick_s": 0.2, "silence_s": 60.0}}
NODE: Settings = {
    "ota": {"poll_s": 1.0, "shadow_readings": 5, "soak_readings": 5},
    "uplink": {"reconnect_first_s": 0.1, "reconnect_last_s": 0.5, "ack_timeout_s": 1.0},
    "telemetry": {"health_s": 0.5},
}


def command(*arguments: str, status: int = 0) -> dict[str, Any]:
    """What ``edgeloop ... --json`` prints."""
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
    """A cloud with nodes that run, and what a test asks of it."""

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


@pytest.fixture
def broker() -> str:
    return "auto"


@pytest.fixture
def fleet(make_cloud, tmp_path: Path) -> Fleet:
    cloud = make_cloud(CLOUD)
    cloud.start()
    return Fleet(cloud, tmp_path / "models")


@pytest.fixture
def add_node(fleet: Fleet, make_node) -> Callable[..., EdgeNode]:
    """Enrols and starts a node, and waits until the cloud knows its app."""

    def add(name: str) -> EdgeNode:
        node = make_node(name, settings=NODE)
        node.enrol(fleet.cloud, "plant")
        node.start(SOURCE)
        until(lambda: fleet.node(name)["health"].get("updates"), f"{name} reports")
        return node

    return add


def test_a_cloud_restored_from_a_backup_goes_on_with_its_fleet(fleet, add_node, tmp_path):
    names = ["node-1", "node-2"]
    nodes = [add_node(name) for name in names]
    fleet.finish(fleet.start("v2"))
    command("keys", "rotate", "root", "--data", str(fleet.cloud.folder))
    backup = command("cloud", "backup", "--data", str(fleet.cloud.folder), "--out", str(tmp_path / "b.tar"))
    assert backup["database"] == "sqlite"
    at_backup = {name: fleet.stored(name, type="tally.count") for name in names}
    with fleet.cloud.client() as client:
        client.post("/v1/keys/timestamp/rotate")
    late = fleet.start("v3")
    fleet.finish(late)
    seen = {name: fleet.node(name)["health"]["updates"] for name in names}
    until(lambda: all(fleet.stored(n, type="tally.count") > at_backup[n] + 50 for n in names), "more events")

    assert fleet.cloud.stop() == 0
    folder = str(fleet.cloud.folder)
    refused = command("cloud", "restore", str(tmp_path / "b.tar"), "--data", folder, status=1)
    assert "not empty" in refused["error"]
    restored = command("cloud", "restore", str(tmp_path / "b.tar"), "--data", folder, "--force")
    assert restored["created_ns"] == backup["created_ns"]
    assert Path(restored["kept"]).is_dir()
    fleet.cloud.start()

    def is_back(name: str) -> bool:
        node = fleet.node(name)
        updates = node["health"].get("updates", {})
        return not node["update_problem"] and updates.get("metadata", 0) > seen[name]["metadata"]

    until(lambda: all(is_back(name) for name in names), "the nodes trust the restored cloud")
    with fleet.cloud.client() as client:
        gone = [model["version"] for model in client.items(f"/v1/apps/{APP}/models")]
    assert "v3" not in gone, "the backup was taken before"
    fleet.finish(fleet.start("v4"))
    for name in names:
        node = fleet.node(name)
        assert (node["version"], node["update_problem"]) == ("v4", "")
        assert node["health"]["updates"]["serial"] > seen[name]["serial"]

    def accounted(name: str) -> bool:
        with fleet.cloud.client() as client:
            events = client.items(f"/v1/nodes/{name}/events")
        gaps = [e for e in events if e["type"] == "edgeloop.gap" and e["data"]["reason"] == "lost_by_cloud"]
        return bool(gaps) and events[-1]["seq"] > gaps[-1]["data"]["through"]

    until(lambda: all(accounted(name) for name in names), "what the restored cloud lacks is written down")
    lines = fleet.ask("/v1/audit-trail", limit=500)["items"]
    (line,) = [line for line in lines if line["action"] == "restore the cloud"]
    assert (line["actor"], line["address"]) == (f"os:{getpass.getuser()}", "offline")
    assert all(node.alive for node in nodes)


def test_a_cloud_put_back_without_the_command_says_so_and_catches_up(fleet, add_node, tmp_path):
    add_node("node-1")
    fleet.finish(fleet.start("v2"))
    assert fleet.cloud.stop() == 0
    copy = tmp_path / "copy"
    shutil.copytree(fleet.cloud.folder, copy, ignore=shutil.ignore_patterns("lock", "cloud.json", "broker"))
    fleet.cloud.start()
    fleet.finish(fleet.start("v3"))
    until(lambda: fleet.node("node-1")["version"] == "v3", "the node runs v3")
    assert fleet.cloud.stop() == 0
    shutil.rmtree(fleet.cloud.folder)
    shutil.move(copy, fleet.cloud.folder)
    fleet.cloud.start()
    fleet.finish(fleet.start("v4"))
    until(lambda: not fleet.node("node-1")["update_problem"], "the node checks for updates")
    assert fleet.node("node-1")["version"] == "v4"
    log = fleet.cloud.child.log.read_text("utf-8")
    assert "nodes have newer update metadata than this cloud" in log


def test_nodes_that_are_retired_or_away_leave_a_rollout_to_the_others(fleet, add_node, tmp_path):
    healthy, away, retired = add_node("healthy"), add_node("away"), add_node("retired")
    away.child.kill()
    until(lambda: fleet.node("away")["state"] == "offline", "the cloud knows that a node is away")
    folder = str(fleet.cloud.folder)
    command("fleet", "retire", "retired", "--data", folder)
    assert fleet.ask("/v1/fleet")["nodes"] == 2
    before = fleet.stored("retired")
    assert before > 0
    rollout = fleet.start("v2")
    until(lambda: fleet.progress(rollout)["states"].get("confirmed") == 1, "the healthy node confirms")
    progress = fleet.progress(rollout)
    assert {node["node"] for node in progress["nodes"]} == {"healthy", "away"}
    assert progress["deciding"]["failed"] == progress["deciding"]["silent"] == 0
    assert fleet.rollout(rollout)["state"] == "running"
    assert fleet.node("retired")["version"] != "v2"
    assert fleet.stored("retired") == before, "nothing is taken from a retired node, and its history stays"

    out = tmp_path / "replacement.json"
    command("fleet", "replace", "away", "--name", "newcomer", "--out", str(out), "--data", folder)
    assert fleet.node("away")["replaced_by"] == "newcomer"
    fleet.finish(rollout)
    enrolment = msgspec.json.decode(out.read_bytes(), type=Enrolment)
    assert (enrolment.node, enrolment.site) == ("newcomer", "plant")
    assert healthy.alive
    assert retired.alive


def test_nodes_take_updates_again_after_a_stolen_app_key_was_rotated(fleet, add_node, tmp_path):
    """Whoever has the app's and the online keys makes a node see the highest serial; then come new keys."""
    node = add_node("node-1")
    fleet.finish(fleet.start("v2"))
    seen = fleet.node("node-1")["health"]["updates"]["serial"]
    stolen = tmp_path / "stolen"
    shutil.copytree(fleet.cloud.folder / "tuf", stolen / "tuf")
    shutil.copytree(fleet.cloud.folder / "secrets", stolen / "secrets")
    theirs = Repository(stolen / "tuf", stolen / "secrets", [])
    server = FileServer(stolen / "tuf")
    honest = node.http.target

    def updates() -> dict[str, Any]:
        return fleet.node("node-1")["health"]["updates"]

    try:
        node.http.target = server.address
        theirs.publish(APP, None, Deployment(app=APP, serial=2**63 - 1, rollout="evil", base_version="v2"))
        until(lambda: updates()["problem"] == "malformed", "the node refuses a serial above the limit")
        assert updates()["serial"] < 100
        theirs.publish(APP, None, Deployment(app=APP, serial=SERIAL_LIMIT, rollout="evil", base_version="v2"))
        until(lambda: updates()["serial"] == SERIAL_LIMIT, "the node has seen the highest serial")
    finally:
        node.http.target = honest
        server.close()
    rollout = fleet.start("v3")
    assert fleet.node("node-1")["version"] == "v2"
    command("keys", "rotate", APP, "--data", str(fleet.cloud.folder))
    until(lambda: fleet.node("node-1")["version"] == "v3", "the node runs v3")
    fleet.finish(rollout)
    until(lambda: not fleet.node("node-1")["update_problem"], "the node checks for updates")
    assert seen < updates()["serial"] < SERIAL_LIMIT
    assert node.alive


def address_of_this_machine() -> str:
    """An address by which other machines reach this one; skips where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the interface
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def test_a_cloud_on_a_wildcard_enrols_under_addresses_that_others_reach(children, tmp_path):
    if find_mosquitto() is None:
        pytest.skip("iotcore listens on loopback only; Mosquitto is not installed")
    host, folder = address_of_this_machine(), str(tmp_path / "cloud")

    def site(settings: Settings, mqtt: str = "0.0.0.0:0") -> CloudSite:
        def listen(line: list[str]) -> list[str]:
            line[line.index("--http") + 1] = "0.0.0.0:0"
            line[line.index("--mqtt") + 1] = mqtt
            return line

        return CloudSite(
            children,
            tmp_path / "cloud",
            settings={**CLOUD, **settings},
            environment=ENVIRONMENT,
            command=listen,
        )

    cloud = site({})
    cloud.start()
    out = tmp_path / "node.json"
    enrol = ["fleet", "enrol", "node-1", "--site", "plant", "--out", str(out), "--data", folder]
    refused = command(*enrol, status=1)
    assert "http.public_url" in refused["error"]
    assert "mqtt.public_host" in refused["error"]
    assert not out.exists()
    forced = command(*enrol, "--force")
    assert forced["works_on"] == "this machine only"
    port = cloud.file.http_url.rpartition(":")[2]
    assert cloud.stop() == 0

    public: Settings = {
        "http": {"public_url": f"http://{host}:{port}"},
        "mqtt": {"public_host": host},
    }
    cloud = site(public)
    cloud.start()
    enrolled = command(*enrol)
    assert enrolled["cloud_url"] == f"http://{host}:{port}"
    assert enrolled["mqtt"].startswith(f"{host}:")
    assert enrolled["works_on"] != "this machine only"
    line = ["node", "run", "--app", APP, "--source", SOURCE, "--data", str(tmp_path / "node")]
    node = children.start(
        "node-1",
        edgeloop(*line, "--enrolment", str(out)),
        environment=ENVIRONMENT | environment_variables(NODE),
    )

    fleet = Fleet(cloud, tmp_path / "models")
    until(lambda: fleet.stored("node-1", type="tally.count") > 50, "events arrive by the public addresses")
    assert cloud.stop() == 0
    before = fleet_port(enrolled["mqtt"])
    moved = free_port(host)
    assert moved != before
    cloud = site(public, f"0.0.0.0:{moved}")
    cloud.start()
    fleet = Fleet(cloud, tmp_path / "models")
    count = fleet.stored("node-1", type="tally.count")
    until(
        lambda: fleet.stored("node-1", type="tally.count") > count, "the node follows the broker to its port"
    )
    assert node.alive
    assert cloud.stop() == 0


PrivateKey = ec.EllipticCurvePrivateKey


def certificate(folder: Path, host: str) -> tuple[Path, Path, Path]:
    """An authority, and a certificate with its key for ``host``."""
    now = datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def sign(
        subject: str, key: PrivateKey, issuer: str, by: PrivateKey, *, authority: bool
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        )
        return builder.sign(by, hashes.SHA256())

    ours, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca, broker, key = (folder / each for each in ("ca.pem", "broker.pem", "broker.key"))
    ca.write_bytes(sign("ca", ours, "ca", ours, authority=True).public_bytes(Encoding.PEM))
    broker.write_bytes(sign(host, theirs, "ca", ours, authority=False).public_bytes(Encoding.PEM))
    key.write_bytes(theirs.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return ca, broker, key


def test_an_external_broker_with_tls_serves_the_fleet(children, tmp_path):
    mosquitto = find_mosquitto()
    if mosquitto is None:
        pytest.skip("Mosquitto is not installed")
    authority, cert, key = certificate(tmp_path, "127.0.0.1")
    port, folder, files = free_port("127.0.0.1"), tmp_path / "cloud", tmp_path / "broker"
    settings = {"broker": "external", "tls": "true", "ca_file": str(authority)}

    def at_the_broker(line: list[str]) -> list[str]:
        line[line.index("--mqtt") + 1] = f"127.0.0.1:{port}"
        return line

    cloud = CloudSite(
        children,
        folder,
        settings={**CLOUD, "mqtt": settings},
        environment=ENVIRONMENT,
        command=at_the_broker,
    )
    cloud.start()
    fleet = Fleet(cloud, tmp_path / "models")
    until(lambda: "127.0.0.1" in fleet.ask("/v1/status")["broker"]["problem"], "the cloud names the trouble")
    out = tmp_path / "node.json"
    command("fleet", "enrol", "node-1", "--site", "plant", "--out", str(out), "--data", str(folder))
    enrolment = msgspec.json.decode(out.read_bytes(), type=Enrolment)
    assert enrolment.mqtt_tls
    assert "BEGIN CERTIFICATE" in enrolment.mqtt_ca
    tls = [
        "--cert",
        str(cert),
        "--key",
        str(key),
        "--listen",
        f"127.0.0.1:{port}",
        "--user",
        getpass.getuser(),
    ]
    written = command("cloud", "broker-config", "--data", str(folder), "--out", str(files), *tls)
    assert (written["users"], written["tls"]) == (2, True)
    children.start("mosquitto", [mosquitto, "-c", str(files / "mosquitto.conf")])
    line = ["node", "run", "--app", APP, "--source", SOURCE, "--data", str(tmp_path / "node")]
    children.start(
        "node-1",
        edgeloop(*line, "--enrolment", str(out)),
        environment=ENVIRONMENT | environment_variables(NODE),
    )
    until(lambda: fleet.stored("node-1", type="tally.count") > 20, "events arrive by TLS")
    assert fleet.ask("/v1/status")["broker"]["problem"] == ""
    stranger = mqtt.Client(CallbackAPIVersion.VERSION2)
    stranger.tls_set_context(tls_context(authority.read_text()))
    answers: list[str] = []
    stranger.on_connect = lambda _c, _u, _f, code, _p: answers.append(str(code))
    stranger.connect("127.0.0.1", port)
    until(lambda: (stranger.loop(0.1), answers)[1], "the broker answers a stranger")
    assert "uthori" in answers[0]
    assert cloud.stop() == 0


def fleet_port(address: str) -> int:
    return int(address.rpartition(":")[2])

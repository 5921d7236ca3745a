"""Addresses of a cloud and its broker: public ones, a port that moves, an external broker with TLS."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from apps.demo.world.processes import edgeloop
from apps.demo.world.world import CloudSite, environment_variables
from cloud_backend.broker.child import free_port
from cloud_backend.broker.choice import find_mosquitto
from common.broker_tls import tls_context
from common.config.node import Enrolment
from tests.e2e.conftest import ENVIRONMENT, Settings
from tests.e2e.operations.fleets import APP, CLOUD, NODE, SOURCE, Fleet, command, until
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * PATIENCE_S)]


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
    assert cloud.stop() == 0, cloud.child.exit_report()

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
    assert cloud.stop() == 0, cloud.child.exit_report()
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
    assert cloud.stop() == 0, cloud.child.exit_report()


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
    assert cloud.stop() == 0, cloud.child.exit_report()


def fleet_port(address: str) -> int:
    return int(address.rpartition(":")[2])

"""The attacks of the TUF specification (section 1.5.2), one by one, against a node's real update client.

The attacker owns the web server and the network: every test serves a tampered copy of a real repository
over HTTP. Whatever happens, the node keeps the model that it had, is whole after a restart, and reports
why it refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner  # pyright: ignore[reportPrivateImportUsage]  public in its docs
from tuf.api.metadata import (  # public in its docs
    Metadata,
    MetaFile,  # pyright: ignore[reportPrivateImportUsage]
    Root,  # pyright: ignore[reportPrivateImportUsage]
    TargetFile,  # pyright: ignore[reportPrivateImportUsage]
)
from tuf.api.serialization.json import JSONSerializer

from cloud_backend.ota.keys import Keys
from cloud_backend.ota.repository import Repository
from common.bundle import seal
from common.deployment import Deployment, Wave, deployment_target
from tests.builders import make_bundle
from tests.updates import APP, QUICK, FileServer, NodeKit, UpdateSite, edit_json
from tests.waiting import PATIENCE_S

OTHER = "ecg"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    site = UpdateSite(tmp_path / "cloud", apps=(APP, OTHER))
    yield site
    site.server.close()


@pytest.fixture
def node(tmp_path: Path, site: UpdateSite) -> NodeKit:
    """A node that has adopted ``v1``."""
    site.publish("v1")
    node = NodeKit(tmp_path / "node", site)
    node.look()
    node.feed(15)
    assert node.told("confirmed")[-1]["version"] == "v1"
    return node


@pytest.fixture
def attacker(site: UpdateSite) -> Iterator[Callable[[], FileServer]]:
    """Makes servers with a copy of what the cloud serves now."""
    servers: list[FileServer] = []

    def steal() -> FileServer:
        servers.append(site.stolen())
        return servers[-1]

    yield steal
    for server in servers:
        server.close()


class Forger:
    """Writes metadata into a stolen copy, signed by whatever keys the attacker got hold of."""

    def __init__(self, site: UpdateSite, server: FileServer) -> None:
        self.metadata = server.folder / "metadata"
        self.targets = server.folder / "targets"
        self.stolen = Keys(site.folder / "secrets" / "tuf")
        self.own = CryptoSigner.generate_ed25519()

    def newest(self, role: str) -> Metadata[Any]:
        found = sorted(self.metadata.glob(f"*.{role}.json"), key=lambda p: int(p.name.partition(".")[0]))
        path = found[-1] if found else self.metadata / f"{role}.json"
        return Metadata[Any].from_file(str(path))

    def write(
        self, role: str, change: Callable[[Any], None], signers: list[CryptoSigner], *, step: int = 1
    ) -> None:
        """A new version of ``role``."""
        signed = self.newest(role).signed
        change(signed)
        signed.version += step
        forged: Metadata[Any] = Metadata(signed)
        for signer in signers:
            forged.sign(signer, append=True)
        name = f"{role}.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        (self.metadata / name).write_bytes(forged.to_bytes(JSONSerializer(compact=True)))

    def index(self, *roles: str, snapshot: list[CryptoSigner], timestamp: list[CryptoSigner]) -> None:
        """A snapshot with the newest ``roles``, and a timestamp with that snapshot."""

        def meta(role: str) -> MetaFile:
            version = self.newest(role).signed.version
            content = (self.metadata / f"{version}.{role}.json").read_bytes()
            return MetaFile.from_data(version, content, ["sha256"])

        self.write("snapshot", lambda s: s.meta.update({f"{r}.json": meta(r) for r in roles}), snapshot)
        self.write("timestamp", lambda t: setattr(t, "snapshot_meta", meta("snapshot")), timestamp)

    def target(self, path: str, content: bytes) -> TargetFile:
        target = TargetFile.from_data(path, content, ["sha256"])
        folder, _, name = path.rpartition("/")
        file = self.targets / folder / f"{target.hashes['sha256']}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return target


def attacked(node: NodeKit, site: UpdateSite, server: FileServer, **changes: Any) -> NodeKit:
    """The same node, restarted, with its traffic now going to the attacker."""
    return NodeKit(node.folder, site, url=server.url, **changes)


def assert_refused(node: NodeKit, reason: str, *, version: str = "v1") -> dict[str, Any]:
    """One look ends with ``reason``; model and slots stay what they were."""
    node.look()
    (refusal,) = node.told("refused")
    assert refusal["reason"] == reason, refusal
    assert not refusal["ok"]
    assert refusal["detail"]
    assert node.update_client.refusals == {reason: 1}
    assert node.version() == version
    node.feed(20)
    assert node.version() == version
    assert node.whole() == version
    assert not node.told("switched")
    return refusal


# ----------------------------------------------------------------------------------- arbitrary software


def test_arbitrary_software_signed_with_the_attackers_own_keys(node, site, attacker, tmp_path):
    server = attacker()
    theirs = Repository(tmp_path / "evil", tmp_path / "evil-secrets", [APP])
    evil = make_bundle(tmp_path / "evil-bundle", version="v2", app=APP, gain=9.0)
    theirs.publish(APP, evil, Deployment(app=APP, serial=99, rollout="evil", waves=[Wave("v2", 1.0)]))
    server.folder = tmp_path / "evil"
    assert_refused(attacked(node, site, server), "unsigned")


def test_arbitrary_software_in_place_of_a_signed_file(node, site, attacker):
    site.publish("v2")
    server = attacker()
    (model,) = (server.folder / "targets" / APP / "bundles" / "v2").glob("*.model.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert_refused(attacked(node, site, server), "altered")


def test_a_deployment_document_edited_on_the_way(node, site, attacker):
    site.publish("v2")
    server = attacker()
    (document,) = [
        path
        for path in (server.folder / "targets" / APP).glob("*.deployment.json")
        if b'"v2"' in path.read_bytes()
    ]
    document.write_bytes(document.read_bytes().replace(b'"v2"', b'"v9"'))
    assert_refused(attacked(node, site, server), "altered")


def test_metadata_edited_on_the_way(node, site, attacker):
    server = attacker()
    edit_json(server.folder / "metadata" / "timestamp.json", lambda m: m["signed"].update(version=999))
    assert_refused(attacked(node, site, server), "unsigned")


def test_metadata_that_is_no_metadata(node, site, attacker):
    server = attacker()
    (server.folder / "metadata" / "timestamp.json").write_bytes(b"<html>hello</html>")
    assert_refused(attacked(node, site, server), "malformed")


# --------------------------------------------------------------------------------------------- rollback


def test_rollback_to_an_older_repository(node, site, attacker):
    older = attacker()
    site.publish("v2")
    node.look()
    node.feed(20)
    assert node.version() == "v2"
    assert_refused(attacked(node, site, older), "rollback", version="v2")


def test_rollback_is_refused_even_by_a_node_that_lost_its_metadata(node, site, attacker):
    older = attacker()
    site.publish("v2")
    node.look()
    node.feed(20)
    for path in (node.folder / "tuf").rglob("*.json"):
        path.unlink()
    refusal = assert_refused(attacked(node, site, older), "rollback", version="v2")
    assert "timestamp version" in refusal["detail"]


def test_rollback_of_the_deployment_inside_valid_metadata(node, site):
    site.serial = 4
    site.publish("v2")
    node.look()
    node.feed(20)
    site.serial = 1
    site.publish("v3")
    node.events.clear()
    node.update_client.refusals.clear()
    assert_refused(node, "rollback", version="v2")


# ----------------------------------------------------------------------------------------------- freeze


def test_indefinite_freeze_is_noticed_when_the_timestamp_expires(tmp_path):
    site = UpdateSite(tmp_path / "cloud", timestamp_s=2.0)
    site.publish("v1")
    node = NodeKit(tmp_path / "node", site)
    node.look()
    node.feed(15)
    assert node.version() == "v1"
    frozen = site.stolen()
    expires = Metadata[Any].from_file(str(frozen.folder / "metadata" / "timestamp.json")).signed.expires
    deadline = time.monotonic() + 10
    while datetime.now(UTC) <= expires + timedelta(milliseconds=10):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        assert_refused(attacked(node, site, frozen), "frozen")
    finally:
        frozen.close()
        site.server.close()


# ----------------------------------------------------------------------------------------- endless data


def endless(request: Any, content: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("end", ["timestamp.json", "2.root.json", ".snapshot.json"])
def test_endless_metadata(node, site, attacker, end):
    site.publish("v2")
    server = attacker()
    server.answers[end] = endless
    assert_refused(attacked(node, site, server), "endless")


def test_endless_target(node, site, attacker):
    site.publish("v2")
    server = attacker()
    server.answers["model.onnx"] = endless
    assert_refused(attacked(node, site, server), "endless")
    kept = sum(path.stat().st_size for path in (node.folder / "slots").rglob("*") if path.is_file())
    assert kept < 1_000_000


# ------------------------------------------------------------------------------- extraneous dependencies


def test_extraneous_dependency_that_another_apps_role_signed(node, site, attacker):
    """A publisher was talked into a manifest with one more file, which the other app's key holder signed."""
    folder = site.bundle("v2").path
    (folder / "extra.onnx").write_bytes(b"more software")
    manifest = msgspec.structs.replace(site.bundle("v2").manifest, files={})
    bundle = seal(folder, manifest)
    assert "extra.onnx" in bundle.manifest.files
    site.publish("v2", bundle=bundle)
    server = attacker()
    forger = Forger(site, server)
    extra = f"{APP}/bundles/v2/extra.onnx"
    moved = forger.newest(APP).signed.targets[extra]
    forger.write(APP, lambda s: s.targets.pop(extra), [forger.stolen.signer(APP)])
    forger.write(OTHER, lambda s: s.targets.update({extra: moved}), [forger.stolen.signer(OTHER)])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index(APP, OTHER, **online)
    assert_refused(attacked(node, site, server), "extraneous")
    assert not [path for path in server.requests if "extra" in path]


# ----------------------------------------------------------------------------------------- mix-and-match


def test_mix_of_a_new_index_with_an_old_role(node, site, attacker):
    old = attacker()
    site.publish("v2")
    server = attacker()
    versions = [Forger(site, each).newest(APP).signed.version for each in (old, server)]
    replacement = (old.folder / "metadata" / f"{versions[0]}.{APP}.json").read_bytes()
    (server.folder / "metadata" / f"{versions[1]}.{APP}.json").write_bytes(replacement)
    assert_refused(attacked(node, site, server), "mixed")


def test_mix_of_a_new_timestamp_with_an_old_snapshot(node, site, attacker):
    old = attacker()
    site.publish("v2")
    server = attacker()
    versions = [Forger(site, each).newest("snapshot").signed.version for each in (old, server)]
    replacement = (old.folder / "metadata" / f"{versions[0]}.snapshot.json").read_bytes()
    (server.folder / "metadata" / f"{versions[1]}.snapshot.json").write_bytes(replacement)
    assert_refused(attacked(node, site, server), "mixed")


def test_mix_of_the_files_of_two_signed_bundles(node, site, attacker):
    """Both models are signed; the manifest of one comes with the model of the other."""
    site.publish("v2", bundle=site.bundle("v2", gain=1.0))
    server = attacker()
    forger = Forger(site, server)
    other = make_bundle(site.folder / "v3", version="v3", app=APP, gain=3.0).model_path().read_bytes()
    path = f"{APP}/bundles/v2/model.onnx"
    target = forger.target(path, other)
    forger.write(APP, lambda s: s.targets.update({path: target}), [forger.stolen.signer(APP)])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index(APP, **online)
    assert_refused(attacked(node, site, server), "mixed")


# ----------------------------------------------------------------------------------------- wrong software


def publish_other(site: UpdateSite) -> None:
    bundle = site.bundle("v7", app=OTHER, gain=1.0)
    deployment = Deployment(app=OTHER, serial=5, rollout="r", waves=[Wave("v7", 1.0)])
    site.repository.publish(OTHER, bundle, deployment)


def test_wrong_software_given_in_answer_to_a_request(node, site, attacker):
    """Every request about this app is answered with what is validly signed for the other one."""
    site.publish("v2")
    publish_other(site)
    server = attacker()
    (theirs,) = (server.folder / "targets" / OTHER).glob("*.deployment.json")
    for path in (server.folder / "targets" / APP).glob("*.deployment.json"):
        path.write_bytes(theirs.read_bytes())
    assert_refused(attacked(node, site, server), "altered")


def test_wrong_software_role_swapped_for_another_apps(node, site, attacker):
    site.publish("v2")
    publish_other(site)
    server = attacker()
    forger = Forger(site, server)
    theirs = forger.newest(OTHER).signed.version
    ours = forger.newest(APP).signed.version
    content = (server.folder / "metadata" / f"{theirs}.{OTHER}.json").read_bytes()
    (server.folder / "metadata" / f"{ours}.{APP}.json").write_bytes(content)
    assert_refused(attacked(node, site, server), "mixed")


def test_wrong_software_signed_by_mistake(node, site, attacker):
    """The app's own role signs another app's deployment document."""
    server = attacker()
    forger = Forger(site, server)
    document = msgspec.json.encode(Deployment(app=OTHER, serial=9, rollout="r", base_version="v7"))
    target = forger.target(deployment_target(APP), document)
    forger.write(APP, lambda s: s.targets.update({target.path: target}), [forger.stolen.signer(APP)])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index(APP, **online)
    assert_refused(attacked(node, site, server), "wrong_app")


def test_wrong_software_bundle_of_another_app_under_this_apps_name(node, site, attacker):
    site.publish("v2")
    server = attacker()
    forger = Forger(site, server)
    foreign = site.bundle("v2", app=OTHER)
    targets = [
        forger.target(f"{APP}/bundles/v2/{name}", (foreign.path / name).read_bytes())
        for name in foreign.files()
    ]
    forger.write(APP, lambda s: s.targets.update({t.path: t for t in targets}), [forger.stolen.signer(APP)])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index(APP, **online)
    assert_refused(attacked(node, site, server), "wrong_app")


# ------------------------------------------------------------------------- key compromise below threshold


def test_one_stolen_root_key_of_the_two_that_are_needed(node, site, attacker):
    server = attacker()
    forger = Forger(site, server)

    def take_over(root: Root) -> None:
        for role in root.roles.values():
            role.keyids = []
            role.threshold = 1
        for role in list(root.roles):
            root.add_key(forger.own.public_key, role)

    forger.write("root", take_over, [forger.stolen.signer("root", 1), forger.own])
    assert_refused(attacked(node, site, server), "key_compromise")


def test_stolen_online_keys_and_one_of_the_two_targets_keys(node, site, attacker):
    server = attacker()
    forger = Forger(site, server)

    def take_over(targets: Any) -> None:
        for keyid in list(targets.delegations.roles[APP].keyids):
            targets.revoke_key(keyid, APP)
        targets.add_key(forger.own.public_key, APP)

    forger.write("targets", take_over, [forger.stolen.signer("targets", 1), forger.own])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index("targets", **online)
    assert_refused(attacked(node, site, server), "key_compromise")


def test_a_stolen_timestamp_key_alone_installs_nothing(node, site, attacker):
    server = attacker()
    forger = Forger(site, server)
    forger.index(APP, snapshot=[forger.own], timestamp=[forger.stolen.signer("timestamp")])
    assert_refused(attacked(node, site, server), "unsigned")


def test_another_apps_stolen_key_installs_nothing(node, site, attacker):
    """The other app's role signs a deployment and a bundle for this app, outside of what it was delegated."""
    server = attacker()
    forger = Forger(site, server)
    document = Deployment(app=APP, serial=99, rollout="evil", base_version="v9")
    target = forger.target(deployment_target(APP), msgspec.json.encode(document))
    forger.write(OTHER, lambda s: s.targets.update({target.path: target}), [forger.stolen.signer(OTHER)])
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.index(OTHER, **online)
    bitten = attacked(node, site, server)
    assert bitten.look() == []
    assert bitten.slots.state.seen_serial == 1
    assert bitten.version() == "v1"


# ---------------------------------------------------------------------------------------- slow retrieval

IMPATIENT = msgspec.structs.replace(QUICK, download_grace_s=0.3, min_bytes_per_s=100_000.0)


def dribbling_body(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        for byte in content:
            request.wfile.write(bytes((byte,)))
            if server.stopping.wait(0.02):
                return

    return answer


def dribbling_headers(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not server.stopping.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    return answer


def silent(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        server.stopping.wait(PATIENCE_S)

    return answer


@pytest.mark.parametrize("end", ["timestamp.json", "model.onnx"])
@pytest.mark.parametrize("manner", [dribbling_body, dribbling_headers, silent])
def test_slow_retrieval(node, site, attacker, manner, end):
    site.publish("v2")
    server = attacker()
    server.answers[end] = manner(server)
    started = time.monotonic()
    assert_refused(attacked(node, site, server, settings=IMPATIENT), "slow")
    assert time.monotonic() - started < 10


# -------------------------------------------------------------------------------------------- afterwards


def test_a_fleet_recovers_from_a_fast_forward_by_new_keys(node, site, attacker):
    """With the online keys stolen, versions run far ahead; after a rotation nodes follow the cloud again."""
    server = attacker()
    forger = Forger(site, server)
    online = {
        "snapshot": [forger.stolen.signer("snapshot")],
        "timestamp": [forger.stolen.signer("timestamp")],
    }
    forger.write("snapshot", lambda s: None, online["snapshot"], step=1000)
    forger.write("timestamp", lambda t: setattr(t, "version", 1_000_000), online["timestamp"])
    forger.index(APP, **online)
    bitten = attacked(node, site, server)
    bitten.look()
    assert bitten.slots.state.floors.timestamp > 1_000_000
    site.publish("v2")
    back = attacked(node, site, site.server)
    assert_refused(back, "rollback")
    site.repository.rotate("timestamp")
    site.repository.rotate("snapshot")
    healed = attacked(node, site, site.server)
    healed.look()
    healed.feed(20)
    assert healed.version() == "v2"


def root_change(root: Root) -> None:
    """What whoever holds root keys would do with them: name a key of their own for the timestamp."""
    root.revoke_key(root.roles["timestamp"].keyids[0], "timestamp")
    root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")


def test_a_node_follows_new_root_keys_and_believes_the_old_ones_no_longer(node, site, attacker):
    pinned = site.repository.root()
    old = Keys(site.folder / "secrets" / "tuf").signers("root", 3)
    site.repository.rotate("root")
    site.publish("v2")
    follows = NodeKit(node.folder, site, root=pinned)
    follows.look()
    follows.feed(20)
    assert follows.version() == "v2"
    assert follows.slots.state.floors.root == site.repository.root_version == 2
    server = attacker()
    Forger(site, server).write("root", root_change, old)
    assert_refused(attacked(node, site, server, root=pinned), "unsigned", version="v2")
    site.repository.rotate("root")
    site.publish("v3")
    again = NodeKit(node.folder, site, root=pinned)
    again.look()
    again.feed(20)
    assert again.version() == "v3"


def test_new_root_keys_that_the_old_ones_did_not_sign_are_refused(node, site, attacker):
    server = attacker()
    forger = Forger(site, server)
    theirs = [CryptoSigner.generate_ed25519() for _ in range(3)]

    def rotated(root: Root) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for signer in theirs:
            root.add_key(signer.public_key, "root")

    forger.write("root", rotated, [*theirs, forger.stolen.signer("root")])
    assert_refused(attacked(node, site, server), "key_compromise")


def test_a_node_under_attack_adopts_as_soon_as_the_cloud_is_reached_again(node, site, attacker):
    site.publish("v2")
    server = attacker()
    server.answers["model.onnx"] = endless
    assert_refused(attacked(node, site, server), "endless")
    free = attacked(node, site, site.server)
    free.look()
    free.feed(20)
    assert free.version() == "v2"


def test_a_refusal_that_lasts_is_reported_once(node, site, attacker):
    server = attacker()
    (server.folder / "metadata" / "timestamp.json").write_bytes(b"{}")
    bitten = attacked(node, site, server)
    for _ in range(5):
        bitten.look()
    assert len(bitten.told("refused")) == 1
    assert bitten.update_client.refusals == {"malformed": 5}


def test_a_cloud_out_of_reach_is_no_refusal(node, site):
    gone = NodeKit(node.folder, site, url="http://127.0.0.1:9")
    assert gone.look() == []
    assert gone.version() == "v1"

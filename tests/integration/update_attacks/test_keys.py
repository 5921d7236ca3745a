"""Key compromise below the threshold, and recovery by new keys."""

from __future__ import annotations

from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner  # pyright: ignore[reportPrivateImportUsage]  public in its docs
from tuf.api.metadata import (  # public in its docs
    Root,  # pyright: ignore[reportPrivateImportUsage]  public in its docs
)

from cloud_backend.ota.keys import Keys
from common.deployment import Deployment, deployment_target
from tests.integration.update_attacks.attacks import OTHER, Forger, assert_refused, attacked
from tests.updates import APP, NodeKit


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
    """A holder of root keys names a key of their own for the timestamp."""
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

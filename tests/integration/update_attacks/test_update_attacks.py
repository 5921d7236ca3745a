"""The attacks of the TUF specification (section 1.5.2), one by one, against a node's real update client.

The attacker owns the web server and the network: every test serves a tampered copy of a real repository
over HTTP. Whatever happens, the node keeps the model that it had, is whole after a restart, and reports
why it refused.
"""

from __future__ import annotations

import msgspec

from cloud_backend.ota.repository import Repository
from common.bundle import seal
from common.deployment import Deployment, Wave, deployment_target
from tests.builders import make_bundle
from tests.integration.update_attacks.attacks import OTHER, Forger, assert_refused, attacked
from tests.updates import APP, UpdateSite, edit_json


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


def publish_other(site: UpdateSite) -> None:
    bundle = site.bundle("v7", app=OTHER, gain=1.0)
    deployment = Deployment(app=OTHER, serial=5, rollout="r", waves=[Wave("v7", 1.0)])
    site.repository.publish(OTHER, bundle, deployment)


def test_wrong_software_given_in_answer_to_a_request(node, site, attacker):
    """Every request about this app is answered with files validly signed for the other one."""
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

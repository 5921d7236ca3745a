"""Routes of nodes: enrolment, retirement, replacement, hints."""

from __future__ import annotations

import hashlib

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Node, Stream
from common.config.loader import convert
from common.config.node import Enrolment
from common.errors import AccessDenied
from tests.cloud_backend.api.requests import all_items


def test_an_enrolment_is_shown_once_and_holds_what_a_node_needs(admin: TestClient, cloud: Cloud) -> None:
    answer = admin.post("/v1/nodes", json={"node": "press-7", "site": "plant"})
    assert answer.status_code == 201
    enrolment = convert(Enrolment, answer.json(), "answer")
    assert (enrolment.node, enrolment.site) == ("press-7", "plant")
    assert enrolment.tuf_root["signed"]["_type"] == "root"
    assert enrolment.mqtt_port == cloud.mqtt_port
    assert cloud.access.principal(enrolment.token).node == "press-7"
    shown = admin.get("/v1/nodes/press-7")
    assert shown.status_code == 200
    text = shown.text + admin.get("/v1/nodes").text
    for secret in (
        enrolment.token,
        enrolment.mqtt_password,
        hashlib.sha256(enrolment.token.encode()).hexdigest(),
    ):
        assert secret not in text
    assert "digest" not in text


def enrol(admin: TestClient, node: str) -> Enrolment:
    answer = admin.post("/v1/nodes", json={"node": node, "site": "plant"})
    assert answer.status_code == 201
    return convert(Enrolment, answer.json(), "answer")


def names(admin: TestClient, **which: str) -> list[str]:
    return [node["node"] for node in admin.get("/v1/nodes", params={"name": "old-", **which}).json()["items"]]


def test_a_retired_node_loses_its_credentials_and_leaves_the_counts(admin: TestClient, cloud: Cloud) -> None:
    enrolment = enrol(admin, "old-1")
    before = admin.get("/v1/fleet").json()
    assert "plant/old-1" in cloud.access.broker_users()
    answer = admin.post("/v1/nodes/old-1/retire")
    assert answer.status_code == 200
    assert answer.json()["retired_ns"] > 0
    with pytest.raises(AccessDenied):
        cloud.access.principal(enrolment.token)
    assert "plant/old-1" not in cloud.access.broker_users()
    after = admin.get("/v1/fleet").json()
    assert (after["nodes"], after["retired"]) == (before["nodes"] - 1, before["retired"] + 1)
    assert names(admin) == []
    assert names(admin, retired="true") == ["old-1"]
    assert admin.get("/v1/nodes/old-1").status_code == 200
    again = admin.post("/v1/nodes", json={"node": "old-1", "site": "plant"})
    assert again.status_code == 409
    assert "replace" in again.json()["detail"]
    assert admin.post("/v1/nodes/nobody/retire").status_code == 404


def test_a_replacement_gets_the_name_and_the_old_device_loses_it(admin: TestClient, cloud: Cloud) -> None:
    old = enrol(admin, "old-2")
    answer = admin.post("/v1/nodes/old-2/replace", json={})
    assert answer.status_code == 201
    new = convert(Enrolment, answer.json(), "answer")
    assert (new.node, new.site) == ("old-2", "plant")
    assert cloud.access.principal(new.token).node == "old-2"
    with pytest.raises(AccessDenied):
        cloud.access.principal(old.token)
    assert names(admin) == ["old-2"]


def test_a_replacement_under_a_new_name_is_linked_from_the_retired_node(admin: TestClient) -> None:
    enrol(admin, "old-3")
    answer = admin.post("/v1/nodes/old-3/replace", json={"name": "old-4"})
    assert answer.json()["node"] == "old-4"
    shown = admin.get("/v1/nodes/old-3").json()
    assert (shown["replaced_by"], shown["retired_ns"] > 0) == ("old-4", True)
    enrol(admin, "old-5")
    assert admin.post("/v1/nodes/old-5/replace", json={"name": "old-4"}).status_code == 409
    again = admin.post("/v1/nodes/old-3/replace", json={})
    assert again.status_code == 201
    assert admin.get("/v1/nodes/old-3").json()["retired_ns"] == 0


def test_only_a_node_without_a_history_is_removed(admin: TestClient, cloud: Cloud) -> None:
    enrol(admin, "old-6")
    assert admin.delete("/v1/nodes/old-6").status_code == 200
    assert admin.get("/v1/nodes/old-6").status_code == 404
    enrol(admin, "old-7")
    with Session(cloud.engine) as session:
        session.add(Stream(site="plant", node="old-7", epoch="e", high_water_mark=1, created_ns=1))
        session.commit()
    answer = admin.delete("/v1/nodes/old-7")
    assert answer.status_code == 409
    assert "fleet retire old-7" in answer.json()["detail"]


def test_a_name_that_is_taken_at_another_site_is_a_conflict(admin: TestClient) -> None:
    assert admin.post("/v1/nodes", json={"node": "press-8", "site": "plant"}).status_code == 201
    assert admin.post("/v1/nodes", json={"node": "press-8", "site": "plant"}).status_code == 201
    answer = admin.post("/v1/nodes", json={"node": "press-8", "site": "harbour"})
    assert answer.status_code == 409
    assert "plant" in answer.json()["detail"]


def test_a_hint_goes_to_a_known_node(admin: TestClient) -> None:
    admin.post("/v1/nodes", json={"node": "press-9", "site": "plant"})
    assert admin.post("/v1/nodes/press-9/hint", json={}).status_code == 202
    assert admin.post("/v1/nodes/absent/hint", json={}).status_code == 404
    for action in ("deployment", "golden", "revert"):
        assert admin.post("/v1/nodes/press-9/hint", json={"action": action}).status_code == 202
    assert admin.post("/v1/nodes/press-9/hint", json={"action": "revert", "version": "v2"}).status_code == 202
    for wrong in ({"action": "away"}, {"version": "../v2"}, {"action": "revert", "version": "V 2"}):
        assert admin.post("/v1/nodes/press-9/hint", json=wrong).status_code == 422


def test_nodes_come_in_pages_each_once(admin: TestClient, cloud: Cloud) -> None:
    with Session(cloud.engine) as session:
        session.add_all([Node(name=f"page-{n:03d}", site="s") for n in range(23)])
        session.commit()
    names = [item["node"] for item in all_items(admin, "/v1/nodes", limit=5)]
    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert sum(name.startswith("page-") for name in names) == 23


def test_settings_of_a_node_are_changed_by_version(admin: TestClient, cloud: Cloud) -> None:
    admin.post("/v1/nodes", json={"node": "door-1", "site": "plant"})
    path = "/v1/nodes/door-1/settings"
    assert admin.get(path).json()["version"] == 0
    answer = admin.put(path, json={"settings": {"a": 1}})
    assert answer.status_code == 409
    assert "which app it runs" in answer.json()["detail"]
    with Session(cloud.engine) as session:
        node = session.get(Node, "door-1")
        assert node is not None
        node.app = "sums"
        session.add(node)
        session.commit()
    answer = admin.put(path, json={"settings": {"a": 1}, "base": 0})
    assert (answer.status_code, answer.json()["version"], answer.json()["outcome"]) == (200, 1, "sent")
    assert admin.get(path).json()["settings"] == {"a": 1}
    assert admin.put(path, json={"settings": {}, "base": 0}).status_code == 409
    assert admin.put("/v1/nodes/absent/settings", json={"settings": {}}).status_code == 404
    assert admin.get("/v1/nodes/absent/settings").status_code == 404
    assert admin.put(path, json={"settings": [1]}).status_code == 422

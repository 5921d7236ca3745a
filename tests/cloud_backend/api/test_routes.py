"""What the routes do: the good case, the missing, the wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Adoption, Node, Quarantined, StoredEvent, Stream
from common.config.loader import convert
from common.config.node import Enrolment
from common.errors import AccessDenied
from common.messages import Priority
from common.samples import encode_sample
from tests.builders import make_bundle
from tests.cloud_backend.learner import NAME
from tests.waiting import wait_for

PROBLEM = "application/problem+json"


def until(cloud: Cloud, condition: Callable[[], bool]) -> None:
    def met() -> bool:
        cloud.jobs.tick()
        return condition()

    wait_for(met, "what the jobs lead to")


def all_items(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


# --------------------------------------------------------------------------------------------- problems


def test_every_error_is_a_problem_document(admin: TestClient) -> None:
    for method, path, status in [
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/nodes", 405),
        ("GET", "/v1/nodes?limit=0", 422),
        ("GET", "/v1/nodes?limit=501", 422),
        ("GET", "/v1/nodes?cursor=!!", 400),
        ("GET", "/v1/nodes/absent", 404),
        ("GET", "/v1/apps/absent/models", 404),
        ("GET", f"/v1/apps/{NAME}/jobs/absent/log", 404),
        ("GET", "/tuf/metadata/absent.json", 404),
        ("POST", "/tuf/metadata/timestamp.json", 405),
        ("POST", "/v1/nodes", 422),
    ]:
        answer = admin.request(method, path)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == PROBLEM
        document = answer.json()
        assert document["status"] == status
        assert document["title"]
        assert document["detail"]


def test_a_wrong_body_says_where_it_is_wrong(admin: TestClient) -> None:
    answer = admin.post("/v1/nodes", json={"node": "UP", "sit": "plant"})
    assert answer.status_code == 422
    places = {error["where"] for error in answer.json()["errors"]}
    assert places == {"body/node", "body/site", "body/sit"}
    assert (
        admin.post("/v1/nodes", content=b"{", headers={"Content-Type": "application/json"}).status_code == 422
    )


def test_the_documentation_describes_problems_and_security(admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["tags"], (method, path)
            assert operation["summary"]
            if path != "/healthz":
                assert PROBLEM in operation["responses"]["401"]["content"], (method, path)
    assert admin.get("/docs").status_code == 200


# ------------------------------------------------------------------------------------------------ nodes


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


# ----------------------------------------------------------------------------------------------- events


@pytest.fixture(scope="module")
def events(cloud: Cloud) -> int:
    """120 events of a node in two epochs; every 10th is an alarm."""
    with Session(cloud.engine) as session:
        for epoch in ("e1", "e2"):
            stream = Stream(site="plant", node="ev", epoch=epoch, high_water_mark=60, created_ns=1)
            session.add(stream)
            session.flush()
            assert stream.id is not None
            session.add_all(
                StoredEvent(
                    stream_id=stream.id,
                    seq=seq,
                    type="learner.value" if seq % 2 else "learner.other",
                    subject="m",
                    time_ns=1000 + seq,
                    received_ns=2000,
                    priority=int(Priority.ALARM if seq % 10 == 0 else Priority.TELEMETRY),
                    body=f'{{"n":{seq}}}',
                )
                for seq in range(1, 61)
            )
        session.commit()
    return 120


def places(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(item["epoch"], item["seq"]) for item in items]


def test_events_of_a_node_come_once_and_in_order(admin: TestClient, events: int) -> None:
    items = all_items(admin, "/v1/nodes/ev/events", limit=7)
    assert places(items) == [(epoch, seq) for epoch in ("e1", "e2") for seq in range(1, 61)]
    assert items[4]["data"] == {"n": 5}
    assert (items[4]["site"], items[4]["priority"]) == ("plant", "telemetry")
    newest = all_items(admin, "/v1/nodes/ev/events", limit=50, order="newest")
    assert places(newest) == list(reversed(places(items)))
    assert all_items(admin, "/v1/nodes/absent/events") == []


def test_events_are_filtered(admin: TestClient, events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [(epoch, seq) for epoch in ("e1", "e2") for seq in range(1, 61) if seq % 2]
    path = "/v1/nodes/ev/events"
    assert places(all_items(admin, path, type="learner.value", limit=11)) == wanted
    alarms = all_items(admin, path, priority="alarm", limit=500)
    assert [item["seq"] for item in alarms] == [10, 20, 30, 40, 50, 60] * 2
    monkeypatch.setattr("cloud_backend.api.routes.events.SCAN_ROWS", 7)
    assert places(all_items(admin, path, type="learner.value", limit=11)) == wanted
    assert places(all_items(admin, path, type="learner.value", order="newest")) == wanted[::-1]
    first = admin.get(path, params={"type": "absent"}).json()
    assert first["items"] == []
    assert first["next"]
    assert all_items(admin, path, type="absent") == []
    assert len(all_items(admin, "/v1/events", type="learner.value")) >= len(wanted)


def test_alerts_are_the_alarms_newest_first(admin: TestClient, events: int) -> None:
    items = [item for item in all_items(admin, "/v1/alerts", limit=5) if item["node"] == "ev"]
    assert len(items) == 12
    assert [item["time_ns"] for item in items] == sorted((i["time_ns"] for i in items), reverse=True)
    assert {item["priority"] for item in items} == {"alarm"}


def test_alerts_use_their_index(cloud: Cloud) -> None:
    with cloud.engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM event JOIN stream ON stream.id = event.stream_id "
            "WHERE event.priority = 3 AND (time_ns, stream_id, seq) < (9, 9, 9) "
            "ORDER BY time_ns DESC, stream_id DESC, seq DESC LIMIT 10"
        ).all()
    assert "event_alerts" in str(plan)


def test_quarantine_shows_the_start_of_what_was_refused(admin: TestClient, cloud: Cloud) -> None:
    with Session(cloud.engine) as session:
        session.add(
            Quarantined(
                site="plant", node="ev", digest="d1", reason="poisoned", body=b"\xff{" * 600, received_ns=5
            )
        )
        session.commit()
    item = all_items(admin, "/v1/quarantine")[0]
    assert (item["reason"], item["size_bytes"], len(item["head"])) == ("poisoned", 1200, 500)


# ---------------------------------------------------------------------------------------------- samples


def announcement(content: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "app": NAME,
        "subject": "machine-1",
        "group": "machine-1/run-1",
        "captured_ns": 1,
        "reasons": {"novelty": 0.9},
        "attributes": {"run": 1},
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    } | changes


def sample_of(number: int, length: int = 500) -> bytes:
    return encode_sample({"values": np.random.default_rng(number).normal(size=length)})


def send(client: TestClient, id: str, offset: int, content: bytes) -> Any:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return client.patch(f"/v1/samples/{id}", content=content, headers=headers)


def test_a_node_uploads_a_sample_in_pieces(node: TestClient, admin: TestClient, cloud: Cloud) -> None:
    content = sample_of(1)
    answer = node.post("/v1/samples", json=announcement(content))
    assert answer.status_code == 201
    id = answer.json()["id"]
    assert answer.json()["offset"] == 0
    assert send(node, id, 0, content[:1000]).json()["offset"] == 1000
    head = node.head(f"/v1/samples/{id}")
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("1000", str(len(content)))
    wrong = send(node, id, 0, content)
    assert (wrong.status_code, wrong.headers["upload-offset"], wrong.json()["offset"]) == (409, "1000", 1000)
    done = send(node, id, 1000, content[1000:])
    assert (done.status_code, done.json()["complete"]) == (200, True)
    assert cloud.jobs.samples.path(id).read_bytes() == content
    assert node.post("/v1/samples", json=announcement(content)).json()["complete"] is True
    listed = all_items(admin, "/v1/samples", app=NAME, group="machine-1/run-1")
    assert [item["id"] for item in listed] == [id]
    assert listed[0]["node"] == "n1"
    account = {item["node"]: item for item in all_items(admin, "/v1/uploads")}["n1"]
    assert account["bytes_received"] >= len(content)


def test_a_node_cannot_touch_the_upload_of_another(
    node: TestClient, admin: TestClient, anyone: TestClient, cloud: Cloud
) -> None:
    content = sample_of(2)
    id = node.post("/v1/samples", json=announcement(content)).json()["id"]
    token, _ = cloud.access.enrol("n2", "plant")
    other = {"Authorization": f"Bearer {token}"}
    assert anyone.head(f"/v1/samples/{id}", headers=other).status_code == 404
    answer = anyone.patch(f"/v1/samples/{id}", content=content, headers={**other, "Upload-Offset": "0"})
    assert answer.status_code == 404
    assert admin.head(f"/v1/samples/{id}").status_code == 200


def test_bad_content_is_refused(node: TestClient, admin: TestClient) -> None:
    content = sample_of(3)
    id = node.post("/v1/samples", json=announcement(content)).json()["id"]
    answer = send(node, id, 0, content[:-1] + b"!")
    assert answer.status_code == 422
    assert "SHA-256" in answer.json()["detail"]
    assert node.head(f"/v1/samples/{id}").status_code == 404
    garbage = b"not a sample" * 50
    id = node.post("/v1/samples", json=announcement(garbage)).json()["id"]
    assert send(node, id, 0, garbage).status_code == 422
    assert any(item["digest"] == id for item in all_items(admin, "/v1/quarantine"))


def test_a_sample_over_the_limit_is_refused(node: TestClient) -> None:
    answer = node.post("/v1/samples", json=announcement(b"", size=10**9, sha256="a" * 64))
    assert answer.status_code == 413
    assert node.post("/v1/samples", json=announcement(b"x", sha256="../../etc")).status_code == 422
    assert node.post("/v1/samples", json=announcement(b"x", app="absent")).status_code == 404
    id = node.post("/v1/samples", json=announcement(sample_of(4), size=10)).json()["id"]
    assert send(node, id, 0, sample_of(4)).status_code == 413
    assert node.patch(f"/v1/samples/{id}", content=b"x").status_code == 422


# ------------------------------------------------------------------------------ labels, jobs, models


def test_labels_are_kept_and_listed(admin: TestClient) -> None:
    label = {"subject": "m", "group": "g-labels", "kind": "outcome", "body": {"gain": 2.0}}
    answer = admin.post(f"/v1/apps/{NAME}/labels", json=label)
    assert answer.status_code == 201
    assert answer.json()["source"] == "person:admin"
    said = admin.post(f"/v1/apps/{NAME}/labels", json=label | {"group": "g-said", "source": "a teacher"})
    assert said.json()["source"] == "a teacher"
    assert [item["body"] for item in all_items(admin, f"/v1/apps/{NAME}/labels", group="g-labels")] == [
        {"gain": 2.0}
    ]


def test_the_loop_from_samples_to_a_rollout(admin: TestClient, node: TestClient, cloud: Cloud) -> None:
    for number in range(4):
        content, group = sample_of(100 + number), f"machine-1/loop-{number}"
        id = node.post("/v1/samples", json=announcement(content, group=group)).json()["id"]
        assert send(node, id, 0, content).json()["complete"]
        label = {"subject": "m", "group": group, "kind": "outcome", "body": {"gain": 2.0}}
        assert admin.post(f"/v1/apps/{NAME}/labels", json=label).status_code == 201
    jobs, models = f"/v1/apps/{NAME}/jobs", f"/v1/apps/{NAME}/models"
    assert [m["version"] for m in all_items(admin, models)] == ["starter-1"]
    job = admin.post(jobs, json={"seed": 3}).json()
    assert job["state"] == "queued"
    until(cloud, lambda: admin.get(f"{jobs}/{job['id']}").json()["state"] not in ("queued", "running"))
    job = admin.get(f"{jobs}/{job['id']}").json()
    assert (job["state"], job["gate"]["passed"]) == ("done", True)
    assert "training with" in admin.get(f"{jobs}/{job['id']}/log").text
    assert admin.post(f"{jobs}/{job['id']}/cancel").status_code == 409

    model = admin.get(f"{models}/{job['version']}").json()
    assert (model["state"], model["parent"], model["approved_by"]) == ("approved", "starter-1", "gate")
    assert model["manifest"]["lineage"]["job"] == job["id"]
    assert [m["version"] for m in all_items(admin, models, limit=1)] == [job["version"], "starter-1"]
    chain = admin.get(f"{models}/{job['version']}/lineage").json()["chain"]
    assert [link["version"] for link in chain] == [job["version"], "starter-1"]

    rollouts = f"/v1/apps/{NAME}/rollouts"
    answer = admin.post(rollouts, json={"version": job["version"], "waves": [0.5, 1.0], "soak_s": 1})
    assert answer.status_code == 201, answer.text
    rollout = answer.json()
    assert (rollout["state"], rollout["previous_version"]) == ("running", "")
    assert admin.get(f"{rollouts}/{rollout['id']}").json()["id"] == rollout["id"]
    assert admin.get("/v1/status").json()["apps"][NAME]["rollout"] == rollout["id"]
    with Session(cloud.engine) as session:
        session.add(
            Adoption(
                stream_id=1,
                seq=10**6,
                node="n1",
                app=NAME,
                version=job["version"],
                step="refused",
                ok=False,
                reason="test",
                rollout=rollout["id"],
                time_ns=1,
                received_ns=1,
            )
        )
        session.commit()
    assert all_items(admin, f"{rollouts}/{rollout['id']}/adoptions")[0]["reason"] == "test"
    assert all_items(admin, "/v1/nodes/n1/adoptions")[0]["step"] == "refused"
    assert admin.post(f"{rollouts}/{rollout['id']}/halt", json={"reason": "look"}).json()["state"] == "halted"
    reverted = admin.post(f"{rollouts}/{rollout['id']}/revert", json={}).json()
    assert reverted["state"] == "reverted"
    assert [row["id"] for row in all_items(admin, rollouts)] == [rollout["id"]]


def test_rollouts_that_cannot_be_are_refused(admin: TestClient) -> None:
    path = f"/v1/apps/{NAME}/rollouts"
    assert admin.post(path, json={"version": "absent"}).status_code == 404
    assert admin.post(path, json={"version": "starter-1", "waves": [1.5]}).status_code == 422
    assert admin.post(path, json={"version": "starter-1", "waves": [1.0, 0.5]}).status_code == 409
    assert admin.post(f"{path}/absent/halt", json={}).status_code == 404
    assert admin.get(f"{path}/absent").status_code == 404


def put_bundle(admin: TestClient, folder: Path, version: str, names: list[str]) -> None:
    for name in names:
        path = f"/v1/apps/{NAME}/models/{version}/files/{name}"
        assert admin.put(path, content=(folder / name).read_bytes()).status_code == 201


def test_a_bundle_from_outside_is_added_and_promoted(admin: TestClient, cloud: Cloud, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", app=NAME, version="outside-1", gain=3.0)
    models = f"/v1/apps/{NAME}/models"
    put_bundle(admin, bundle.path, "outside-1", bundle.files()[1:])
    assert admin.post(models, json={"version": "outside-1"}).status_code == 422
    put_bundle(admin, bundle.path, "outside-1", bundle.files()[:1])
    answer = admin.post(models, json={"version": "outside-1"})
    assert (answer.status_code, answer.json()["state"]) == (201, "candidate")
    assert not list((cloud.folder / "incoming" / NAME).iterdir())
    assert admin.post(f"/v1/apps/{NAME}/rollouts", json={"version": "outside-1"}).status_code == 409
    promoted = admin.post(
        f"{models}/outside-1/promote", json={"by": "a person", "reason": "seen on a stand"}
    ).json()
    assert (promoted["state"], promoted["approved_by"]) == ("approved", "a person")
    assert promoted["approval_reason"] == "seen on a stand"
    assert admin.get(f"{models}/outside-1/lineage").json()["chain"][0]["approval_reason"] == "seen on a stand"
    assert admin.post(f"{models}/absent/promote", json={"reason": "x"}).status_code == 404
    bundle = make_bundle(tmp_path / "c", app=NAME, version="outside-2", gain=3.0)
    put_bundle(admin, bundle.path, "outside-2", bundle.files())
    assert admin.post(models, json={"version": "outside-2"}).status_code == 201
    for wrong in ({}, {"reason": ""}, {"reason": "  "}, {"by": " ", "reason": "x"}):
        assert admin.post(f"{models}/outside-2/promote", json=wrong).status_code == 422
    assert admin.get(f"{models}/outside-2").json()["state"] == "candidate"
    assert admin.post(f"{models}/outside-2/promote", json={"reason": "x"}).json()["approved_by"] == "admin"


def test_a_bundle_that_is_not_what_it_says_is_refused(admin: TestClient, tmp_path: Path) -> None:
    models = f"/v1/apps/{NAME}/models"
    bundle = make_bundle(tmp_path / "b", app=NAME, version="other", gain=3.0)
    put_bundle(admin, bundle.path, "claimed", bundle.files())
    assert admin.post(models, json={"version": "claimed"}).status_code == 422
    assert admin.post(models, json={"version": "never-sent"}).status_code == 422
    assert admin.put(f"{models}/v1/files/.hidden", content=b"x").status_code == 422
    assert admin.put(f"{models}/..%2Fv1/files/x", content=b"x").status_code in (404, 422)


# ------------------------------------------------------------------------------------ updates, status


def test_update_files_are_cheap_to_ask_for(node: TestClient) -> None:
    first = node.get("/tuf/metadata/timestamp.json")
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    again = node.get("/tuf/metadata/timestamp.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = node.get("/tuf/metadata/1.root.json", headers={"Range": "bytes=10-29"})
    assert (part.status_code, len(part.content)) == (206, 20)
    assert part.content == node.get("/tuf/metadata/1.root.json").content[10:30]
    whole = node.get("/tuf/metadata/1.root.json")
    assert "immutable" in whole.headers["cache-control"]
    assert whole.headers["etag"] == part.headers["etag"]
    assert whole.headers["content-type"] == "application/json"
    assert node.head("/tuf/metadata/1.root.json").headers["content-length"] == str(len(whole.content))


def test_a_large_target_is_given_whole_and_in_parts(node: TestClient, cloud: Cloud) -> None:
    content = bytes(range(256)) * 2000
    (cloud.repository.targets / "large.bin").write_bytes(content)
    assert node.get("/tuf/targets/large.bin").content == content
    part = node.get("/tuf/targets/large.bin", headers={"Range": "bytes=500000-"})
    assert (part.status_code, part.content) == (206, content[500_000:])


def test_files_that_are_being_written_are_not_there_yet(node: TestClient, cloud: Cloud) -> None:
    (cloud.repository.metadata / ".timestamp.json.1.partial").write_bytes(b"half")
    assert node.get("/tuf/metadata/.timestamp.json.1.partial").status_code == 404
    assert node.get("/tuf/metadata/").status_code == 403


def test_status_tells_what_runs(admin: TestClient, cloud: Cloud) -> None:
    status = admin.get("/v1/status").json()
    assert status["broker"]["kind"] == cloud.broker.kind
    assert status["broker"]["alive"] is True
    assert status["database"]["kind"] == "sqlite"
    assert 0 <= status["database"]["latency_ms"] < 1000
    assert status["apps"][NAME]["production"] == "starter-1"
    assert status["counts"]["nodes"] >= 1
    assert "industrial" in status["apps"]


def test_apps_bring_their_own_routes(admin: TestClient) -> None:
    assert admin.get("/v1/apps/industrial/machines").json() == {"items": [], "next": None}
    order = {"machine": "m1", "run": 1, "kind": "failure", "cycle": 200}
    assert admin.post("/v1/apps/industrial/work-orders", json=order).status_code == 201
    labels = all_items(admin, "/v1/apps/industrial/labels")
    assert [(label["group"], label["source"]) for label in labels] == [("m1/run-1", "work-order")]

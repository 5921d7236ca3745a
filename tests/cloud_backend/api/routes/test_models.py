"""Routes of labels, jobs, models and rollouts: once round the loop, and bundles from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Adoption
from tests.builders import make_bundle
from tests.cloud_backend.api.requests import all_items, announcement, sample_of, send
from tests.cloud_backend.learner import NAME
from tests.waiting import wait_for


def until(cloud: Cloud, condition: Callable[[], bool]) -> None:
    def met() -> bool:
        cloud.jobs.tick()
        return condition()

    wait_for(met, "what the jobs lead to")


def test_labels_are_kept_and_listed(admin: TestClient) -> None:
    label = {"subject": "m", "group": "g-labels", "kind": "outcome", "body": {"gain": 2.0}}
    answer = admin.post(f"/v1/apps/{NAME}/labels", json=label)
    assert answer.status_code == 201
    assert answer.json()["source"] == "person:admin"
    named = admin.post(f"/v1/apps/{NAME}/labels", json=label | {"group": "g-named", "source": "a teacher"})
    assert named.json()["source"] == "a teacher"
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


def test_a_bundle_that_contradicts_its_manifest_is_refused(admin: TestClient, tmp_path: Path) -> None:
    models = f"/v1/apps/{NAME}/models"
    bundle = make_bundle(tmp_path / "b", app=NAME, version="other", gain=3.0)
    put_bundle(admin, bundle.path, "claimed", bundle.files())
    assert admin.post(models, json={"version": "claimed"}).status_code == 422
    assert admin.post(models, json={"version": "never-sent"}).status_code == 422
    assert admin.put(f"{models}/v1/files/.hidden", content=b"x").status_code == 422
    assert admin.put(f"{models}/..%2Fv1/files/x", content=b"x").status_code in (404, 422)

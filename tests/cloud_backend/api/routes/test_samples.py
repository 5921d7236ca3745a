"""Samples as people look at them: the newest, those without a label, and their content."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Node, NodeSubject
from cloud_backend.training.upload_rows import OPEN_UPLOADS
from common.samples import encode_sample
from tests.cloud_backend.api.requests import PROBLEM, all_items, announcement, sample_of, send
from tests.cloud_backend.conftest import either_database as database
from tests.cloud_backend.learner import NAME

__all__ = ["database"]


def upload(node: TestClient, content: bytes, **changes: Any) -> str:
    id = node.post("/v1/samples", json=announcement(content, **changes)).json()["id"]
    assert send(node, id, 0, content).json()["complete"]
    return str(id)


def test_samples_that_arrived_last_come_first(admin: TestClient, node: TestClient) -> None:
    sent = [
        upload(node, sample_of(200 + number), group=f"machine-1/newest-{number % 3}") for number in range(7)
    ]
    for count in range(2):
        label = {"subject": "m", "group": "machine-1/newest-1", "kind": "outcome", "body": {"gain": count}}
        assert admin.post(f"/v1/apps/{NAME}/labels", json=label).status_code == 201
    for limit in (2, 500):
        newest = all_items(admin, "/v1/samples", order="newest", limit=limit, app=NAME)
        assert [item["id"] for item in newest[:7]] == sent[::-1]
        times = [item["received_ns"] for item in newest]
        assert times == sorted(times, reverse=True)
    assert [item["labels"] for item in newest[:7]] == [0, 0, 2, 0, 0, 2, 0]
    assert [item["id"] for item in all_items(admin, "/v1/samples")] == sorted(i["id"] for i in newest)
    assert admin.get("/v1/samples?order=oldest").status_code == 422


def test_samples_with_and_without_a_label(
    admin: TestClient, node: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(node, sample_of(300), group="machine-1/with-label")
    upload(node, sample_of(301), group="machine-1/without-label")
    label = {"subject": "m", "group": "machine-1/with-label", "kind": "outcome", "body": {}}
    assert admin.post(f"/v1/apps/{NAME}/labels", json=label).status_code == 201
    for rows in (20_000, 1):
        monkeypatch.setattr("cloud_backend.api.routes.samples.SCAN_ROWS", rows)
        for order in ("id", "newest"):
            labelled = all_items(admin, "/v1/samples", labelled=True, order=order)
            groups = {item["group"] for item in labelled}
            assert "machine-1/with-label" in groups
            assert all(item["labels"] for item in labelled)
            bare = all_items(admin, "/v1/samples", labelled=False, order=order)
            assert "machine-1/without-label" in {item["group"] for item in bare}
            assert not any(item["labels"] for item in bare)
            assert len(labelled) + len(bare) == len(all_items(admin, "/v1/samples", order=order))


def test_the_content_of_a_sample_can_be_drawn(admin: TestClient, node: TestClient) -> None:
    values = np.array([[1.5, np.nan, -np.inf], [0.25, 2.0, 3.0]], np.float32)
    arrays = {
        "values": values,
        "steps": np.arange(3),
        "names": np.array(["a", "ü"]),
        "raw": np.array([b"x\xff"]),
        "phase": np.array([1 + 2j]),
        "on": np.array(True),
    }
    id = upload(node, encode_sample(arrays))
    answer = admin.get(f"/v1/samples/{id}/content")
    assert answer.status_code == 200
    assert answer.json() == {
        "id": id,
        "arrays": {
            "values": [[1.5, None, None], [0.25, 2.0, 3.0]],
            "steps": [0, 1, 2],
            "names": ["a", "ü"],
            "raw": ["x\ufffd"],
            "phase": [[1.0, 2.0]],
            "on": True,
        },
    }
    assert node.get(f"/v1/samples/{id}/content").status_code == 403
    assert admin.get(f"/v1/samples/{'b' * 64}/content").status_code == 404
    assert admin.get("/v1/samples/short/content").status_code == 422


def test_content_over_the_limits_is_refused(
    admin: TestClient, node: TestClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = upload(node, encode_sample({"values": np.zeros(200_001, np.int8)}))
    monkeypatch.setattr("cloud_backend.api.routes.sample_content.UNCOMPRESSED_LIMIT_BYTES", 300_000)
    vast = upload(node, encode_sample({"values": np.zeros(300_001, np.int8)}))
    gone = upload(node, sample_of(400))
    for id, word in ((many, "200001 values"), (vast, "too large")):
        answer = admin.get(f"/v1/samples/{id}/content")
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
        assert word in answer.json()["detail"]
    monkeypatch.setattr("cloud_backend.api.routes.sample_content.FILE_LIMIT_BYTES", 1000)
    assert admin.get(f"/v1/samples/{gone}/content").status_code == 413
    cloud.jobs.samples.path(gone).unlink()
    assert admin.get(f"/v1/samples/{gone}/content").status_code == 404


def test_a_node_uploads_samples_of_its_own_app_and_subjects_only(
    node: TestClient, cloud: Cloud, admin: TestClient
) -> None:
    content = sample_of(901)
    other = next(name for name in cloud.apps if name != NAME)
    refusals = {
        403: [{"app": other}, {"group": "machine-2/run-1"}, {"group": "machine-10"}, {"group": ""}],
        409: [{"subject": "machine-2", "group": "machine-2/run-1"}, {"subject": "", "group": ""}],
    }
    for status, changes in refusals.items():
        for change in changes:
            answer = node.post("/v1/samples", json=announcement(content, **change))
            assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), change
    assert node.post("/v1/samples", json=announcement(content, group="machine-1")).status_code == 201


def test_a_node_that_has_reported_nothing_waits(api: FastAPI, cloud: Cloud) -> None:
    token, _ = cloud.access.enrol("silent", "plant")
    with TestClient(api, headers={"Authorization": f"Bearer {token}"}) as silent:
        answer = silent.post("/v1/samples", json=announcement(sample_of(902)))
    assert answer.status_code == 409
    assert "retry later" in answer.json()["detail"]


def test_a_full_disk_is_reported(node: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    content = sample_of(903)
    id = node.post("/v1/samples", json=announcement(content)).json()["id"]

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cloud_backend.training.samples.Piece.write", full)
        answer = send(node, id, 0, content)
    assert (answer.status_code, answer.headers["content-type"]) == (507, PROBLEM)
    assert send(node, id, 0, content).json()["complete"]


def test_many_unfinished_uploads_of_one_node_are_refused_and_shown(
    admin: TestClient, api: FastAPI, cloud: Cloud
) -> None:
    token, _ = cloud.access.enrol("greedy", "plant")
    with Session(cloud.engine) as session:
        row = session.get(Node, "greedy")
        assert row is not None
        row.app = NAME
        session.add(NodeSubject(node="greedy", subject="machine-1"))
        session.commit()
    contents = [sample_of(5000 + number) for number in range(OPEN_UPLOADS + 20)]
    with (
        TestClient(api, headers={"Authorization": f"Bearer {token}"}) as greedy,
        ThreadPoolExecutor(10) as pool,
    ):
        answers = list(
            pool.map(lambda content: greedy.post("/v1/samples", json=announcement(content)), contents)
        )
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(201), statuses.count(429)) == (OPEN_UPLOADS, 20)
        refused = statuses.index(429)
        assert int(answers[refused].headers["retry-after"]) > 0
        assert answers[refused].headers["content-type"] == PROBLEM
        taken = statuses.index(201)
        id = answers[taken].json()["id"]
        assert send(greedy, id, 0, contents[taken]).json()["complete"]
        assert greedy.post("/v1/samples", json=announcement(contents[refused])).status_code == 201
    cloud.consumer.keep_problems()
    (problem,) = admin.get("/v1/nodes/greedy").json()["problems"]
    assert (problem["kind"], problem["count"]) == ("limited", 20)
    assert "unfinished uploads" in problem["detail"]

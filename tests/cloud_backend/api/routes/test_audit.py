"""Audit log: operators' actions leave lines that nobody can change; persons act under their own names."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from cloud_backend.access.audit import HIDDEN
from cloud_backend.api.routes.audit import path_template
from cloud_backend.runtime.cloud import Cloud
from tests.cloud_backend.api.browsers import OURS, PASSWORD
from tests.cloud_backend.learner import NAME


def lines(admin: TestClient, **query: Any) -> list[dict[str, Any]]:
    return admin.get("/v1/audit-trail", params={"limit": 500, **query}).json()["items"]


def newest(admin: TestClient) -> dict[str, Any]:
    return lines(admin, limit=1)[0]


def test_a_change_leaves_a_line_with_who_what_when_and_from_where(admin: TestClient, cloud: Cloud) -> None:
    before = cloud.clock()
    body = {"node": "audited-1", "site": "plant", "allow_loopback": True}
    assert admin.post("/v1/nodes", json=body).status_code == 201
    line = newest(admin)
    assert before <= line["time_ns"] <= cloud.clock()
    assert (line["actor"], line["action"], line["outcome"]) == ("admin", "POST /v1/nodes", "done")
    assert line["details"] == body
    assert line["address"] == "testclient"
    assert admin.post("/v1/nodes/audited-1/retire").status_code == 200
    line = newest(admin)
    assert (line["action"], line["subject"]) == ("POST /v1/nodes/{node}/retire", "audited-1")
    assert admin.post("/v1/nodes/nobody/retire").status_code == 404
    assert newest(admin)["outcome"] == "404"


def test_a_route_of_an_app_is_named_with_its_app() -> None:
    router, api = APIRouter(), FastAPI()

    @router.post("/strips/{strip}/review")
    def review(request: Request, strip: str) -> str:
        return path_template(request.scope)

    api.include_router(router, prefix="/v1/apps/ecg")
    answer = TestClient(api).post("/v1/apps/ecg/strips/bed 1.7/review")
    assert answer.json() == "/v1/apps/ecg/strips/{strip}/review"


def test_reading_and_a_nodes_own_requests_leave_none(admin: TestClient, node: TestClient) -> None:
    before = lines(admin)
    admin.get("/v1/nodes")
    node.post("/v1/samples", json={})
    assert lines(admin) == before


def test_secrets_and_long_or_broken_bodies_are_not_kept(admin: TestClient) -> None:
    admin.post("/v1/nodes", json={"node": "n", "password": "hunter2", "inner": {"api_token": "t"}})
    assert newest(admin)["details"] == {"node": "n", "password": HIDDEN, "inner": {"api_token": HIDDEN}}
    admin.post("/v1/nodes", json={"node": "x" * 5000})
    assert newest(admin)["details"] == {"body": "over 4096 bytes"}
    headers = {"Content-Type": "application/json"}
    for broken in (b"{", b"[" * 2000, b'{"a": "\\ud800"}'):
        assert admin.post("/v1/nodes", content=broken, headers=headers).status_code == 422
        assert newest(admin)["outcome"] == "422"


def test_signing_in_and_out_leaves_lines(admin: TestClient, browser: TestClient) -> None:
    wrong = {"name": "Mallory", "password": "wrong"}
    browser.post("/sign-in", data=wrong, headers=OURS)
    line = newest(admin)
    assert (line["actor"], line["action"], line["outcome"]) == ("Mallory", "sign in", "wrong password")
    assert "wrong" not in str(line["details"])
    browser.post("/sign-in", data={"name": "Eva", "password": PASSWORD}, headers=OURS)
    assert (newest(admin)["actor"], newest(admin)["outcome"]) == ("Eva", "done")
    browser.post("/sign-out", headers=OURS)
    assert (newest(admin)["actor"], newest(admin)["action"]) == ("Eva", "sign out")


def test_a_person_acts_under_their_own_name(admin: TestClient, browser: TestClient) -> None:
    browser.post("/sign-in", data={"name": "Eva", "password": PASSWORD}, headers=OURS)
    labels = f"/v1/apps/{NAME}/labels"
    label = {"subject": "m", "group": "m/1", "kind": "k", "body": {}}
    assert browser.post(labels, json=label, headers=OURS).json()["source"] == "person:Eva"
    assert newest(admin)["actor"] == "Eva"
    forged = browser.post(labels, json=label | {"source": "person:Adam"}, headers=OURS)
    assert forged.status_code == 403
    assert newest(admin)["outcome"] == "403"
    own = browser.post(labels, json=label | {"source": "person:Eva"}, headers=OURS)
    assert own.status_code == 201
    as_other = {"by": "Adam", "reason": "because"}
    assert browser.post(
        f"/v1/apps/{NAME}/models/starter-1/promote", json=as_other, headers=OURS
    ).status_code in (
        403,
        422,
    )


def test_nobody_signs_in_as_the_admin(browser: TestClient) -> None:
    answer = browser.post("/sign-in", data={"name": " Admin ", "password": PASSWORD}, headers=OURS)
    assert answer.status_code == 400


@pytest.mark.parametrize("change", ["DELETE FROM audit_trail", "UPDATE audit_trail SET actor = 'nobody'"])
def test_the_database_refuses_to_change_a_line(admin: TestClient, cloud: Cloud, change: str) -> None:
    admin.post("/v1/nodes/nobody/retire")
    with pytest.raises(DBAPIError, match="append-only"), cloud.engine.begin() as connection:
        connection.execute(text(change))


def test_lines_are_found_by_who_and_what(admin: TestClient, browser: TestClient) -> None:
    browser.post("/sign-in", data={"name": "Zoe", "password": PASSWORD}, headers=OURS)
    assert {line["actor"] for line in lines(admin, actor="Zoe")} == {"Zoe"}
    assert {line["action"] for line in lines(admin, action="sign in")} <= {"sign in", "sign in by a link"}

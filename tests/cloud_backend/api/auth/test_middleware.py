"""Nothing but /healthz answers without a token, and a node's token opens little."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from fastapi import FastAPI, Request, routing
from starlette.routing import Mount
from starlette.testclient import TestClient

from cloud_backend.api import problem
from cloud_backend.api.auth.middleware import BODY_LIMIT_BYTES, OPEN_PAGES
from cloud_backend.runtime.cloud import Cloud
from tests.cloud_backend.api.conftest import SAMPLE_LIMIT_BYTES

WRONG = {"Authorization": "Bearer wrong-token"}
NODE_MAY = {("POST", "/v1/samples"), ("PATCH", "/v1/samples/{id}"), ("HEAD", "/v1/samples/{id}")}


def routes_of(api: FastAPI) -> list[tuple[str, str]]:
    """Every method and path of the application, the mounted folders and the documentation included."""
    found: list[tuple[str, str]] = []
    flat = getattr(routing, "iter_route_contexts", lambda routes: routes)  # older FastAPI has a flat list
    for route in flat(api.routes):
        if isinstance(getattr(route, "original_route", route), Mount):
            found += [("GET", f"{route.path}/1.root.json"), ("HEAD", f"{route.path}/x")]
        else:
            assert route.methods, route
            found += [(method, route.path) for method in sorted(route.methods)]
    return found


def is_open(method: str, path: str) -> bool:
    return path == "/healthz" or any(method in methods and p.fullmatch(path) for methods, p in OPEN_PAGES)


def concrete(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "a" * 64, path)


def test_the_walk_sees_all_kinds_of_routes(api: FastAPI) -> None:
    paths = {path for _, path in routes_of(api)}
    assert {"/docs", "/openapi.json", "/v1/nodes", "/tuf/metadata/1.root.json", "/v1/samples/{id}"} <= paths
    assert {"/v1/apps/industrial/machines", "/v1/apps/{app}/jobs/{id}/cancel"} <= paths
    assert len(paths) > 30


ERRORS = ("application/problem+json", "application/fhir+json; charset=utf-8")
"""Forms of an error: ours, and that of what apps mount."""


def test_every_route_refuses_a_missing_and_a_wrong_token(api: FastAPI, anyone: TestClient) -> None:
    for method, path in routes_of(api):
        if is_open(method, path):
            continue
        for headers in ({}, WRONG, {"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": "Bearer "}):
            answer = anyone.request(method, concrete(path), headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)
            assert answer.headers["content-type"] in ERRORS, (method, path)


def test_every_route_but_its_own_refuses_a_node(api: FastAPI, node: TestClient) -> None:
    for method, path in routes_of(api):
        if is_open(method, path):
            continue
        answer = node.request(method, concrete(path))
        if (method, path) in NODE_MAY or path.startswith("/tuf/"):
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert "insufficient_scope" in answer.headers["www-authenticate"]
            assert answer.headers["content-type"] in ERRORS


@pytest.mark.parametrize(
    "path", ["/tuf/../v1/nodes", "/tuf/metadata/../../v1/nodes", "/v1/samples/../nodes", "/tuf//v1/nodes"]
)
def test_a_node_cannot_walk_out_of_its_paths(api: FastAPI, node: TestClient, path: str) -> None:
    answer = node.get(path)
    assert answer.status_code in (403, 404)


def test_paths_that_do_not_exist_need_a_token_too(anyone: TestClient, admin: TestClient) -> None:
    assert anyone.get("/v1/nothing").status_code == 401
    assert admin.get("/v1/nothing").status_code == 404


def test_health_needs_no_token(anyone: TestClient) -> None:
    answer = anyone.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_token_scheme_is_read_in_any_case(anyone: TestClient, cloud: Cloud) -> None:
    token = cloud.access.admin_token
    assert anyone.get("/v1/nodes", headers={"Authorization": f"bearer {token}"}).status_code == 200
    assert anyone.get("/v1/nodes", headers={"Authorization": f"Bearer {token}x"}).status_code == 401
    assert anyone.get("/v1/nodes", headers={"Authorization": token}).status_code == 401


def test_a_body_declared_too_large_is_refused(admin: TestClient) -> None:
    answer = admin.post("/v1/nodes", content=b"x", headers={"Content-Length": str(BODY_LIMIT_BYTES + 1)})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_grows_too_large_is_refused_before_its_end(admin: TestClient) -> None:
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(100):
            sent += 256 * 1024
            yield b" " * (256 * 1024)

    answer = admin.post("/v1/nodes", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["status"] == 413


def test_a_piece_of_a_sample_has_the_limit_of_samples(node: TestClient) -> None:
    answer = node.patch(
        f"/v1/samples/{'a' * 64}", content=b"x" * (SAMPLE_LIMIT_BYTES + 1), headers={"Upload-Offset": "0"}
    )
    assert answer.status_code == 413
    answer = node.patch(f"/v1/samples/{'a' * 64}", content=b"x", headers={"Upload-Offset": "0"})
    assert answer.status_code == 404


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "gzip, identity", "br"])
def test_a_compressed_body_is_not_unpacked(admin: TestClient, encoding: str) -> None:
    answer = admin.post("/v1/nodes", content=b"\x1f\x8b", headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_request_that_is_cut_off_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    api = FastAPI()
    problem.install(api)

    @api.post("/sign-in")
    async def read(request: Request) -> None:
        await request.body()

    scope = {"type": "http", "method": "POST", "path": "/sign-in", "headers": [], "query_string": b""}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(api(scope, receive, send))
    assert sent[0]["status"] == 400
    assert not caplog.records

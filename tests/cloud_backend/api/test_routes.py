"""Routes of uploads, update files, status and apps; and problem documents of every route."""

from __future__ import annotations

from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from tests.cloud_backend.api.requests import PROBLEM, all_items, announcement, sample_of, send
from tests.cloud_backend.learner import NAME


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


def test_a_wrong_body_is_refused_with_the_place_of_the_error(admin: TestClient) -> None:
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


def test_update_files_are_cheap_to_poll(node: TestClient) -> None:
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


def test_status_shows_what_runs(admin: TestClient, cloud: Cloud) -> None:
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

"""Session cookies: access by owner and origin; security headers of pages."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cloud_backend.access.tokens import Access
from cloud_backend.api import create_api
from cloud_backend.api.auth.middleware import COOKIE, AuthMiddleware
from cloud_backend.api.auth.origins import HOME, origin_of, own_origins
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.engine import open_store
from tests.cloud_backend.api.browsers import FOREIGN, OURS, PAGES, PASSWORD, SOCKET, THEIRS, echo, new_browser
from tests.waiting import PATIENCE_S


def sign_in(browser: TestClient, cloud: Cloud) -> None:
    browser.cookies.set(COOKIE, cloud.access.sessions.start("Eva"))


# ------------------------------------------------------------------------------------------- other sites

PREFLIGHT_FREE = ["application/json", "text/plain", "application/x-www-form-urlencoded"]


@pytest.mark.parametrize("headers", [*FOREIGN, {}, {"Sec-Fetch-Site": "none"}], ids=str)
def test_a_change_that_rests_on_the_cookie_must_come_from_our_pages(
    browser: TestClient, cloud: Cloud, headers: dict[str, str]
) -> None:
    sign_in(browser, cloud)
    for kind in PREFLIGHT_FREE:
        request_headers = {"Content-Type": kind, **headers}
        answer = browser.post(
            "/v1/nodes", content=b'{"node": "forged", "site": "x"}', headers=request_headers
        )
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        assert browser.request(method, "/v1/session", headers=headers).status_code == 403
    assert browser.post("/ui/x", headers=headers).status_code == 403
    assert browser.post("/sign-out", headers=headers).status_code == 403
    assert browser.get("/ui/fleet").status_code == 200
    assert "plant/forged" not in cloud.access.broker_users()


@pytest.mark.parametrize(
    "headers", [OURS, {"Origin": "http://TESTSERVER:80"}, {"Sec-Fetch-Site": "same-origin"}]
)
def test_our_own_pages_may_change_things(browser: TestClient, headers: dict[str, str], cloud: Cloud) -> None:
    sign_in(browser, cloud)
    assert browser.post("/v1/nodes", json={"node": "n3", "site": "plant"}, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_reads_nothing_with_the_cookie(
    browser: TestClient, headers: dict[str, str], cloud: Cloud
) -> None:
    """NiceGUI's polling would allow any origin to read (CORS)."""
    sign_in(browser, cloud)
    assert browser.get("/v1/nodes", headers=headers).status_code == 403
    assert browser.get(f"{SOCKET}?EIO=4&transport=polling", headers=headers).status_code == 403


def test_a_frame_of_the_same_host_opens_pages(browser: TestClient, cloud: Cloud) -> None:
    sign_in(browser, cloud)
    headers = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert browser.get("/ui/fleet", headers=headers).status_code == 200


def test_a_bearer_token_needs_no_origin_and_stands_before_the_cookie(
    browser: TestClient, cloud: Cloud, node: TestClient
) -> None:
    bearer = {"Authorization": f"Bearer {cloud.access.admin_token}"}
    body = {"node": "n4", "site": "plant"}
    assert browser.post("/v1/nodes", json=body, headers=bearer | THEIRS).status_code == 201
    sign_in(browser, cloud)
    assert browser.get("/v1/session", headers=bearer).json()["name"] == "admin"
    of_node = {"Authorization": node.headers["authorization"]}
    assert browser.get("/v1/session", headers=of_node).status_code == 403
    assert browser.get("/v1/session", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_behind_a_proxy_the_public_url_is_our_origin_too() -> None:
    scope = {"type": "http", "scheme": "http", "headers": [(b"host", b"10.0.0.1:8080")]}
    assert own_origins(scope, "https://edge.example/cloud/") == {
        "http://10.0.0.1:8080",
        "https://edge.example:443",
    }
    assert own_origins({"type": "http", "headers": []}, "") == set()
    assert origin_of("HTTP://Edge.Example") == "http://edge.example:80"
    assert origin_of("http://[::1]:8080") == "http://[::1]:8080"
    for wrong in (
        "",
        "null",
        "edge.example",
        "file:///x",
        "http://",
        "http://x:port",
        "http://a@b",
        "http://x:99999",
    ):
        assert origin_of(wrong) == ""


# ------------------------------------------------------------------------------------- who gets to pages


@pytest.mark.parametrize("path", ["/", "/ui", "/ui/", "/ui/fleet", "/ui/apps/industrial/machines/x"])
def test_a_page_without_a_session_is_the_sign_in_page(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 303
    target = urlsplit(answer.headers["location"])
    assert (target.netloc, target.path) == ("", "/sign-in")
    assert parse_qs(target.query)["next"] == [path if path != "/" else HOME]


def test_a_link_to_a_page_on_another_site_gives_the_cookie_a_chance(browser: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = browser.get("/ui/nodes/n1?x=%22%3E", headers=headers)
    assert answer.status_code == 200
    assert 'content="0;url=/ui/nodes/n1?x=%22%3E"' in answer.text
    assert browser.get("/ui/nodes/n1", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    browser.cookies.set(COOKIE, "session.over")
    assert browser.get("/ui/nodes/n1", headers=headers).status_code == 303


def test_a_nodes_token_reaches_no_page(browser: TestClient, node: TestClient) -> None:
    authorization = node.headers["authorization"]
    answer = browser.get("/ui/fleet", headers={"Authorization": authorization})
    assert answer.status_code == 403
    browser.cookies.set(COOKIE, authorization.partition(" ")[2])
    assert browser.get("/ui/fleet").status_code == 303
    assert browser.get("/v1/samples").status_code == 401
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect(SOCKET, headers=OURS):
        pass


def test_the_admins_token_is_no_cookie(browser: TestClient, cloud: Cloud) -> None:
    browser.cookies.set(COOKIE, cloud.access.admin_token)
    assert browser.get("/ui/fleet").status_code == 303
    assert browser.get("/v1/nodes").status_code == 401


def test_scripts_and_styles_are_open_and_uploads_are_not(browser: TestClient) -> None:
    assert browser.get("/ui/_nicegui/3.0/static/nicegui.js").text == "script"
    for path in (
        "/ui/_nicegui/client/abc/upload/1",
        "/ui/_nicegui/auto/static/abc/file.csv",
        "/ui/_nicegui/3.0/dynamic_resources/x",
        f"{SOCKET}?EIO=4&transport=polling",
    ):
        assert browser.get(path).status_code == 401, path
        assert browser.post(path).status_code == 401, path
    assert browser.post("/ui/_nicegui/3.0/static/nicegui.js").status_code == 401


@pytest.mark.parametrize(
    "path", ["/ui/fleet", "/ui/_nicegui/3.0/static/nicegui.js", "/sign-in", "/sign-in/x", "/sign-out"]
)
def test_pages_declare_their_sources_and_framing(browser: TestClient, path: str, cloud: Cloud) -> None:
    for signed_in in (False, True):
        if signed_in:
            sign_in(browser, cloud)
        headers = browser.request("POST" if path == "/sign-out" else "GET", path, headers=OURS).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        assert policy["frame-ancestors"] == "'none'"
        assert "*" not in headers["content-security-policy"]
        assert policy["default-src"] == ("'none'" if path.startswith("/sign") else "'self'")
        assert (headers.get("cache-control") == "no-store") >= path.startswith("/sign")


def test_only_the_origins_of_the_settings_may_frame_pages(cloud: Cloud) -> None:
    http = msgspec.structs.replace(
        cloud.settings.http, frame_ancestors=["http://127.0.0.1:9000", "https://show.example"]
    )
    framed = dataclasses.replace(cloud, settings=msgspec.structs.replace(cloud.settings, http=http))
    with new_browser(create_api(framed)) as client:
        policy = client.get("/sign-in").headers["content-security-policy"]
        assert policy.endswith("frame-ancestors http://127.0.0.1:9000 https://show.example")
        assert "content-security-policy" not in client.get("/healthz").headers


# ------------------------------------------------------------------------------------------- websockets


def test_a_websocket_opens_for_who_is_signed_in(browser: TestClient, cloud: Cloud) -> None:
    sign_in(browser, cloud)
    with browser.websocket_connect(SOCKET, headers=OURS) as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "Eva: hello"


@pytest.mark.parametrize("headers", [*FOREIGN, {}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_a_websocket_from_elsewhere_is_refused(
    browser: TestClient, headers: dict[str, str], cloud: Cloud
) -> None:
    sign_in(browser, cloud)
    with pytest.raises(WebSocketDisconnect) as refusal, browser.websocket_connect(SOCKET, headers=headers):
        pass
    assert refusal.value.code == 1008


def test_a_websocket_without_a_session_is_refused(browser: TestClient, cloud: Cloud) -> None:
    bearer = {"Authorization": f"Bearer {cloud.access.admin_token}"}
    for headers in (OURS, OURS | bearer, OURS | {"Cookie": f"{COOKIE}=session.wrong"}):
        with pytest.raises(WebSocketDisconnect), browser.websocket_connect(SOCKET, headers=headers):
            pass


@pytest.mark.parametrize("path", ["/ui/elsewhere", "/v1/nodes", "/", "/ui/_nicegui_ws"])
def test_a_websocket_is_for_the_dashboard_only(browser: TestClient, path: str, cloud: Cloud) -> None:
    sign_in(browser, cloud)
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect(path, headers=OURS):
        pass


@pytest.mark.parametrize("busy", [False, True])
def test_a_websocket_is_closed_soon_after_its_session_has_ended(cloud: Cloud, busy: bool) -> None:
    app = Starlette(routes=[WebSocketRoute(SOCKET, echo)])
    guard = AuthMiddleware(app, cloud.access, session_check_s=0.02)
    token = cloud.access.sessions.start("Eva")
    headers = OURS | {"Cookie": f"{COOKIE}={token}"}
    with TestClient(guard) as client, client.websocket_connect(SOCKET, headers=headers) as socket:

        def talk_until(deadline: float) -> None:
            while time.monotonic() < deadline:
                if busy:
                    socket.send_text("still here")
                socket.receive_text()

        for _ in range(20):
            socket.send_text("still here")
            assert socket.receive_text() == "Eva: still here"
        cloud.access.sessions.end(token)
        with pytest.raises(WebSocketDisconnect) as end:
            talk_until(time.monotonic() + PATIENCE_S)
        assert end.value.code == 1008


def test_a_websocket_is_closed_when_the_password_changes(cloud: Cloud) -> None:
    app = Starlette(routes=[WebSocketRoute(SOCKET, echo)])
    guard = AuthMiddleware(app, cloud.access, session_check_s=0.02)
    headers = OURS | {"Cookie": f"{COOKIE}={cloud.access.sessions.start('Eva')}"}
    with TestClient(guard) as client, client.websocket_connect(SOCKET, headers=headers) as socket:
        cloud.access.passwords.set(PASSWORD)
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()


# ------------------------------------------------------------------------------ a database that is away


def test_a_database_that_is_away_is_reported_and_not_taken_for_a_wrong_session(tmp_path: Path) -> None:
    access = Access(open_store("postgresql://edgeloop@127.0.0.1:1/edgeloop", upgrade=False), tmp_path)
    headers = {"Cookie": f"{COOKIE}=session.x"}
    with TestClient(AuthMiddleware(PAGES, access), headers=headers, follow_redirects=False) as client:
        page = client.get("/ui/fleet?x=1")
        assert page.status_code == 503
        assert "The database does not answer" in page.text
        assert 'content="5;url=/ui/fleet?x=1"' in page.text
        answer = client.get("/v1/nodes")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        answer = client.get("/v1/nodes", headers={"Authorization": "Bearer of-a-node"})
        assert answer.status_code == 503
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers=headers | OURS):
            pass

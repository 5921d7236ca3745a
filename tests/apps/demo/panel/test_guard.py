"""Only a browser with a one-time address has access to the panel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from apps.demo.panel.guard import BROWSERS, COOKIE, PanelGuard

ORIGIN = "http://127.0.0.1:4711"
SOCKET = "ws://127.0.0.1:4711/socket"


class Panel:
    """A guarded app, and the announced addresses."""

    def __init__(self) -> None:
        api = FastAPI()

        @api.get("/")
        def page() -> str:
            return "the show"

        @api.post("/press")
        def press() -> str:
            return "pressed"

        @api.websocket("/socket")
        async def socket(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text("hello")
            await websocket.close()

        self.announced: list[str] = []
        self.guard = PanelGuard(api, ORIGIN, self.announced.append)

    def browser(self) -> TestClient:
        return TestClient(self.guard, base_url=ORIGIN)

    def entered(self) -> TestClient:
        browser = self.browser()
        assert browser.get(self.guard.address).status_code == 200
        return browser


@pytest.fixture
def panel() -> Panel:
    return Panel()


def test_without_the_cookie_nothing_is_shown(panel: Panel):
    browser = panel.browser()
    for path in ("/", "/_nicegui/x.js", "/enter/wrong", "/enter/"):
        assert browser.get(path).status_code == 401
    assert browser.post("/press", headers={"Origin": ORIGIN}).status_code == 401
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect(SOCKET, headers={"Origin": ORIGIN}):
        pass
    browser.cookies.set(COOKIE, "wrong")
    assert browser.get("/").status_code == 401


def test_an_address_admits_one_browser_and_a_new_one_is_announced(panel: Panel):
    first = panel.guard.address
    browser = panel.browser()
    answer = browser.get(first)
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in answer.headers["set-cookie"]
    assert browser.get("/").json() == "the show"
    assert panel.browser().get(first).status_code == 401
    assert panel.announced == [first, panel.guard.address]
    assert panel.guard.address != first


def test_another_origin_can_neither_post_nor_open_a_websocket(panel: Panel):
    browser = panel.entered()
    for origin in ("http://127.0.0.1:9999", "http://evil.example", "null", ""):
        assert browser.post("/press", headers={"Origin": origin}).status_code == 403
        with (
            pytest.raises(WebSocketDisconnect),
            browser.websocket_connect(SOCKET, headers={"Origin": origin}),
        ):
            pass
    assert browser.post("/press").status_code == 403
    assert browser.post("/press", headers={"Origin": ORIGIN}).json() == "pressed"
    with browser.websocket_connect(SOCKET, headers={"Origin": ORIGIN}) as socket:
        assert socket.receive_text() == "hello"


def test_a_foreign_host_name_is_refused(panel: Panel):
    browser = panel.entered()
    assert browser.get("/", headers={"Host": "evil.example:4711"}).status_code == 403
    assert panel.browser().get(panel.guard.address, headers={"Host": "evil.example"}).status_code == 403


def test_no_page_may_frame_the_panel(panel: Panel):
    headers = panel.entered().get("/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_the_oldest_browser_is_dropped_above_the_maximum(panel: Panel):
    browsers = [panel.entered() for _ in range(BROWSERS + 1)]
    assert browsers[0].get("/").status_code == 401
    assert all(browser.get("/").status_code == 200 for browser in browsers[1:])


def test_the_headless_show_imports_no_web_page():
    code = (
        "import sys, apps.demo.commands, apps.demo.story.show, apps.demo.story.player;"
        "import apps.demo.story.engines.manual_actions;"
        "sys.exit(bool({'nicegui', 'fastapi', 'apps.demo.panel.panel'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

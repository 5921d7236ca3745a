"""A browser and the site that it looks at, with plain pages where the dashboard is mounted."""

from __future__ import annotations

import itertools

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

PASSWORD = "a long enough password"
US = "http://testserver"
OURS = {"Origin": US}
THEIRS = {"Origin": "https://elsewhere.example"}
FOREIGN = [
    THEIRS,
    {"Origin": "null"},
    {"Origin": "http://testserver:81"},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver.elsewhere.example"},
    {"Origin": "http://testserver@elsewhere.example"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
"""Headers of a browser's request from another site."""
SOCKET = "/ui/_nicegui_ws/socket.io/"
_addresses = itertools.count(1)


async def echo(socket: WebSocket) -> None:
    """Echoes a message with the name of its sender."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{socket.state.principal.name}: {text}")


async def _show(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"page for {request.state.principal.name}, {request.state.token[:8]}")


PAGES = Starlette(
    routes=[
        WebSocketRoute("/_nicegui_ws/socket.io/", echo),
        WebSocketRoute("/elsewhere", echo),
        Route("/_nicegui/3.0/static/nicegui.js", lambda _: PlainTextResponse("script")),
        Route("/{path:path}", _show, methods=["GET", "HEAD", "POST"]),
    ]
)
"""In place of the dashboard: returns the authenticated principal."""


def new_browser(site: FastAPI, base_url: str = US) -> TestClient:
    """A browser at an address of its own, which nobody has signed in with."""
    address = f"10.1.0.{next(_addresses)}"
    return TestClient(site, base_url, client=(address, 1), follow_redirects=False)

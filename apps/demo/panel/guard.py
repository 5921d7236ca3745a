"""Access guard of the panel: only a browser that opened a one-time address.

The panel can start processes and add models, so other users of the machine and other pages of the browser
have no access:

- ``GET /enter/<token>`` accepts the printed token once and sets a cookie (HttpOnly, SameSite=Strict). A new
  token is then generated and announced.
- Every other request needs that cookie: otherwise 401, and a websocket is closed.
- Websockets and all methods except GET and HEAD need the panel's own ``Origin``.
- The ``Host`` must be the panel's own (DNS rebinding).
- No page may frame the panel; the panel frames only the cloud's dashboard on loopback.

An ASGI middleware without other I/O.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

COOKIE = "edgeloop-show"
BROWSERS = 8
"""Maximum number of admitted browsers; the oldest one is dropped."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; frame-src http://127.0.0.1:*; frame-ancestors 'none'; "
        b"base-uri 'self'; form-action 'self'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]

# A page that refreshes: a redirect after a click on another site would arrive without the strict cookie.
_ENTERED = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>edgeloop: the show</title>
<meta http-equiv="refresh" content="0;url=/"></head><body><p><a href="/">To the show</a></p></body></html>"""
_REFUSED = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>edgeloop: the show</title>
</head><body><h1>This address is not valid</h1>
<p>Open the newest address that <code>edgeloop demo</code> has printed: each is valid for one browser.</p>
</body></html>"""


class PanelGuard:
    """Wraps the panel's ASGI app; ``announce`` receives each address that admits a browser."""

    def __init__(self, app: App, origin: str, announce: Callable[[str], None]) -> None:
        self._app = app
        self._origin = origin
        self._host = origin.partition("://")[2]
        self._announce = announce
        self._browsers: OrderedDict[bytes, None] = OrderedDict()
        self._token = ""
        self._renew()

    @property
    def address(self) -> str:
        """Address that admits the next browser."""
        return f"{self._origin}/enter/{self._token}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        safe = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if headers.get("host") != self._host or not (safe or headers.get("origin") == self._origin):
            await _refuse(scope, send, 403)
            return
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith("/enter/"):
            await self._enter(scope, send)
            return
        if not self._is_known(headers.get("cookie", "")):
            await _refuse(scope, send, 401)
            return
        await self._app(scope, receive, _with_headers(send))

    async def _enter(self, scope: Message, send: Send) -> None:
        token = scope["path"].removeprefix("/enter/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            await _refuse(scope, send, 401)
            return
        cookie = secrets.token_urlsafe(32)
        self._browsers[_digest(cookie)] = None
        while len(self._browsers) > BROWSERS:
            self._browsers.popitem(last=False)
        self._renew()
        set_cookie = f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict".encode()
        await _answer(send, 200, _ENTERED, [(b"set-cookie", set_cookie)])

    def _renew(self) -> None:
        self._token = secrets.token_urlsafe(32)
        self._announce(self.address)

    def _is_known(self, header: str) -> bool:
        try:
            found = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return False
        return found is not None and _digest(found.value) in self._browsers


def _digest(cookie: str) -> bytes:
    # Lookup by digest: its duration reveals nothing about a cookie.
    return hashlib.sha256(cookie.encode()).digest()


async def _refuse(scope: Message, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # Before it is accepted: HTTP 403.
        return
    await _answer(send, status, _REFUSED, [])


async def _answer(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *_HEADERS,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return sending

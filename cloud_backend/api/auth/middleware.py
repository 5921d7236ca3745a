"""What stands before every route: who asks, and how much they send. Plain ASGI, so nothing passes by.

- Everything needs a bearer token but `OPEN`, `OPEN_PAGES` and what a mount opens by a setting. Who has none
  or a wrong one gets 401; a node on anything but its uploads and the update files gets 403. What is not named
  here is the admin's.
- Without a bearer token the cookie of a session counts, on requests that come from our own pages only
  (`cloud_backend.api.auth.origins`). Where a page is asked for without one, the sign-in page answers.
- A websocket needs the cookie and our own origin, and is closed soon after its session has ended.
- A compressed request body is refused with 415: nothing here unpacks one.
- A request body over its route's limit is refused with 413: by its Content-Length before a byte is
  read, and without one as soon as it has grown too long.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Protocol

import structlog
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.access.tokens import Principal
from cloud_backend.api.auth import origins, sign_in_page
from cloud_backend.api.problem import problem_response
from cloud_backend.store.engine import is_outage
from common.bundle import FILE_LIMIT_BYTES
from common.errors import AccessDenied

COOKIE = "edgeloop-session"
OPEN = {("GET", "/healthz"), ("HEAD", "/healthz")}
OPEN_PAGES: list[tuple[frozenset[str], re.Pattern[str]]] = [
    (frozenset({"GET", "HEAD", "POST"}), re.compile(r"/sign-in")),
    (frozenset({"GET"}), re.compile(r"/sign-in/[^/]+")),
    (frozenset({"POST"}), re.compile(r"/sign-out")),
    (
        frozenset({"GET", "HEAD"}),
        re.compile(r"/ui/_nicegui/\d[^/]*/(static|libraries|components|resources|esm)/.+"),
    ),
]
"""Signing in and out, and the scripts and styles that any dashboard made with NiceGUI has."""
SOCKETS = "/ui/_nicegui_ws/"
_log = structlog.get_logger("edgeloop.access")
_NO_PAGES = ("/ui/_nicegui/", SOCKETS)
LOOK_AGAIN_S = 10.0
"""Time after which a websocket's session is looked at again."""
NODE_ROUTES: list[tuple[frozenset[str], re.Pattern[str]]] = [
    (frozenset({"GET", "HEAD"}), re.compile(r"/tuf/(metadata|targets)/.+")),
    (frozenset({"POST"}), re.compile(r"/v1/samples")),
    (frozenset({"PATCH", "HEAD"}), re.compile(r"/v1/samples/[^/]+")),
]
"""What a node may do with its token: look for models, and upload its own samples."""
BODY_LIMIT_BYTES = 1024 * 1024
FORM_LIMIT_BYTES = 16 * 1024
_SAMPLE = re.compile(r"/v1/samples/[^/]+")
_MODEL_FILE = re.compile(r"/v1/apps/[^/]+/models/[^/]+/files/[^/]+")


class Access(Protocol):
    """What the guard asks (`cloud_backend.access.tokens.Access`); it compares in constant time."""

    def principal(self, token: str) -> Principal:
        """Whose token it is. Raises `AccessDenied`."""
        ...

    def person(self, token: str) -> Principal | None:
        """Who is signed in with a session's token."""
        ...

    def is_signed_in(self, token: str) -> bool:
        """Whether a session's token is still valid; asking is no use of it."""
        ...


class TokenGuard:
    """Puts the request's `Principal` and its token into ``scope["state"]``, or refuses.

    ``public_url`` is where browsers find the cloud behind a proxy, empty without one. At most
    ``sockets_limit`` websockets are open at a time. ``open_paths`` can be read by everybody.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        public_url: str = "",
        look_again_s: float = LOOK_AGAIN_S,
        sockets_limit: int = 200,
        open_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._access = access
        self._public_url = public_url
        self._look_again_s = look_again_s
        self._sockets_limit = sockets_limit
        self._open_paths = open_paths
        self._sockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        elif self._is_open(scope):
            await self._app(scope, receive, send)
        else:
            try:
                refusal = await self._refusal(scope)
            except SQLAlchemyError as error:
                if not is_outage(error):
                    raise
                refusal = _outage(scope)
            await (refusal or self._app)(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        reads = scope["method"] in ("GET", "HEAD")
        return (
            (scope["method"], scope["path"]) in OPEN
            or _matches(OPEN_PAGES, scope)
            or (reads and scope["path"] in self._open_paths)
        )

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that may not pass; one that may gets its principal."""
        authorization = Headers(scope=scope).get("authorization")
        if authorization is None and (token := _cookie_of(scope)):
            return await self._refusal_of_cookie(scope, token)
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if authorization is None and _is_page(scope):
            return _to_sign_in(scope)
        if scheme.lower() != "bearer" or not token or len(token) > 512 or not token.isascii():
            return problem_response(401, "send the token as `Authorization: Bearer TOKEN`", kind="token")
        try:
            principal = await to_thread.run_sync(self._access.principal, token)
        except AccessDenied:
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="invalid_token"'}
            return problem_response(401, "the token is not known here", kind="token", headers=headers)
        if principal.kind != "admin" and not _matches(NODE_ROUTES, scope):
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="insufficient_scope"'}
            detail = "a node's token is for its uploads and for /tuf only"
            return problem_response(403, detail, kind="scope", headers=headers)
        scope.setdefault("state", {}).update(principal=principal, token=token)
        return None

    async def _refusal_of_cookie(self, scope: Scope, token: str) -> Response | None:
        person = await self._person(token)
        if person is None:
            if _is_page(scope):
                return _to_sign_in(scope)
            return problem_response(401, "the session has ended: sign in again", kind="token")
        reads = scope["method"] in ("GET", "HEAD", "OPTIONS")
        allowed = origins.may_read if reads else origins.may_change
        if not allowed(scope, self._public_url):
            return problem_response(403, "a page of another site cannot ask this", kind="origin")
        scope.setdefault("state", {}).update(principal=person, token=token)
        return None

    async def _person(self, token: str) -> Principal | None:
        try:
            return await to_thread.run_sync(self._access.person, token)
        except AccessDenied:
            return None

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _cookie_of(scope)
        own = origins.origin_of(Headers(scope=scope).get("origin", "")) in origins.own_origins(
            scope, self._public_url
        )
        person = None
        if own and token and scope["path"].startswith(SOCKETS):
            try:
                person = await self._person(token)
            except SQLAlchemyError as error:
                if not is_outage(error):
                    raise
        if person is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        if self._sockets >= self._sockets_limit:
            _log.warning("too many dashboard pages are open (http.dashboard_sockets)", open=self._sockets)
            await send({"type": "websocket.close", "code": 1013})
            return
        scope.setdefault("state", {}).update(principal=person, token=token)
        watched = _WatchedSocket(self._access, token, receive, send, self._look_again_s)
        self._sockets += 1
        try:
            await self._app(scope, watched.receive, watched.send)
        finally:
            self._sockets -= 1


class _WatchedSocket:
    """A websocket that is closed once its session is over, whatever it was doing."""

    def __init__(self, access: Access, token: str, receive: Receive, send: Send, look_again_s: float) -> None:
        self._access = access
        self._token = token
        self._receive = receive
        self._send = send
        self._look_again_s = look_again_s
        self._look_at = time.monotonic() + look_again_s
        self._closed = False

    async def receive(self) -> Message:
        while not (time.monotonic() >= self._look_at and await self._is_over()):
            try:
                async with asyncio.timeout(self._look_at - time.monotonic()):
                    return await self._receive()
            except TimeoutError:
                continue
        self._closed = True
        await self._send({"type": "websocket.close", "code": 1008, "reason": "the session has ended"})
        return {"type": "websocket.disconnect", "code": 1008}

    async def send(self, message: Message) -> None:
        if not self._closed:
            await self._send(message)

    async def _is_over(self) -> bool:
        self._look_at = time.monotonic() + self._look_again_s
        try:
            return not await to_thread.run_sync(self._access.is_signed_in, self._token)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            return False  # nobody can say now


class BodyLimit:
    """Bounds request bodies; ``sample_limit_bytes`` is that of one piece of an upload."""

    def __init__(self, app: ASGIApp, sample_limit_bytes: int) -> None:
        self._app = app
        self._sample_limit_bytes = sample_limit_bytes

    def limit_of(self, method: str, path: str) -> int:
        """Largest body for a request."""
        if method == "PATCH" and _SAMPLE.fullmatch(path):
            return self._sample_limit_bytes
        if method == "PUT" and _MODEL_FILE.fullmatch(path):
            return FILE_LIMIT_BYTES
        if path in (origins.SIGN_IN, origins.SIGN_OUT):
            return FORM_LIMIT_BYTES
        return BODY_LIMIT_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        encoding = Headers(scope=scope).get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            refusal = problem_response(
                415,
                "send the body as it is: no Content-Encoding is accepted",
                headers={"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        limit = self.limit_of(scope["method"], scope["path"])
        detail = f"the request's body is larger than the {limit} bytes that are taken here"
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced[:20]) > limit:
            status = 413 if announced.isdigit() else 400
            headers = {"Connection": "close"}
            await problem_response(status, detail, kind="body", headers=headers)(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(413, detail, {"Connection": "close"})
            return message

        await self._app(scope, bounded, send)


def _matches(routes: list[tuple[frozenset[str], re.Pattern[str]]], scope: Scope) -> bool:
    return any(scope["method"] in methods and path.fullmatch(scope["path"]) for methods, path in routes)


def _is_page(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and origins.is_page(path) and not path.startswith(_NO_PAGES)


def _cookie_of(scope: Scope) -> str:
    token = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
    return token if len(token) <= 512 and token.isascii() else ""


def _to_sign_in(scope: Scope) -> Response:
    if origins.came_by_a_link(scope) and not _cookie_of(scope):
        return sign_in_page.moving_page(origins.asked_page(scope))
    return RedirectResponse(origins.sign_in_for(scope), 303, {"Cache-Control": "no-store"})


def _outage(scope: Scope) -> Response:
    if _is_page(scope):
        return sign_in_page.outage_page(origins.asked_page(scope))
    return problem_response(503, "the database cannot answer now: try again", kind="StoreError")

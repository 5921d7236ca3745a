"""Authentication and body limits, before every route. Plain ASGI, so that no request bypasses them.

- Every request needs a bearer token, except `OPEN`, `OPEN_PAGES` and the open paths of mounts. A missing or
  unknown token gets 401; a node on anything but its uploads and the update files gets 403. All other routes
  are for operators.
- Without a bearer token the cookie of a session is accepted, on requests from our own pages only
  (`cloud_backend.api.auth.origins`). A page without a session is answered with the sign-in page.
- A websocket needs the cookie and our own origin, and is closed soon after its session has ended.
- A compressed request body is refused with 415, as no route decompresses one.
- A request body over the limit of its route is refused with 413: by its Content-Length before a byte is read,
  without one as soon as it exceeds the limit.
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
"""Sign-in and sign-out, and the static scripts and styles of NiceGUI."""
SOCKETS = "/ui/_nicegui_ws/"
_log = structlog.get_logger("edgeloop.access")
_NO_PAGES = ("/ui/_nicegui/", SOCKETS)
SESSION_CHECK_S = 10.0
"""Interval at which a websocket's session is verified."""
NODE_ROUTES: list[tuple[frozenset[str], re.Pattern[str]]] = [
    (frozenset({"GET", "HEAD"}), re.compile(r"/tuf/(metadata|targets)/.+")),
    (frozenset({"POST"}), re.compile(r"/v1/samples")),
    (frozenset({"PATCH", "HEAD"}), re.compile(r"/v1/samples/[^/]+")),
]
"""Routes of a node's token: update files, and uploads of its own samples."""
BODY_LIMIT_BYTES = 1024 * 1024
FORM_LIMIT_BYTES = 16 * 1024
_SAMPLE = re.compile(r"/v1/samples/[^/]+")
_MODEL_FILE = re.compile(r"/v1/apps/[^/]+/models/[^/]+/files/[^/]+")


class Access(Protocol):
    """The part of `cloud_backend.access.tokens.Access` that is used here; it compares in constant time."""

    def principal(self, token: str) -> Principal:
        """The principal of a token. Raises `AccessDenied`."""
        ...

    def person(self, token: str) -> Principal | None:
        """The person of a session's token; None without a valid session."""
        ...

    def is_signed_in(self, token: str) -> bool:
        """Whether a session's token is still valid; the check does not count as use."""
        ...


class AuthMiddleware:
    """Puts the request's `Principal` and its token into ``scope["state"]``, or refuses the request.

    ``public_url`` is the cloud's URL in browsers behind a proxy, empty without one. At most ``sockets_limit``
    websockets are open at a time. ``open_paths`` need no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        public_url: str = "",
        session_check_s: float = SESSION_CHECK_S,
        sockets_limit: int = 200,
        open_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._access = access
        self._public_url = public_url
        self._session_check_s = session_check_s
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
        """The answer to a refused request; None for an authenticated one, whose principal is stored."""
        authorization = Headers(scope=scope).get("authorization")
        if authorization is None and (token := _cookie_of(scope)):
            return await self._refusal_of_cookie(scope, token)
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if authorization is None and _is_page(scope):
            return _to_sign_in(scope)
        if scheme.lower() != "bearer" or not token or len(token) > 512 or not token.isascii():
            return problem_response(401, "a token is required: `Authorization: Bearer TOKEN`", kind="token")
        try:
            principal = await to_thread.run_sync(self._access.principal, token)
        except AccessDenied:
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="invalid_token"'}
            return problem_response(401, "unknown token", kind="token", headers=headers)
        if principal.kind != "admin" and not _matches(NODE_ROUTES, scope):
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="insufficient_scope"'}
            detail = "a node's token is valid for its uploads and /tuf only"
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
            return problem_response(403, "requests from pages of other sites are refused", kind="origin")
        scope.setdefault("state", {}).update(principal=person, token=token)
        return None

    async def _person(self, token: str) -> Principal | None:
        try:
            return await to_thread.run_sync(self._access.person, token)
        except AccessDenied:
            return None

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _cookie_of(scope)
        is_own = origins.origin_of(Headers(scope=scope).get("origin", "")) in origins.own_origins(
            scope, self._public_url
        )
        person = None
        if is_own and token and scope["path"].startswith(SOCKETS):
            try:
                person = await self._person(token)
            except SQLAlchemyError as error:
                if not is_outage(error):
                    raise
        if person is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        if self._sockets >= self._sockets_limit:
            _log.warning(
                "dashboard connection refused: limit reached (http.dashboard_sockets)", open=self._sockets
            )
            await send({"type": "websocket.close", "code": 1013})
            return
        scope.setdefault("state", {}).update(principal=person, token=token)
        watched = _WatchedSocket(self._access, token, receive, send, self._session_check_s)
        self._sockets += 1
        try:
            await self._app(scope, watched.receive, watched.send)
        finally:
            self._sockets -= 1


class _WatchedSocket:
    """A websocket that is closed after its session has ended."""

    def __init__(
        self, access: Access, token: str, receive: Receive, send: Send, session_check_s: float
    ) -> None:
        self._access = access
        self._token = token
        self._receive = receive
        self._send = send
        self._session_check_s = session_check_s
        self._check_at = time.monotonic() + session_check_s
        self._closed = False

    async def receive(self) -> Message:
        while not (time.monotonic() >= self._check_at and await self._session_ended()):
            try:
                async with asyncio.timeout(self._check_at - time.monotonic()):
                    return await self._receive()
            except TimeoutError:
                continue
        self._closed = True
        await self._send({"type": "websocket.close", "code": 1008, "reason": "the session has ended"})
        return {"type": "websocket.disconnect", "code": 1008}

    async def send(self, message: Message) -> None:
        if not self._closed:
            await self._send(message)

    async def _session_ended(self) -> bool:
        self._check_at = time.monotonic() + self._session_check_s
        try:
            return not await to_thread.run_sync(self._access.is_signed_in, self._token)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            return False  # unknown during an outage


class BodyLimit:
    """Limits request bodies; ``sample_limit_bytes`` is the limit of one piece of an upload."""

    def __init__(self, app: ASGIApp, sample_limit_bytes: int) -> None:
        self._app = app
        self._sample_limit_bytes = sample_limit_bytes

    def limit_of(self, method: str, path: str) -> int:
        """Maximum size of the body of a request."""
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
                "send the body without Content-Encoding",
                headers={"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        limit = self.limit_of(scope["method"], scope["path"])
        detail = f"the request body exceeds the limit of {limit} bytes"
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced[:20]) > limit:
            status = 413 if announced.isdigit() else 400
            headers = {"Connection": "close"}
            await problem_response(status, detail, kind="body", headers=headers)(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(413, detail, {"Connection": "close"})
            return message

        await self._app(scope, limited, send)


def _matches(routes: list[tuple[frozenset[str], re.Pattern[str]]], scope: Scope) -> bool:
    return any(scope["method"] in methods and path.fullmatch(scope["path"]) for methods, path in routes)


def _is_page(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and origins.is_page(path) and not path.startswith(_NO_PAGES)


def _cookie_of(scope: Scope) -> str:
    token = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
    return token if len(token) <= 512 and token.isascii() else ""


def _to_sign_in(scope: Scope) -> Response:
    if origins.is_cross_site_navigation(scope) and not _cookie_of(scope):
        return sign_in_page.redirect_page(origins.requested_page(scope))
    return RedirectResponse(origins.sign_in_for(scope), 303, {"Cache-Control": "no-store"})


def _outage(scope: Scope) -> Response:
    if _is_page(scope):
        return sign_in_page.outage_page(origins.requested_page(scope))
    return problem_response(503, "the database does not answer: retry later", kind="StoreError")

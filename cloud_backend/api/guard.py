"""What stands before every route: who asks, and how much they send. Plain ASGI, so nothing passes by.

- Everything needs a bearer token but `OPEN`. Who has none or a wrong one gets 401; a node on anything
  but its uploads and the update files gets 403. What is not named here is the admin's.
- A request body over its route's limit is refused with 413: by its Content-Length before a byte is
  read, and without one as soon as it has grown too long.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.api.problem import problem_response
from common.bundle import FILE_LIMIT_BYTES
from common.errors import AccessDenied

OPEN = {("GET", "/healthz"), ("HEAD", "/healthz")}
NODE_ROUTES: list[tuple[frozenset[str], re.Pattern[str]]] = [
    (frozenset({"GET", "HEAD"}), re.compile(r"/tuf/(metadata|targets)/.+")),
    (frozenset({"POST"}), re.compile(r"/v1/samples")),
    (frozenset({"PATCH", "HEAD"}), re.compile(r"/v1/samples/[^/]+")),
]
"""What a node may do with its token: look for models, and upload its own samples."""
BODY_LIMIT_BYTES = 1024 * 1024
_SAMPLE = re.compile(r"/v1/samples/[^/]+")
_MODEL_FILE = re.compile(r"/v1/apps/[^/]+/models/[^/]+/files/[^/]+")


class TokenGuard:
    """Puts the request's `Principal` into ``scope["state"]["principal"]``, or refuses.

    ``principal_of(token)`` raises `AccessDenied`; it compares in constant time.
    """

    def __init__(self, app: ASGIApp, principal_of: Callable[[str], object]) -> None:
        self._app = app
        self._principal_of = principal_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        if (scope["method"], scope["path"]) in OPEN:
            await self._app(scope, receive, send)
            return
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > 512 or not token.isascii():
            detail = "send the token as `Authorization: Bearer TOKEN`"
            await problem_response(401, detail, kind="token")(scope, receive, send)
            return
        try:
            principal = await to_thread.run_sync(self._principal_of, token)
        except AccessDenied:
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="invalid_token"'}
            response = problem_response(401, "the token is not known here", kind="token", headers=headers)
            await response(scope, receive, send)
            return
        if principal.kind != "admin" and not _node_may(scope["method"], scope["path"]):  # type: ignore[attr-defined]
            headers = {"WWW-Authenticate": 'Bearer realm="edgeloop", error="insufficient_scope"'}
            detail = "a node's token is for its uploads and for /tuf only"
            await problem_response(403, detail, kind="scope", headers=headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


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
        return BODY_LIMIT_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
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


def _node_may(method: str, path: str) -> bool:
    return any(method in methods and pattern.fullmatch(path) for methods, pattern in NODE_ROUTES)

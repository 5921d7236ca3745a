"""JSON in request bodies, bounded as on the wire (`common.json_bounds`), before any route reads it.

What would be stored and could not be shown again is refused with 422: nesting, digits, numbers beyond a
double, lone surrogates, and NUL characters, which PostgreSQL does not keep.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.api.problem import problem_response
from common import json_bounds
from common.errors import MessageError

_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class JsonBodies:
    """Checks bodies that are JSON; it stands behind the limit of their size, for it reads them whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS or not _is_json(scope):
            await self._app(scope, receive, send)
            return
        parts: list[bytes] = []
        while True:
            try:
                message = await receive()
            except HTTPException as error:  # The body is too large.
                refusal = problem_response(error.status_code, error.detail, headers=error.headers)
                await refusal(scope, receive, send)
                return
            if message["type"] != "http.request":
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = b"".join(parts)
        if reason := _refusal(body):
            await problem_response(422, f"the request's body: {reason}", kind="body")(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


def _is_json(scope: Scope) -> bool:
    return "json" in Headers(scope=scope).get("content-type", "").lower()


def _refusal(body: bytes) -> str:
    """Why a body is not taken; empty for one that is, or that the route will say more about."""
    if not body.strip():
        return ""
    try:
        value = json_bounds.read(body)
    except MessageError as error:
        return str(error)
    if b"\\u0000" in body and _has_nul(value):
        return "a text holds a NUL character"
    return ""


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(each) for key, each in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value

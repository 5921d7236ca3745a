"""Bounds of JSON request bodies, the same as on the wire (`common.json_bounds`), checked before any route.

Refused with 422: excessive nesting or digits, numbers beyond a double, lone surrogates, and NUL characters,
which PostgreSQL does not store.
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
    """Checks JSON bodies. It reads them whole, so it comes after the size limit."""

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
            await problem_response(422, f"request body: {reason}", kind="body")(scope, receive, send)
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


def _is_json(scope: Scope) -> bool:
    return "json" in Headers(scope=scope).get("content-type", "").lower()


def _refusal(body: bytes) -> str:
    """The reason to refuse a body; empty for a valid one, and for an empty one, which the route handles."""
    if not body.strip():
        return ""
    try:
        value = json_bounds.read(body)
    except MessageError as error:
        return str(error)
    if b"\\u0000" in body and _has_nul(value):
        return "a string has a NUL character"
    return ""


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(each) for key, each in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value

"""Audit trail: every change by a person or with the admin's token is recorded.

`AuditTrail` is a middleware after authentication and before all routes, so that every route is covered. The
entry is stored after the route has ended. Reads and uploads of nodes are not recorded.
"""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from anyio import to_thread
from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.access.audit import Audit
from cloud_backend.api.dependencies import SessionDep
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import responses
from cloud_backend.api.schemas.audit import AuditPublic
from cloud_backend.store.tables import AuditRow
from common import json_bounds
from common.errors import MessageError

router = APIRouter(prefix="/v1/audit-trail", tags=["audit"])
BODY_BYTES = 4096
"""Maximum size of a JSON body that is recorded."""
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_log = structlog.get_logger("edgeloop.access")


@router.get("", responses=responses(422))
def list_audit(
    session: SessionDep,
    paging: Paging,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=200, description="prefix of the action")] = None,
) -> Page[AuditPublic]:
    """Actions of operators, newest first."""
    query = select(AuditRow)
    if actor is not None:
        query = query.where(col(AuditRow.actor) == actor)
    if action is not None:
        query = query.where(col(AuditRow.action).startswith(action, autoescape=True))
    return page_of(session, query, [col(AuditRow.id)], [int], paging, AuditPublic.of)


class AuditTrail:
    """Records every modifying request, except those with a node's token."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope.get("state", {}).get("principal")
        if scope["type"] != "http" or scope["method"] not in _CHANGES or principal is None:
            await self._app(scope, receive, send)
            return
        if principal.kind != "admin":
            await self._app(scope, receive, send)
            return
        is_json = Headers(scope=scope).get("content-type", "").partition(";")[0].endswith("json")
        body = bytearray()

        async def recording() -> Message:
            message = await receive()
            if is_json and len(body) <= BODY_BYTES:
                body.extend(message.get("body", b"")[: BODY_BYTES + 1])
            return message

        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, recording, sending)
        finally:  # After the route, whose transaction ends with it: SQLite has one writer at a time.
            await to_thread.run_sync(self._record, scope, principal.name, bytes(body), status)

    def _record(self, scope: Scope, actor: str, body: bytes, status: int) -> None:
        parameters = {str(name): str(value) for name, value in scope.get("path_params", {}).items()}
        entry = {
            "actor": actor,
            "action": f"{scope['method']} {path_template(scope)}",
            "subject": " ".join(parameters.values()),
            "details": _details(body),
            "address": scope["client"][0] if scope.get("client") else "",
            "outcome": "done" if status < 400 else str(status),
        }
        try:
            self._audit.record(**entry)
        except SQLAlchemyError as error:
            _log.error("an audit entry could not be stored", error=str(error), **entry)


def path_template(scope: Scope) -> str:
    """Path of the request with the names of its parameters: ``/v1/apps/ecg/strips/{strip}``.

    A route of an app has only the path below the prefix of its app. Without a route: the path as it is.
    """
    path: str = scope["path"]
    own: str = getattr(scope.get("route"), "path_format", "")
    filled = own.format(**scope.get("path_params", {}))
    return path.removesuffix(filled) + own if path.endswith(filled) else path


def _details(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if len(body) > BODY_BYTES:
        return {"body": f"over {BODY_BYTES} bytes"}
    try:
        found = json_bounds.read(body)
    except MessageError:
        return {"body": "not JSON"}
    return found if isinstance(found, dict) else {"body": found}

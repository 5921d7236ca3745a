"""All errors as problem documents (RFC 9457)."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from cloud_backend.store.engine import is_outage
from common.errors import (
    AccessDenied,
    BundleError,
    ConfigError,
    EdgeloopError,
    MessageError,
    RegistryError,
    RolloutError,
    SampleError,
    SampleRefused,
    StoreError,
    TrainingError,
    UploadConflict,
    UploadNoSpace,
    UploadsOpen,
    UploadTooLarge,
    UploadUnknown,
    VersionUnknown,
)

MEDIA_TYPE = "application/problem+json"
OFFSET_HEADER = "Upload-Offset"
RETRY_AFTER_S = 60
"""Retry-After of a 429."""
CHALLENGE = 'Bearer realm="edgeloop"'

STATUS_OF: list[tuple[type[EdgeloopError], int]] = [
    (AccessDenied, 403),
    (UploadUnknown, 404),
    (VersionUnknown, 404),
    (UploadConflict, 409),
    (UploadTooLarge, 413),
    (UploadsOpen, 429),
    (UploadNoSpace, 507),
    (SampleRefused, 422),
    (SampleError, 422),
    (BundleError, 422),
    (MessageError, 422),
    (RegistryError, 409),
    (RolloutError, 409),
    (TrainingError, 409),
    (ConfigError, 422),
    (StoreError, 503),
]
"""HTTP status of an error by the first class that it is an instance of; 500 for any other."""

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="URI of the kind of problem")
    title: str = Field(description="kind of problem")
    status: int = Field(description="HTTP status")
    detail: str = Field("", description="cause and remedy")


def problem_response(
    status: int,
    detail: str,
    *,
    kind: str = "",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """A response with a problem document; ``kind`` makes its type, ``more`` its further members."""
    content = {
        "type": f"urn:edgeloop:problem:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    headers = dict(headers or {})
    if status in (401, 403):
        headers.setdefault("WWW-Authenticate", CHALLENGE)
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def problem(status: int, detail: str, **headers: str) -> HTTPException:
    """An exception that becomes a problem document."""
    return HTTPException(status, detail, headers or None)


def install(api: FastAPI) -> None:
    """Make ``api`` answer every error with a problem document."""

    @api.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(error.status_code, str(error.detail), headers=error.headers)

    @api.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"where": "/".join(str(part) for part in e["loc"]), "problem": e["msg"]}
            for e in error.errors()[:20]
        ]
        detail = "; ".join(f"{e['where']}: {e['problem']}" for e in errors[:3])
        return problem_response(422, detail, kind="validation", errors=errors)

    @api.exception_handler(EdgeloopError)
    async def _known(_request: Request, error: EdgeloopError) -> JSONResponse:
        status = next((status for kind, status in STATUS_OF if isinstance(error, kind)), 500)
        if status == 500:
            _log.error("request failed: %s", error, exc_info=error)
        headers, more = {}, {}
        if isinstance(error, UploadConflict) and error.offset is not None:
            headers[OFFSET_HEADER], more["offset"] = str(error.offset), error.offset
        if status == 429:
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return problem_response(status, str(error), kind=type(error).__name__, headers=headers, **more)

    @api.exception_handler(OSError)
    async def _disk(_request: Request, error: OSError) -> JSONResponse:
        _log.error("request failed: %s", error, exc_info=error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return problem_response(507, "the cloud's disk is full: retry later", kind="UploadNoSpace")
        return problem_response(500, "internal error: see the cloud's log")

    @api.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        """The answer has no reader; without it an aborted request would be logged as an internal error."""
        return problem_response(400, "the request body is incomplete")

    @api.exception_handler(OverflowError)
    @api.exception_handler(DataError)
    async def _unfit(_request: Request, _error: OverflowError | DataError) -> JSONResponse:
        """Routes may leave it to the database to refuse a number or a text."""
        return problem_response(422, "a number or a text of the request cannot be stored")

    @api.exception_handler(DBAPIError)
    async def _database(_request: Request, error: DBAPIError) -> JSONResponse:
        _log.error("request failed in the database: %s", error)
        if is_outage(error):
            return problem_response(503, "the database does not answer: retry later", kind="StoreError")
        return problem_response(500, "internal error: see the cloud's log")

    @api.exception_handler(Exception)
    async def _unknown(_request: Request, _error: Exception) -> JSONResponse:
        return problem_response(500, "internal error: see the cloud's log")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem responses of a route for OpenAPI; 400, 401 and 403 are always among them."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
        for status in sorted({400, 401, 403, *statuses})
    }


SCHEMA = Problem.model_json_schema()

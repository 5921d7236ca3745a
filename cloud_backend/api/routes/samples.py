"""Samples: resumable uploads modelled on tus, and the list of stored samples.

Announce a sample, then send its bytes in pieces: ``PATCH`` with ``Upload-Offset``. After an interruption
``HEAD``, or another announcement, returns the offset to resume from. A node sees its own uploads only.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from sqlalchemy import exists, func, select
from sqlmodel import Session, col
from starlette.requests import ClientDisconnect

from cloud_backend.api.dependencies import CloudDep, PrincipalDep, SamplesDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of, public_page
from cloud_backend.api.problem import OFFSET_HEADER, problem, responses
from cloud_backend.api.routes.sample_content import read_content
from cloud_backend.api.schemas.samples import (
    AnnounceSample,
    SampleContent,
    SamplePublic,
    UploadCountPublic,
    UploadPublic,
)
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import LabelRow, Node, NodeSubject, SampleRow, UploadCount
from cloud_backend.training.upload_rows import Announced, Upload
from common.errors import UploadsOpen

router = APIRouter(prefix="/v1", tags=["samples"])
SampleId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the sample")]
SCAN_ROWS = 20_000
_SAME_APP = col(LabelRow.app) == col(SampleRow.app)
_SAME_GROUP = col(LabelRow.group) == col(SampleRow.group)
WRITE_BYTES = 256 * 1024
"""Size of the buffer before a write to disk."""


@router.post("/samples", status_code=201, responses=responses(404, 409, 413, 422, 429, 507))
def announce(
    body: AnnounceSample, principal: PrincipalDep, cloud: CloudDep, samples: SamplesDep
) -> UploadPublic:
    """Announce a sample, or get the state of its upload. The id is the digest, so each sample is stored once.

    A node announces samples of the app that it runs and of subjects for which it has reported events; if such
    an event has not arrived yet, it retries later (409). Its number of unfinished uploads is limited (429).
    """
    if body.app not in cloud.apps:
        raise problem(404, f"unknown app {body.app!r}")
    if principal.kind == "node":
        _check_own(cloud, principal.node, body)
    try:
        return _public(samples.begin(_node(principal) or "admin", Announced(**body.model_dump())))
    except UploadsOpen as error:
        if principal.kind == "node":
            cloud.consumer.report_problem(principal.node, "limited", str(error))
        raise


@router.patch(
    "/samples/{id}",
    responses=responses(404, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "required": True,
        }
    },
)
async def send_piece(
    id: SampleId,
    upload_offset: Annotated[int, Header(ge=0, lt=2**53)],
    request: Request,
    response: Response,
    principal: PrincipalDep,
    samples: SamplesDep,
) -> UploadPublic:
    """Upload bytes at ``Upload-Offset``. The complete sample is verified, then stored or refused."""
    piece = await to_thread.run_sync(samples.open_piece, _node(principal), id, upload_offset)
    try:
        async for block in _blocks(request):
            await to_thread.run_sync(piece.write, block)
    except ClientDisconnect:
        pass  # the received bytes are kept; the answer has no reader
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(piece.close)
    response.headers[OFFSET_HEADER] = str(piece.upload.offset)
    return _public(piece.upload)


@router.head("/samples/{id}", responses=responses(404, 422))
def upload_state(id: SampleId, principal: PrincipalDep, samples: SamplesDep) -> Response:
    """State of an upload: ``Upload-Offset`` and ``Upload-Length``."""
    upload = samples.state(_node(principal), id)
    headers = {
        OFFSET_HEADER: str(upload.offset),
        "Upload-Length": str(upload.size),
        "Cache-Control": "no-store",
    }
    return Response(status_code=200, headers=headers)


@router.get("/samples", responses=responses(422))
def list_samples(
    session: SessionDep,
    paging: Paging,
    app: Annotated[str | None, Query(max_length=63)] = None,
    group: Annotated[str | None, Query(max_length=200)] = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    labelled: Annotated[
        bool | None, Query(description="only samples whose group has labels, or has none")
    ] = None,
    order: Annotated[Literal["id", "newest"], Query(description="by id, or newest arrival first")] = "id",
) -> Page[SamplePublic]:
    """Stored samples. With ``labelled`` or ``subject`` a page may hold few or none, yet have a ``next``."""
    query = select(SampleRow).where(col(SampleRow.complete))
    if app is not None:
        query = query.where(col(SampleRow.app) == app)
    if group is not None:
        query = query.where(col(SampleRow.group) == group)
    scan = None
    if subject is not None:
        query, scan = query.where(col(SampleRow.subject) == subject), SCAN_ROWS
    if labelled is not None:
        has_label = exists().where(_SAME_APP, _SAME_GROUP)
        query, scan = query.where(has_label if labelled else ~has_label), SCAN_ROWS
    newest = order == "newest"
    keys: list[Any] = (
        [col(SampleRow.received_ns), col(SampleRow.digest)] if newest else [col(SampleRow.digest)]
    )
    kinds = [int, str] if newest else [str]
    page = page_of(session, query, keys, kinds, paging, _itself, newest_first=newest, scan_rows=scan)
    labels = _labels_of(session, page.items)
    return public_page(
        page.items,
        lambda row: SamplePublic.of(row, labels.get((row.app, row.group), 0)),
        lambda row: [row.digest],
        page.next,
    )


@router.get("/samples/{id}/content", responses=responses(404, 413, 422))
def show_content(id: SampleId, session: SessionDep, samples: SamplesDep) -> SampleContent:
    """The arrays of a sample as nested lists, for plotting; a large sample is refused."""
    row = session.get(SampleRow, id)
    if row is None or not row.complete:
        raise problem(404, f"no sample {id}")
    return SampleContent(id=id, arrays=read_content(samples, id))


@router.get("/uploads", responses=responses(422))
def list_upload_counts(session: SessionDep, paging: Paging) -> Page[UploadCountPublic]:
    """Samples received from each node."""
    keys = [col(UploadCount.node)]
    return page_of(
        session, select(UploadCount), keys, [str], paging, UploadCountPublic.of, newest_first=False
    )


def _check_own(cloud: CloudDep, node: str, body: AnnounceSample) -> None:
    """Refuse a sample that the node may not upload."""
    with Session(read_only(cloud.engine)) as session:
        row = session.get(Node, node)
        reported = session.get(NodeSubject, (node, body.subject)) is not None
    if row is not None and row.app and row.app != body.app:
        raise problem(403, f"{node} runs {row.app}: samples of {body.app} are refused")
    if body.group != body.subject and not body.group.startswith(f"{body.subject}/"):
        raise problem(403, f"the group {body.group!r} does not belong to {body.subject!r}")
    if row is None or not row.app or not reported:
        raise problem(409, f"{node} has not reported {body.subject!r} of {body.app} yet: retry later")


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body in blocks of at least `WRITE_BYTES`; after a lost connection the rest, then the error."""
    gathered = bytearray()
    lost: ClientDisconnect | None = None
    with contextlib.suppress(StopAsyncIteration):
        stream = request.stream()
        while lost is None:
            try:
                gathered += await anext(stream)
            except ClientDisconnect as error:
                lost = error
            if len(gathered) >= WRITE_BYTES:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)
    if lost is not None:
        raise lost


def _labels_of(session: SessionDep, rows: Sequence[SampleRow]) -> dict[tuple[str, str], int]:
    """Number of labels of the groups of ``rows``, by app and group."""
    groups = sorted({row.group for row in rows})
    query = (
        select(col(LabelRow.app), col(LabelRow.group), func.count())
        .where(col(LabelRow.group).in_(groups))
        .group_by(col(LabelRow.app), col(LabelRow.group))
    )
    return {(app, group): count for app, group, count in session.execute(query)}


def _itself(row: Any) -> Any:
    return row


def _node(principal: PrincipalDep) -> str | None:
    return principal.node if principal.kind == "node" else None


def _public(upload: Upload) -> UploadPublic:
    return UploadPublic(id=upload.id, offset=upload.offset, size=upload.size, complete=upload.complete)

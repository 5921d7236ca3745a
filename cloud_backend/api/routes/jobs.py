"""Training jobs: submit, monitor, read the log, cancel."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import select
from sqlmodel import Session, col

from cloud_backend.api.dependencies import AppName, CloudDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.jobs import JobPublic, SubmitJob
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import JobRow

router = APIRouter(prefix="/v1/apps/{app}/jobs", tags=["jobs"])
JobId = Annotated[str, Path(max_length=100, description="id of a job")]
LOG_TAIL_BYTES = 256 * 1024


@router.post("", status_code=201, responses=responses(404, 409, 413, 422))
def submit(app: AppName, body: SubmitJob, cloud: CloudDep) -> JobPublic:
    """Train a candidate; it enters the registry with the verdict of the gate."""
    return _show(cloud, app, cloud.jobs.submit(app, body.parameters, body.seed))


@router.get("", responses=responses(404, 422))
def list_jobs(app: AppName, session: SessionDep, paging: Paging) -> Page[JobPublic]:
    """Jobs of an app, newest first."""
    query = select(JobRow).where(col(JobRow.app) == app)
    keys = [col(JobRow.created_ns), col(JobRow.id)]
    return page_of(session, query, keys, [int, str], paging, JobPublic.of)


@router.get("/{id}", responses=responses(404, 422))
def show_job(app: AppName, id: JobId, session: SessionDep) -> JobPublic:
    """One job with its progress and, after the verdict, the gate's report."""
    return JobPublic.of(_find(session, app, id))


@router.get("/{id}/log", response_class=PlainTextResponse, responses=responses(404, 422))
def show_log(
    app: AppName,
    id: JobId,
    session: SessionDep,
    cloud: CloudDep,
    last_bytes: Annotated[
        int, Query(ge=1, le=LOG_TAIL_BYTES, description="size of the tail")
    ] = LOG_TAIL_BYTES,
) -> Response:
    """The tail of a job's log, at most 256 KiB."""
    path = cloud.jobs.log_path(_find(session, app, id).id)
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - last_bytes))
            return PlainTextResponse(log.read().decode("utf-8", "replace"))
    except FileNotFoundError:
        return PlainTextResponse("")


@router.post("/{id}/cancel", status_code=202, responses=responses(404, 409, 422))
def cancel(app: AppName, id: JobId, cloud: CloudDep) -> JobPublic:
    """Cancel a job; it is ``cancelled`` shortly after."""
    _show(cloud, app, id)
    cloud.jobs.cancel(id)
    return _show(cloud, app, id)


def _show(cloud: CloudDep, app: str, id: str) -> JobPublic:
    with Session(read_only(cloud.engine)) as session:
        return JobPublic.of(_find(session, app, id))


def _find(session: Session, app: str, id: str) -> JobRow:
    row = session.get(JobRow, id)
    if row is None or row.app != app:
        raise problem(404, f"{app} has no job {id!r}")
    return row

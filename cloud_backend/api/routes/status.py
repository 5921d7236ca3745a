"""Status and health check of the cloud."""

from __future__ import annotations

import time
from importlib.metadata import version as installed_version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import Select, func, select, text
from sqlmodel import Session, col

from cloud_backend.api.dependencies import CloudDep, SessionDep
from cloud_backend.api.problem import problem_response, responses
from cloud_backend.api.schemas.status import AppStatus, DatabaseStatus, Health, StatusPublic
from cloud_backend.store.tables import AppState, Node, RolloutRow, Stream, UploadCount

router = APIRouter(tags=["status"])


@router.get("/healthz", response_model=Health, responses={503: {"description": "The cloud is unhealthy"}})
def health(session: SessionDep, cloud: CloudDep) -> JSONResponse:
    """Whether the database answers and the broker runs. Needs no token and exposes nothing else."""
    session.execute(text("SELECT 1"))
    if not cloud.broker.alive():
        return problem_response(503, "the broker is not running")
    return JSONResponse({"status": "ok"})


@router.get("/v1/status", responses=responses())
def status(session: SessionDep, cloud: CloudDep) -> StatusPublic:
    """State of broker, database and ingest, counts, and the production version of each app."""
    began_s = time.perf_counter()
    session.execute(text("SELECT 1"))
    latency_ms = round((time.perf_counter() - began_s) * 1e3, 3)
    nodes = dict(
        session.execute(
            select(col(Node.app), func.count()).where(col(Node.retired_ns) == 0).group_by(col(Node.app))
        ).all()
    )
    uploads = session.execute(
        select(func.count(), func.sum(UploadCount.samples), func.sum(UploadCount.bytes_received))
    ).one()
    counts = {
        "nodes": sum(nodes.values()),
        "nodes_online": _scalar(session, select(func.count()).where(col(Node.state) == "online")),
        "streams": _scalar(session, select(func.count()).select_from(Stream)),
        "committed": _scalar(session, select(func.sum(col(Stream.high_water_mark) * 1.0))),
        "samples": uploads[1] or 0,
        "sample_bytes_received": uploads[2] or 0,
    }
    parts = cloud.status()
    return StatusPublic(
        edgeloop=installed_version("edgeloop"),
        database=DatabaseStatus(kind=cloud.engine.dialect.name, latency_ms=latency_ms),
        broker=parts["broker"],
        ingest=parts["ingest"],
        app_problems=parts["app_problems"],
        counts=counts,
        apps={name: _app(session, cloud, name, nodes.get(name, 0)) for name in sorted(cloud.apps)},
    )


def _app(session: Session, cloud: CloudDep, name: str, nodes: int) -> AppStatus:
    state = session.get(AppState, name)
    production = state.production if state else ""
    if not production:
        starter = cloud.registry.starter(name)
        production = starter.version if starter else ""
    running = session.scalars(
        select(col(RolloutRow.id))
        .where(col(RolloutRow.app) == name, col(RolloutRow.state) == "running")
        .limit(1)
    ).first()
    return AppStatus(
        title=cloud.apps[name].title,
        production=production,
        serial=state.serial if state else 0,
        nodes=nodes,
        rollout=running,
    )


def _scalar(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)

"""Rollouts: start, monitor, halt, revert."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlmodel import Session, col

from cloud_backend.api.dependencies import AppName, CloudDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.rollout_progress import ProgressPublic, progress_of
from cloud_backend.api.schemas.rollouts import AdoptionPublic, Reason, RolloutPublic, StartRollout
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Adoption, RolloutRow
from common.deployment import Constraint

router = APIRouter(prefix="/v1/apps/{app}/rollouts", tags=["rollouts"])
RolloutId = Annotated[str, Path(max_length=100, description="id of a rollout")]


@router.post("", status_code=201, responses=responses(404, 409, 413, 422))
def start(app: AppName, body: StartRollout, cloud: CloudDep) -> RolloutPublic:
    """Roll an approved version out in waves."""
    cloud.registry.row(app, body.version)
    constraint = Constraint(**body.constraint.model_dump()) if body.constraint else Constraint()
    soak_s = body.soak_s if body.soak_s is not None else cloud.settings.rollout.soak_s
    id = cloud.rollouts.start(app, body.version, body.waves, soak_s, constraint)
    return _show(cloud, app, id)


@router.get("", responses=responses(404, 422))
def list_rollouts(app: AppName, session: SessionDep, paging: Paging) -> Page[RolloutPublic]:
    """Rollouts of an app, newest first."""
    query = select(RolloutRow).where(col(RolloutRow.app) == app)
    keys = [col(RolloutRow.created_ns), col(RolloutRow.id)]
    return page_of(session, query, keys, [int, str], paging, RolloutPublic.of)


@router.get("/{id}", responses=responses(404, 422))
def show_rollout(app: AppName, id: RolloutId, session: SessionDep) -> RolloutPublic:
    """One rollout."""
    return RolloutPublic.of(_find(session, app, id))


@router.get("/{id}/adoptions", responses=responses(404, 422))
def list_adoptions(app: AppName, id: RolloutId, session: SessionDep, paging: Paging) -> Page[AdoptionPublic]:
    """Adoption steps of a rollout, newest first by stream and sequence."""
    _find(session, app, id)
    query = select(Adoption).where(col(Adoption.rollout) == id)
    keys = [col(Adoption.stream_id), col(Adoption.seq)]
    return page_of(session, query, keys, [int, int], paging, AdoptionPublic.of)


@router.get("/{id}/progress", responses=responses(404, 422))
def show_progress(app: AppName, id: RolloutId, session: SessionDep, cloud: CloudDep) -> ProgressPublic:
    """Progress of a rollout: waves, nodes by state, the counts that decide, and failed nodes."""
    row = _find(session, app, id)
    return progress_of(session, row, cloud.settings.rollout, cloud.rollouts.started_ns, cloud.clock())


@router.post("/{id}/halt", responses=responses(404, 409, 413, 422))
def halt(app: AppName, id: RolloutId, body: Reason, cloud: CloudDep) -> RolloutPublic:
    """Halt a rollout: nodes keep their version, no further wave starts."""
    _show(cloud, app, id)
    cloud.rollouts.halt(id, body.reason)
    return _show(cloud, app, id)


@router.post("/{id}/revert", responses=responses(404, 409, 413, 422))
def revert(app: AppName, id: RolloutId, body: Reason, cloud: CloudDep) -> RolloutPublic:
    """Revert every node to the version before this rollout."""
    _show(cloud, app, id)
    cloud.rollouts.revert(id, body.reason)
    return _show(cloud, app, id)


def _show(cloud: CloudDep, app: str, id: str) -> RolloutPublic:
    with Session(read_only(cloud.engine)) as session:
        return RolloutPublic.of(_find(session, app, id))


def _find(session: Session, app: str, id: str) -> RolloutRow:
    row = session.get(RolloutRow, id)
    if row is None or row.app != app:
        raise problem(404, f"{app} has no rollout {id!r}: `edgeloop rollout status {app}` lists all")
    return row

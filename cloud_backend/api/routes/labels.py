"""Labels: ground truth from people, outcomes or a teacher model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlmodel import col

from cloud_backend.api.dependencies import AppName, CloudDep, PrincipalDep, SessionDep, own_name
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import responses
from cloud_backend.api.schemas.labels import AddLabel, LabelPublic
from cloud_backend.store.tables import LabelRow
from common.app.cloud import LabelProjection
from common.app.training import Label

router = APIRouter(prefix="/v1/apps/{app}/labels", tags=["labels"])


@router.post("", status_code=201, responses=responses(404, 413, 422))
def add(
    app: AppName, body: AddLabel, session: SessionDep, cloud: CloudDep, principal: PrincipalDep
) -> LabelPublic:
    """Add the ground truth about a subject in a group."""
    kind, _, person = (body.source or "person:").partition(":")
    fields = body.model_dump()
    if kind == "person":
        fields["source"] = f"person:{own_name(principal, person)}"
    row = LabelRow(app=app, created_ns=cloud.clock(), **fields)
    session.add(row)
    session.flush()
    label = LabelPublic.of(row)
    projection = cloud.projections.get(app)
    if isinstance(projection, LabelProjection):
        projection.project_labels(session, [Label(**row.model_dump(exclude={"id"}))])
    session.commit()
    return label


@router.get("", responses=responses(404, 422))
def list_labels(
    app: AppName,
    session: SessionDep,
    paging: Paging,
    group: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[LabelPublic]:
    """Labels of an app, newest first."""
    query = select(LabelRow).where(col(LabelRow.app) == app)
    if group is not None:
        query = query.where(col(LabelRow.group) == group)
    return page_of(session, query, [col(LabelRow.id)], [int], paging, LabelPublic.of)

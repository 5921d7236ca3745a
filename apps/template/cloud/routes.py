"""The template app's routes, below ``/v1/apps/template``."""

from __future__ import annotations

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import Session, col, select

from apps.template.cloud.tables import Machine
from common.app.cloud import RouteDeps


class MachinePage(BaseModel):
    """Machines by name. ``next`` is the cursor of what follows, or null."""

    items: list[Machine]
    next: str | None


def make_router(deps: RouteDeps) -> APIRouter:
    """The routes, on what the cloud gives an app."""
    router = APIRouter()

    @router.get("/machines")
    def machines(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=200),
        cursor: str = Query("", max_length=200, description="`next` of the page before"),
    ) -> MachinePage:
        """Machines with their latest state, by name."""
        query = select(Machine).where(col(Machine.machine) > cursor).order_by(col(Machine.machine))
        rows = list(session.exec(query.limit(limit + 1)))
        return MachinePage(items=rows[:limit], next=rows[limit - 1].machine if len(rows) > limit else None)

    return router

"""The route of a store's forecast."""

from __future__ import annotations

from fastapi import APIRouter
from sqlmodel import Session

from apps.retail.cloud.forecast.backtest import DAYS_AHEAD
from apps.retail.cloud.forecast.models import COVERAGE
from apps.retail.cloud.forecast.outlook import Outlook, outlook_of
from apps.retail.cloud.store_routes import known_store
from apps.retail.cloud.stores import Stores
from common.app.cloud import RouteDeps
from common.clock import Clock


def forecast_router(deps: RouteDeps, stores: Stores, clock: Clock) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["retail"])

    @router.get("/stores/{site}/forecast")
    def forecast(site: str, session: Session = deps.session) -> Outlook:
        """Visits by day that are expected, with their interval, beside those of the last four weeks."""
        known_store(session, stores, site)
        return outlook_of(session, stores, site, clock(), COVERAGE, DAYS_AHEAD)

    return router

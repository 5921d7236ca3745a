"""The cloud's service to an app with labels in its tables, mounts and periodic tasks, by the ECG app."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import Engine, inspect
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.tables import TABLES, Pending, Strip
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.api.root_mounts import root_mounts
from cloud_backend.api.routes import labels
from cloud_backend.ingest.app_tables import rebuild
from cloud_backend.runtime.apps import load_apps
from cloud_backend.store.tables import StoredEvent, Stream
from common.app.cloud import Mount, PeriodicTask, ReceivedEvent
from common.app.spec import find_app
from common.config.cloud import CloudSettings
from common.errors import AppError, ConfigError
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, a_day, at, strip


def store(engine: Engine, events: list[ReceivedEvent]) -> None:
    """The events as ingest keeps them."""
    with Session(engine) as session:
        session.add(Stream(id=1, site="ward", node="bed-1", epoch="e1", high_water_mark=0, created_ns=0))
        for event in events:
            fields = {
                name: getattr(event, name) for name in ("seq", "type", "subject", "time_ns", "priority")
            }
            session.add(StoredEvent(stream_id=1, received_ns=0, body=event.body.decode(), **fields))
        session.commit()


def contents(engine: Engine) -> list[dict[str, Any]]:
    with Session(engine) as session:
        return [
            row.model_dump()
            for table in TABLES
            if table is not Pending
            for row in session.exec(select(table).order_by(*inspect(table).primary_key))
        ]


def test_tables_that_are_made_again_still_know_the_reviews(
    engine: Engine, client: TestClient, project: Project
) -> None:
    events = [*a_day(), strip(900)]
    store(engine, events)
    project(events)
    client.post(f"/strips/{ANN}.{at(635)}/review", json={"verdict": "corrected", "rhythm": "sinus"})
    client.post(f"/strips/{ANN}.{at(900)}/review", json={"verdict": "unreadable"})
    before = contents(engine)
    assert rebuild(engine, "ecg", EcgCloud()) == len(events)
    assert contents(engine) == before
    assert [row["verdict"] for row in before if "verdict" in row] == ["corrected", "unreadable"]


def test_a_label_that_comes_by_the_api_reaches_the_review_queue(engine: Engine, project: Project) -> None:
    project([strip(100), strip(200)])
    api = FastAPI()
    api.state.cloud = SimpleNamespace(
        engine=engine, apps={"ecg": None}, projections={"ecg": EcgCloud()}, clock=lambda: at(999)
    )
    api.include_router(labels.router)

    @api.middleware("http")
    async def let_in(request: Request, go_on: Any) -> Any:
        request.state.principal = SimpleNamespace(kind="admin", name="Dr Bo")
        return await go_on(request)

    label = {"subject": ANN, "group": ANN, "kind": "rhythm", "body": {"began_ns": at(100), "rhythm": "AF"}}
    with TestClient(api) as client:
        assert client.post("/v1/apps/ecg/labels", json=label).status_code == 201
        odd = label | {"body": {"began_ns": "yesterday"}}
        assert client.post("/v1/apps/ecg/labels", json=odd).status_code == 201
    with Session(engine) as session:
        strips = session.exec(select(Strip).order_by(col(Strip.began_ns))).all()
    assert [(row.true_rhythm, row.reviewed_by) for row in strips] == [("AF", "Dr Bo"), ("", "")]


def test_settings_go_to_the_app_that_has_periodic_tasks(engine: Engine) -> None:
    def tasks(apps: dict[str, dict[str, Any]]) -> list[PeriodicTask]:
        settings = CloudSettings(apps=apps)
        return load_apps(engine, settings, lambda: 0, {"ecg": lambda: find_app("ecg")}).periodic_tasks["ecg"]

    assert tasks({}) == []
    assert len(tasks({"ecg": {"fhir_export_url": "http://127.0.0.1:9/fhir"}})) == 1
    with pytest.raises(ConfigError, match=r"apps\.egc"):
        tasks({"egc": {}})
    with pytest.raises(ConfigError, match="fhir_export_url"):
        tasks({"ecg": {"fhir_url": "http://127.0.0.1:9/fhir"}})


@pytest.mark.parametrize("path", ["/v1", "/ui", "/fhir/r4", "fhir", "/"])
def test_an_app_cannot_mount_over_what_is_there(path: str) -> None:
    class Greedy(EcgCloud):
        def mounts(self, deps: Any) -> dict[str, Mount]:
            return {path: Mount(APIRouter(), lambda status, text: (status, "text/plain", text.encode()))}

    with pytest.raises(AppError, match="greedy"):
        root_mounts({"greedy": Greedy()}, AppDependencies())

"""The app's routes over a store of each kind, with what the cloud gives every app's router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import Engine
from sqlmodel import Session
from starlette.testclient import TestClient

from apps.industrial.cloud.projection import IndustrialCloud
from cloud_backend.api.dependencies import AppDependencies
from common.app.cloud import ReceivedEvent
from common.app.training import Label
from tests.apps.industrial.received import cleared, due, rul

APP = IndustrialCloud()
Project = Callable[[list[ReceivedEvent]], None]


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    api.include_router(APP.router(AppDependencies()))

    @api.middleware("http")
    async def let_in(request: Request, go_on: Any) -> Any:
        request.state.principal = SimpleNamespace(kind=request.headers.get("as", "admin"))
        return await go_on(request)

    with TestClient(api) as client:
        yield client


@pytest.fixture
def project(engine: Engine) -> Project:
    def project(events: list[ReceivedEvent]) -> None:
        with Session(engine) as session:
            APP.project(session, events)
            session.commit()

    return project


def test_machines_are_counted_and_the_one_with_the_least_life_is_named(
    client: TestClient, project: Project
) -> None:
    none = {"machines": 0, "due": 0, "novel": 0, "unknown": 0, "faulty": 0, "lowest_rul": None}
    assert client.get("/summary").json() == none
    project([rul(1, 1, 40), rul(2, 1, 20, "engine-2", novelty=1.5), rul(3, 1, 90, "engine-3"), due(4, 1)])
    found = client.get("/summary").json()
    assert (found["machines"], found["due"], found["novel"]) == (3, 1, 1)
    assert found["lowest_rul"]["machine"] == "engine-2"


def test_machines_come_by_horizon_page_by_page(client: TestClient, project: Project) -> None:
    project([rul(n, 1, life, f"engine-{n}") for n, life in enumerate((40, 20, 90))])
    first = client.get("/machines", params={"limit": 2}).json()
    assert [m["machine"] for m in first["items"]] == ["engine-1", "engine-0"]
    rest = client.get("/machines", params={"cursor": first["next"]}).json()
    assert ([m["machine"] for m in rest["items"]], rest["next"]) == (["engine-2"], None)
    assert client.get("/machines", params={"cursor": "x"}).status_code == 422


def test_the_horizon_is_the_default_until_an_alarm_reports_it(client: TestClient, project: Project) -> None:
    project([rul(1, 1, 40)])
    found = client.get("/machines/engine-1").json()
    assert (found["horizon_cycles"], found["horizon_is_default"]) == (30.0, True)
    project([due(2, 1)])
    found = client.get("/machines/engine-1").json()
    assert (found["horizon_cycles"], found["horizon_is_default"]) == (25.0, False)
    assert client.get("/machines/engine-9").status_code == 404


@pytest.mark.parametrize("machine", ["hall 3/press", "/x//", '100 % <b>"?#', "runs/7/of"])
def test_a_machine_may_be_called_anything(client: TestClient, project: Project, machine: str) -> None:
    project([rul(1, 1, 40, machine), rul(2, 2, 30, machine)])
    place = f"/machines/{quote(machine, safe='')}"
    assert client.get(place).json()["machine"] == machine
    assert [run["run"] for run in client.get(f"{place}/runs").json()["items"]] == [0]
    assert [point["cycle"] for point in client.get(f"{place}/runs/0").json()] == [1, 2]


def test_runs_come_newest_first_with_their_ends_versions_and_alarms(
    client: TestClient, project: Project
) -> None:
    project([rul(1, 1, 99), rul(2, 2, 98, version="v2"), due(3, 2), cleared(4, 2)])
    project([rul(5, 1, 90, run=1), rul(6, 4, 80, run=2), rul(7, 1, 70, "engine-2", run=5)])
    page = client.get("/machines/engine-1/runs", params={"limit": 2}).json()
    assert ([run["run"] for run in page["items"]], page["next"]) == ([2, 1], 1)
    rest = client.get("/machines/engine-1/runs", params={"cursor": page["next"]}).json()
    (run,) = rest["items"]
    assert rest["next"] is None
    assert (run["run"], run["first_cycle"], run["last_cycle"], run["points"]) == (0, 1, 2, 2)
    assert (run["versions"], run["started_ns"], run["ended_ns"]) == (["v1", "v2"], 10**9, 2 * 10**9)
    (alarm,) = run["alarms"]
    assert (alarm["cycle"], alarm["cleared_cycle"], alarm["reason"]) == (2, 2, "recovered")
    assert list(alarm["sensors"]) == ["Ps30", "phi"]
    assert client.get("/machines/nobody/runs").json() == {"items": [], "next": None}


def test_a_long_run_gives_its_first_or_its_newest_cycles_in_order(
    client: TestClient, project: Project
) -> None:
    project([rul(cycle, cycle, 99) for cycle in range(1, 10)])

    def cycles(**query: Any) -> list[int]:
        return [p["cycle"] for p in client.get("/machines/engine-1/runs/0", params=query).json()]

    assert cycles(limit=3) == [1, 2, 3]
    assert cycles(limit=3, newest=True) == [7, 8, 9]
    assert cycles(after_cycle=7) == [8, 9]


def close(client: TestClient, machine: str = "engine-1", run: int = 0, **more: Any) -> Any:
    order = {"machine": machine, "run": run, "kind": "failure", "cycle": 100} | more
    answer = client.post("/work-orders", json=order)
    assert answer.status_code == 201
    return answer.json()


def test_work_orders_come_newest_first_beside_the_estimates_of_the_edge(
    client: TestClient, project: Project
) -> None:
    project([rul(1, 90, 13), rul(2, 96, 7)])
    closed = close(client, note="fan\nblade 7")
    close(client, "engine-2")
    close(client, run=1, kind="inspection", remaining_cycles=30)
    page = client.get("/work-orders", params={"limit": 2}).json()
    assert [(o["machine"], o["run"], o["end_cycle"]) for o in page["items"]] == [
        ("engine-1", 1, 130), ("engine-2", 0, 100),
    ]  # fmt: skip
    rest = client.get("/work-orders", params={"cursor": page["next"]}).json()
    assert rest == {"items": [closed], "next": None}
    assert (closed["rmse_cycles"], closed["bias_cycles"], closed["note"]) == (3.0, 3.0, "fan\nblade 7")


def test_work_orders_of_one_machine_and_of_one_run(client: TestClient) -> None:
    close(client)
    close(client, "engine-2")
    close(client, run=1)

    def found(**query: Any) -> list[tuple[str, int]]:
        items = client.get("/work-orders", params=query).json()["items"]
        return [(order["machine"], order["run"]) for order in items]

    assert found(machine="engine-1") == [("engine-1", 1), ("engine-1", 0)]
    assert found(machine="engine-1", run=0) == [("engine-1", 0)]
    assert found(machine="engine-9") == []


def test_labels_that_end_no_run_are_no_work_orders(client: TestClient, engine: Engine) -> None:
    with Session(engine) as session:
        for body in ({"cycle": "many"}, {}):
            AppDependencies.add_label(
                session, Label("industrial", "engine-1", "engine-1/run-0", "failure", body, "person", 1)
            )
        session.commit()
    assert client.get("/work-orders").json() == {"items": [], "next": None}


def test_only_the_admin_closes_work_orders(client: TestClient) -> None:
    order = {"machine": "engine-1", "run": 0, "kind": "failure", "cycle": 3}
    assert client.post("/work-orders", json=order, headers={"as": "node"}).status_code == 403

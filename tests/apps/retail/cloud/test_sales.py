"""Sales from the point of sale: taken once, corrected, refused with the line; conversion and capture rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, func, select
from starlette.testclient import TestClient

from apps.retail.cloud.sales import SalesError, periods_of, read_csv
from apps.retail.cloud.stores import Stores
from cloud_backend.ingest.app_tables import rebuild
from cloud_backend.store.tables import StoredEvent
from tests.apps.retail.cloud.serving import APP, SetClock, client_of, project
from tests.apps.retail.received import local_ns, minute

SETTINGS: dict[str, Any] = {
    "stores": {
        "berlin": {
            "time_zone": "Europe/Berlin",
            "opening": {"tue": ["09:00-12:00"], "wed": ["09:00-12:00"]},
            "passers_by": ["street/pavement"],
        }
    }
}
NOW_NS = local_ns("2026-07-20 12:00")
STORES = Stores(SETTINGS)
MINUTE_NS = 60 * 10**9
FILE = """begin,transactions,revenue
2026-07-14T09:00,4,40.50
2026-07-14T10:00,6,60
2026-07-14T11:00,0,0
"""


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine, SETTINGS, SetClock(NOW_NS)) as client:
        yield client


def upload(client: TestClient, text: str, by: str = "hour") -> dict[str, Any]:
    answer = client.post(
        f"/stores/berlin/sales.csv?by={by}", content=text, headers={"Content-Type": "text/csv"}
    )
    return answer.json() | {"status": answer.status_code}


def trade(client: TestClient, by: str = "hour", day: str = "2026-07-14") -> dict[str, Any]:
    items = client.get(f"/stores/berlin/trade?day={day}&by={by}").json()["items"]
    return {item["local"][11:16]: item for item in items}


def stored(engine: Engine) -> int:
    with Session(engine) as session:
        return session.exec(select(func.count()).select_from(StoredEvent)).one()


def test_the_same_upload_again_changes_nothing_and_another_number_corrects(
    engine: Engine, client: TestClient
) -> None:
    first = upload(client, FILE)
    assert (first["periods"], first["new"], first["changed"], first["gap_periods"]) == (3, 3, 0, 0)
    before = stored(engine)
    again = upload(client, FILE)
    assert (again["new"], again["changed"], again["unchanged"], stored(engine)) == (0, 0, 3, before)
    corrected = upload(client, FILE.replace(",6,60", ",7,70"))
    assert (corrected["changed"], corrected["unchanged"]) == (1, 2)
    assert trade(client)["10:00"]["transactions"] == 7


def test_sales_are_there_after_the_tables_were_rebuilt(engine: Engine, client: TestClient) -> None:
    upload(client, FILE)
    upload(client, FILE.replace(",6,60", ",7,70"))
    before = trade(client)
    rebuild(engine, "retail", APP)
    assert trade(client) == before


def test_gaps_are_the_open_periods_without_sales(client: TestClient) -> None:
    found = upload(client, "begin;transactions\n2026-07-14T09:00;1\n2026-07-14T11:00;1\n2026-07-15T10:00;1\n")
    assert found["gap_periods"] == 2
    assert found["gaps"] == ["2026-07-14T10:00:00+02:00", "2026-07-15T09:00:00+02:00"]


def test_conversion_is_over_the_periods_with_sales(engine: Engine, client: TestClient) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    late = at_ns + 60 * MINUTE_NS
    project(engine, [minute(1, at_ns, 8), minute(2, late, 12), minute(3, late + 70 * MINUTE_NS, 9)])
    upload(client, "begin,transactions\n2026-07-14T09:00,4\n2026-07-14T10:00,6\n")
    hours = trade(client)
    assert [hours[hour]["conversion"] for hour in ("09:00", "10:00", "11:00")] == [0.5, 0.5, None]
    (day,) = trade(client, "day").values()
    assert (day["conversion"], day["transactions"], day["sales_share"]) == (0.5, 10, pytest.approx(2 / 3))
    assert day["revenue"] is None


def test_conversion_is_by_groups_where_all_entrances_count_them(engine: Engine, client: TestClient) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    late = at_ns + 60 * MINUTE_NS
    counted = [minute(1, at_ns, 9, groups=5, returned=1), minute(2, late, 6, groups=3)]
    project(engine, [*counted, minute(3, late, 2, camera="yard")])
    upload(client, FILE)
    hours = trade(client)
    assert (hours["09:00"]["conversion"], hours["09:00"]["group_conversion"]) == (0.5, 0.8)
    assert (hours["10:00"]["conversion"], hours["10:00"]["group_conversion"]) == (0.75, None)
    (day,) = trade(client, "day").values()
    assert (day["conversion"], day["group_conversion"]) == (0.625, None)


def test_sales_of_a_day_have_no_hours_and_replace_those_of_hours(engine: Engine, client: TestClient) -> None:
    project(engine, [minute(1, local_ns("2026-07-14 09:00"), 8)])
    upload(client, FILE)
    upload(client, "begin,transactions\n2026-07-14,2\n", "day")
    (day,) = trade(client, "day").values()
    assert (day["transactions"], day["conversion"], trade(client)["09:00"]["transactions"]) == (2, 0.25, None)
    assert upload(client, FILE)["new"] + upload(client, FILE)["unchanged"] == 6
    assert trade(client)["10:00"]["transactions"] == 6


def test_the_capture_rate_is_over_the_quarters_that_the_line_outside_reported(
    engine: Engine, client: TestClient
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(
        engine,
        [
            minute(1, at_ns, 5),
            minute(2, at_ns + 20 * MINUTE_NS, 50),
            minute(3, at_ns, 12, 8, camera="street", line="pavement", entrance=False),
        ],
    )
    hour = trade(client)["09:00"]
    assert (hour["passers_by"], hour["capture_rate"]) == (20, 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns are none"),
        ("begin\rtransactions\n", "line 1: new-line character"),
        ("time,transactions\n", "the columns are time, transactions"),
        ("begin,transactions\n", "no period"),
        ("begin,transactions\n2026-07-14T09:00,4\n2026-07-14T10:00,x\n", "line 3: 'x'"),
        ("begin,transactions\n2026-07-14T09:00,-4\n", "line 2"),
        ("begin,transactions,revenue\n2026-07-14T09:00,4,nan\n", "line 2: 'nan'"),
        ("begin,transactions\n2026-07-14T09:10,4\n", "period 1.*not the begin of a period"),
        ("begin,transactions\n14.7.2026,4\n", "not a time such as"),
        ("begin,transactions\n2026-07-20T12:00,4\n", "not over yet"),
        ("begin,transactions\n2026-07-14T09:00,4\n2026-07-14T09:00,5\n", "period 2.*twice.*period 1"),
        ("begin,transactions\n2026-03-29T02:00,4\n", "does not exist"),
        ("begin,transactions\n2025-10-26T02:00,4\n", r"twice on that day.*\+02:00"),
        ("begin,transactions\n9999-12-31T23:00,4\n", "2000 to 2199"),
    ],
)
def test_a_wrong_file_is_refused_whole_with_its_line(
    engine: Engine, client: TestClient, text: str, message: str
) -> None:
    found = upload(client, text)
    assert found["status"] == 422
    assert re.search(message, found["detail"])
    assert stored(engine) == 0


def test_a_file_that_is_no_text_and_an_unknown_store_are_refused(client: TestClient) -> None:
    answer = client.post(
        "/stores/berlin/sales.csv", content=b"\xff\xfe", headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, "not UTF-8" in answer.json()["detail"]) == (422, True)
    body = {"by": "hour", "periods": [{"begin": "2026-07-14T09:00", "transactions": 1}]}
    assert client.post("/stores/nowhere/sales", json=body).status_code == 404
    assert client.post("/stores/berlin/sales", json=body).json()["new"] == 1


def test_a_day_of_25_hours_has_the_second_hour_twice() -> None:
    stores = Stores(SETTINGS)
    text = "begin,transactions\n2025-10-26T02:00+02:00,1\n2025-10-26T02:00+01:00,2\n"
    periods = periods_of(stores, "berlin", read_csv(text), "hour", NOW_NS)
    assert [(each.transactions, each.end_ns - each.begin_ns) for each in periods] == [
        (1, 60 * MINUTE_NS),
        (2, 60 * MINUTE_NS),
    ]


@settings(max_examples=40)
@given(st.text(max_size=200) | st.text(alphabet="begintransactions,;\n0123456789T:-\"'", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(SalesError):
        periods_of(STORES, "berlin", read_csv("begin,transactions\n" + text), "hour", NOW_NS)
    with suppress(SalesError):
        read_csv(text)

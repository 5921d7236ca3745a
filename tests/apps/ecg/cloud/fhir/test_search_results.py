"""The order of a search result, in pages of any size, while new resources arrive."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import paging
from apps.ecg.cloud.projection import EcgCloud
from cloud_backend.store.engine import open_store, sqlite_url
from common.app.cloud import ReceivedEvent
from tests.apps.ecg.cloud.fhir.clients import ids, issue, make_api, sqlite
from tests.apps.ecg.cloud.fhir.results import (
    NO_BEATS,
    ORDERS,
    PATIENTS,
    event_of,
    is_sorted,
    names,
    of_all_kinds,
    of_mode,
    pages,
    walk,
)
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, intervals, rates, received, rhythm


@contextmanager
def a_cloud(migrated: Path) -> Iterator[tuple[TestClient, Project]]:
    """A cloud of its own for each example of a test: a copy of the ``migrated`` store."""
    cloud = EcgCloud()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        shutil.copyfile(migrated, path)
        engine = open_store(sqlite_url(path))
        SQLModel.metadata.create_all(
            engine, tables=[SQLModel.metadata.tables[str(table.__tablename__)] for table in cloud.tables()]
        )

        def project(events: Sequence[ReceivedEvent]) -> None:
            with Session(engine) as session:
                cloud.project(session, events)
                session.commit()

        with TestClient(make_api(engine), headers={"Authorization": "Bearer right"}) as client:
            yield client, project
        engine.dispose()


EVENTS = st.lists(
    st.builds(
        event_of,
        st.sampled_from(
            ["rates", "silent rates", "hrv", "intervals", "no intervals", "AF", "VT", "sinus", "strip"]
        ),
        st.sampled_from(PATIENTS),
        st.integers(0, 120),
    ),
    max_size=30,
)


@pytest.mark.slow
@given(
    before=EVENTS,
    later=EVENTS,
    order=st.sampled_from(ORDERS),
    count=st.sampled_from([1, 2, 3, 7, 50]),
)
@settings(max_examples=40, phases=[Phase.reuse, Phase.generate])  # to shrink takes minutes
def test_pages_in_any_order_hold_each_resource_once_while_new_ones_arrive(
    migrated_sqlite: Path,
    before: list[ReceivedEvent],
    later: list[ReceivedEvent],
    order: tuple[str, str],
    count: int,
) -> None:
    type_, sort = order
    with a_cloud(migrated_sqlite) as (fhir, project):
        project(before)
        there = {each["id"] for each in walk(fhir, f"/fhir/{type_}?_count=200")}
        found: list[dict[str, Any]] = []
        arriving = iter(later)
        path = f"/fhir/{type_}?_count={count}&_total=accurate" + (f"&_sort={sort}" if sort else "")
        for number, bundle in enumerate(pages(fhir, path)):
            assert number or bundle["total"] == len(there)
            assert len(of_mode(bundle, "match")) <= count
            found += of_mode(bundle, "match")
            project([event for event in [next(arriving, None), next(arriving, None)] if event])
        found_ids = [each["id"] for each in found]
        assert len(found_ids) == len(set(found_ids))
        assert there <= set(found_ids)
        assert not sort or is_sorted(found, sort)


@pytest.mark.slow
@pytest.mark.parametrize(("type_", "sort"), ORDERS)
def test_every_order_is_the_same_in_pages_of_any_size(
    fhir: TestClient, project: Project, type_: str, sort: str
) -> None:
    project(of_all_kinds())
    query = f"_sort={sort}" if sort else ""
    whole = walk(fhir, f"/fhir/{type_}?_count=200&{query}")
    assert len(whole) >= 3
    assert is_sorted(whole, sort or "_id") or not (sort or type_ in ("Patient", "Device"))
    assert sorted(names(whole)) == sorted(names(walk(fhir, f"/fhir/{type_}?_count=200")))
    assert names(walk(fhir, f"/fhir/{type_}?_count=4&{query}")) == names(whole)
    listed = ",".join(each["id"] for each in reversed(whole[:90]))
    of_ids = walk(fhir, f"/fhir/{type_}?_count=7&_id={listed}&{query}")
    assert sorted(names(of_ids)) == sorted(names(whole[:90]))
    assert names(of_ids) == names(whole[:90]) or not sort


@pytest.mark.slow
@pytest.mark.parametrize("migrated_store", ["postgresql"], indirect=True)
def test_a_database_that_sorts_as_a_language_does_keeps_the_order(
    fhir: TestClient, project: Project, engine: Engine, cloud_app: EcgCloud
) -> None:
    with engine.begin() as connection:
        for table in cloud_app.tables():
            columns = [name for name in ("patient", "label") if name in sa.inspect(table).columns]
            for column in columns:
                change = f'ALTER COLUMN {column} TYPE varchar COLLATE "en-x-icu"'
                connection.execute(sa.text(f"ALTER TABLE {table.__tablename__} {change}"))
    project([*of_all_kinds(), *(rates(7200, patient=patient) for patient in PATIENTS)])
    for type_, sort in ORDERS:
        path = f"/fhir/{type_}?" + (f"_sort={sort}&" if sort else "")
        whole = walk(fhir, f"{path}_count=200")
        assert names(walk(fhir, f"{path}_count=5")) == names(whole)
        assert not sort or is_sorted(whole, sort)


@sqlite
def test_by_date_the_patients_are_mixed(fhir: TestClient, project: Project) -> None:
    project([rates(3600 * hour, patient=(ANN, BOB)[hour % 2]) for hour in range(6)])
    path = "/fhir/Observation?code=8867-4&_count=4&_sort="
    begins = [int(each["id"].rpartition(".")[2]) for each in walk(fhir, f"{path}-date")]
    assert begins == [at(3600 * hour) for hour in (5, 4, 3, 2, 1, 0)]
    assert [each["subject"]["reference"][-1] for each in walk(fhir, f"{path}date")] == [*"ab" * 3]


@sqlite
def test_hours_without_a_rate_do_not_hide_those_before(fhir: TestClient, project: Project) -> None:
    silent = [rates(3600.0 * hour, None, beats=NO_BEATS, good=0.0) for hour in range(2, 60)]
    project([rates(10), rates(3610), intervals(20), *silent])
    for type_, code, expected in (("Observation", "8867-4", 2), ("Observation", "8625-6", 1)):
        assert len(walk(fhir, f"/fhir/{type_}?code={code}&_count=1")) == expected
    hours = [each for each in walk(fhir, "/fhir/Provenance?_count=1") if ".made-hour." in each["id"]]
    assert len(hours) == 2


@pytest.mark.parametrize("sort", ["", "_id", "-_id", "date", "-date"])
@sqlite
def test_a_rhythm_that_nobody_knows_does_not_stop_the_pages(
    fhir: TestClient, project: Project, sort: str
) -> None:
    project([rhythm(10, 20, label) for label in ("AF", "block-2", "block-3", "VT")])
    query = f"&_sort={sort}" if sort else ""
    assert len(walk(fhir, f"/fhir/Observation?_count=1{query}")) == 4


@sqlite
def test_links_keep_the_order(fhir: TestClient, project: Project) -> None:
    project(a_day())
    for link in fhir.get("/fhir/Observation?_sort=-date&_count=2&_total=accurate").json()["link"]:
        query = parse_qs(urlsplit(link["url"]).query)
        assert (query["_sort"], query["_total"]) == (["-date"], ["accurate"])


@pytest.mark.parametrize(
    ("query", "possible"),
    [
        ("Observation?_sort=status", "_id, -_id, date, -date"),
        ("Observation?_sort=date,_id", "_id, -_id, date, -date"),
        ("Observation?_sort=_lastUpdated", "_id, -_id, date, -date"),
        ("DiagnosticReport?_sort=--date", "_id, -_id, date, -date"),
        ("Patient?_sort=date", "_id, -_id"),
        ("Observation?_include=Observation:encounter", "Observation:subject"),
        ("Observation?_include=Provenance:target", "Observation:device"),
        ("Observation?_include=Observation:device:Patient", "Observation:device"),
        ("DiagnosticReport?_include=subject", "DiagnosticReport:result"),
        ("Patient?_include=Patient:organization", "none"),
        ("Observation?_revinclude=DiagnosticReport:result", "Provenance:target"),
        ("Patient?_revinclude=Provenance:target", "none"),
        ("Observation?_total=some", "accurate"),
        ("Observation?_include:iterate=Observation:subject", "modifier"),
    ],
)
@sqlite
def test_what_cannot_be_had_is_refused_with_what_can(fhir: TestClient, query: str, possible: str) -> None:
    answer = fhir.get(f"/fhir/{query}")
    assert answer.status_code == 400
    assert possible in issue(answer)[1]


@sqlite
def test_by_date_only_so_many_patients_are_sorted(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "SORTED_PATIENTS", 1)
    project([rates(10), rates(90_000, patient=BOB)])
    assert "restrict patients" in issue(fhir.get("/fhir/Observation?_sort=date"))[1]
    assert len(walk(fhir, f"/fhir/Observation?_sort=date&patient={ANN}")) == 3
    assert fhir.get("/fhir/Observation?_sort=_id").status_code == 200


@sqlite
def test_many_patients_come_in_pages_of_some_in_any_order(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PATIENTS_A_PAGE", 2)
    project([rates(10, patient=f"p-{number}") for number in range(7)])
    for sort in ("", "_sort=_id", "_sort=-_id"):
        found = walk(fhir, f"/fhir/Observation?code=8867-4&{sort}")
        patients = [each["subject"]["reference"] for each in found]
        assert patients == sorted((f"Patient/p-{number}" for number in range(7)), reverse="-" in sort)


@pytest.mark.parametrize(
    "key",
    [["p", 0, "hr"], ["p", 2**62 - 1, ""], ["p", 2**63, "hr"], ["", 0, ""], ["p", -(2**63), "hr"], ["p"]],
)
@pytest.mark.parametrize("sort", ["", "_sort=date", "_sort=-date", "_sort=_id"])
@sqlite
def test_a_page_that_never_was_breaks_nothing(
    fhir: TestClient, project: Project, key: list[Any], sort: str
) -> None:
    project([rates(10, patient="p")])
    page = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    there_might_be = len(key) == 3 and -1 <= key[1] < 2**62
    answer = fhir.get(f"/fhir/Observation?_page={page}&{sort}")
    assert answer.status_code == (200 if there_might_be else 400)


@sqlite
def test_a_device_that_arrives_moves_no_other(fhir: TestClient, project: Project, engine: Engine) -> None:
    def node(name: str) -> ReceivedEvent:
        return received("finding", 9, node=name, finding="gap", lead=None, text="")

    project([node("bed-5"), node("bed-6"), node("bed_7")])
    found: list[str] = []
    for bundle in pages(fhir, "/fhir/Device?_count=1"):
        found += ids(bundle)
        project([node("bed-1")])
    assert len(found) == len(set(found)) >= 4
    assert found[0] == "model.v1"
    assert found == sorted(found)

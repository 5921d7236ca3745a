"""Whatever a node sends or a client posts, and whatever is stored already: no GET route answers 5xx.

Real events of every kind, each value in turn replaced by something hostile, go through ingest; then every
route is requested with every name that its lists have given.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlmodel import Session, col
from starlette.testclient import TestClient

from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.received import read_batch
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Node, Quarantined, StoredEvent, Stream
from common import messages
from common.config.cloud import IngestSettings
from common.messages import Priority
from tests.cloud_backend.api.hostile_events import (
    DEEP,
    HOSTILE,
    IDS,
    NODE,
    NOW_NS,
    REAL,
    SECOND_NS,
    SITE,
    TIMES,
    _deliver,
    _gaps,
    _places,
    _replaced,
)
from tests.cloud_backend.conftest import either_database as database

pytestmark = pytest.mark.slow

__all__ = ["database"]


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    """Bodies of events that each have one hostile value."""
    rng = random.Random(7)
    texts: list[str] = []

    def add(kind: str, subject: str, data: str, time: str = "", **more: Any) -> None:
        seq = len(texts) + 1
        time = time or messages.format_time(NOW_NS + seq * SECOND_NS)
        head = {"specversion": "1.0", "source": f"/{SITE}/{NODE}", "epoch": "e1", "seq": seq} | more
        head |= {"id": f"e1-{seq}", "priority": rng.choice(["alarm", "event", "telemetry"])} | more
        text = json.dumps(head, ensure_ascii=False)[:-1]
        texts.append(f'{text},"type":"{kind}","subject":"{subject}","time":"{time}","data":{data}}}')

    for kind, subject, real in REAL:
        add(kind, subject, json.dumps(real))
        for place in _places(real):
            for value in rng.sample(HOSTILE, 5):
                add(kind, subject, _replaced(real, place, value))
        for value in HOSTILE:
            add(kind, subject, value)
        for name in IDS:
            add(kind, name, json.dumps(real))
            add(name or "x.", subject, json.dumps(real))
        for time in TIMES:
            add(kind, subject, json.dumps(real), time=time)
        for priority in ("", "ALARM", "\ud800"):
            if priority.isascii():
                add(kind, subject, json.dumps(real), priority=priority)
    return [event.encode("utf-8", "surrogatepass") for event in texts]


@pytest.fixture(scope="module")
def hostile(cloud: Cloud, node: TestClient, admin: TestClient, events: list[bytes]) -> Cloud:
    """The cloud after all that."""
    committer = Committer(cloud.engine, Projections(cloud.projections), IngestSettings())
    for first in range(0, len(events), 50):
        _deliver(committer, events[first : first + 50], first + 1)
    for payload in _gaps():
        committer.commit([read_batch(SITE, NODE, payload, NOW_NS)])
    assert committer.counts["events"] > 500
    assert committer.counts["malformed"] > 100
    for value in HOSTILE:
        announced = (
            f'{{"app":"industrial","subject":"s","group":"g","captured_ns":1,"reasons":{{"x":1}},"size":9,\
"sha256":"{"a" * 64}","attributes":{{"x":{value}}}}}'
        )
        answer = node.post("/v1/samples", content=announced, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, value
        label = f'{{"subject":"s","group":"g","kind":"k","body":{{"x":{value}}}}}'
        answer = admin.post(
            "/v1/apps/industrial/labels", content=label, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code < 500, value
    return cloud


def request_everything(api: FastAPI, admin: TestClient) -> list[str]:
    """Ask every GET route with every name that any answer has given; the URLs that answered 5xx."""
    names: dict[str, set[str]] = defaultdict(set)
    names["app"] = {"industrial", "ecg"}
    names["day"] = {"2027-01-15", "1970-01-01"}
    paths = [path for path, methods in api.openapi()["paths"].items() if "get" in methods]
    paths += ["/fhir/metadata", *(f"/fhir/{kind}?_count=50" for kind in FHIR)]
    queries = {
        "/v1/apps/ecg/patients/{patient}/trend": "?since_ns=0&until_ns=9000000000000000000",
        "/v1/events": "?limit=500",
        "/v1/alerts": "?limit=500",
    }
    requested: set[str] = set()
    broken: list[str] = []
    for _ in range(3):
        for path in paths:
            for url in _urls(path, names, queries.get(path, "")):
                following: str | None = url
                while following is not None and following not in requested:
                    requested.add(following)
                    answer = admin.get(following)
                    if answer.status_code >= 500:
                        broken.append(f"{following}: {answer.status_code}")
                    value = answer.json() if "json" in answer.headers.get("content-type", "") else {}
                    _collect(value, names)
                    cursor = value.get("next") if isinstance(value, dict) else None
                    sign = "&" if "?" in url else "?"
                    following = f"{url}{sign}cursor={cursor}" if cursor else None
    assert len(requested) > 100
    return broken


FHIR = ("Patient", "Observation", "DiagnosticReport", "Provenance", "Device")


def _urls(path: str, names: dict[str, set[str]], query: str) -> Iterator[str]:
    wanted = re.findall(r"{(\w+)}", path)
    if not wanted:
        yield path + query
        return
    first = wanted[0]
    for value in sorted(names[first])[:4]:
        yield from _urls(path.replace(f"{{{first}}}", value), names, query)


def _collect(value: Any, names: dict[str, set[str]]) -> None:
    if isinstance(value, list):
        for each in value:
            _collect(each, names)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("node", "machine", "run", "patient", "day", "version", "id", "strip"):
                text = str(each)
                if re.fullmatch(r"[\w.:-]{1,60}", text):
                    names[key].add(text)
            _collect(each, names)


def test_no_route_breaks_after_hostile_events(hostile: Cloud, api: FastAPI, admin: TestClient) -> None:
    assert request_everything(api, admin) == []


def test_what_was_stored_before_is_named_where_it_cannot_be_shown(
    hostile: Cloud, api: FastAPI, admin: TestClient
) -> None:
    with Session(hostile.engine) as session:
        stream = Stream(site=SITE, node="old", epoch="e0", high_water_mark=2**63 - 1, created_ns=1)
        session.add(stream)
        session.add(Stream(site=SITE, node="old", epoch="e1", high_water_mark=2**63 - 1, created_ns=1))
        session.add(Node(name="old", site=SITE, enrolled_ns=1))
        session.flush()
        for seq, body in enumerate([value for value in HOSTILE if "\\u0000" not in value], 1):
            session.add(
                StoredEvent(
                    stream_id=stream.id or 0,
                    seq=seq,
                    type="edgeloop.node.health" if seq % 2 else "x.alarm",
                    subject="s",
                    time_ns=seq,
                    received_ns=2**62 + seq,
                    priority=int(Priority.ALARM),
                    body=body,
                )
            )
        session.add(
            StoredEvent(
                stream_id=stream.id or 0,
                seq=999,
                type="x",
                subject="",
                time_ns=1,
                received_ns=1,
                priority=77,
                body="{}",
            )
        )
        session.commit()
    with hostile.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE node SET health = :deep WHERE name = 'old'"), {"deep": f'{{"x":{DEEP}}}'}
        )
    assert request_everything(api, admin) == []
    page = admin.get("/v1/nodes/old/events?limit=500").json()
    data = {item["seq"]: item["data"] for item in page["items"]}
    assert any(
        "nested deeper than 64" in str(each.get("unreadable"))
        for each in data.values()
        if isinstance(each, dict)
    )
    assert len(data) == len([value for value in HOSTILE if "\\u0000" not in value])
    assert [row["key"] for row in page["skipped"]] == ["old e0 999"]
    assert "nested deeper" in admin.get("/v1/nodes/old").json()["health"]["unreadable"]
    assert admin.get("/v1/status").json()["counts"]["committed"] >= 2**64 - 2**12
    assert admin.get("/v1/quarantine").json()["items"][0]["reason"]


def test_a_refusal_has_its_reason(hostile: Cloud, admin: TestClient) -> None:
    with Session(hostile.engine) as session:
        reasons = " ".join(session.scalars(sa.select(col(Quarantined.reason))))
    for word in ("nested deeper than 64", "digits", "out of range"):
        assert word in reasons
    for value, word in (
        (DEEP, "nested deeper"),
        ("9" * 40, "digits"),
        ('"\\u0000"', "NUL"),
        ("1e400", "range"),
    ):
        answer = admin.post(
            "/v1/apps/industrial/labels",
            content=f'{{"subject":"s","group":"g","kind":"k","body":{{"x":{value}}}}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 422
        assert word in answer.json()["detail"]

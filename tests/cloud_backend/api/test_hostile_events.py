"""Whatever a node sends or a client posts, and whatever is stored already: no GET route answers 5xx.

Real events of every kind, each value in turn replaced by something hostile, go through ingest; then every
route is asked with every name that its lists have given.
"""

from __future__ import annotations

import copy
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
from common.errors import BatchError
from common.messages import Priority
from tests.cloud_backend.conftest import either_database as database

__all__ = ["database"]
NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
NODE, SITE = "n1", "plant"
HEALTH = {
    "version": "1",
    "slot": "a",
    "step": "confirmed",
    "confirmed": True,
    "latency_p50_ms": 1.5,
    "outbox_events": 3,
    "bytes_sent": 10,
    "bytes_raw": 100,
    "readings": 7,
    "cpu_s": 1.0,
    "rss_bytes": 5,
    "drift": False,
    "given_up": {"telemetry": 1},
}
_ECG = {"version": "ecg-1", "virtual": True}
REAL: list[tuple[str, str, dict[str, Any]]] = [
    ("edgeloop.node.health", NODE, HEALTH),
    (
        "edgeloop.node.started",
        NODE,
        {"app": "industrial", "version": "1", "slot": "a", "profile": "cpu", "tags": ["x"]},
    ),
    (
        "edgeloop.adoption",
        NODE,
        {
            "version": "2",
            "step": "switched",
            "ok": False,
            "reason": "crash_loop",
            "serial": 2,
            "rollout": "r",
        },
    ),
    ("edgeloop.drift", NODE, {"state": "drift", "score": 4.5}),
    (
        "industrial.rul",
        "engine-1",
        {
            "run": 1,
            "cycle": 30,
            "rul_cycles": 88.2,
            "lower_cycles": 70.0,
            "upper_cycles": 99.0,
            "novelty": 0.1,
            "version": "1",
        },
    ),
    (
        "industrial.maintenance_due",
        "engine-1",
        {
            "run": 1,
            "cycle": 31,
            "rul_cycles": 40.0,
            "lower_cycles": 29.0,
            "upper_cycles": 51.0,
            "novelty": 0.1,
            "horizon_cycles": 30.0,
            "sensors": ["T24"],
            "sensor_cycles": [2.5],
            "version": "1",
        },
    ),
    ("industrial.maintenance_cleared", "engine-1", {"run": 1, "cycle": 33, "reason": "x", "version": "1"}),
    (
        "ecg.rates",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 10.0,
            "heart_rate_bpm": 70.0,
            "beats": {"N": 10, "S": 1},
            "good_share": 1.0,
            "rhythm": "AF",
        },
    ),
    ("ecg.quality", "p-1", _ECG | {"lead": "II", "good": False, "reasons": ["flat"]}),
    (
        "ecg.rhythm",
        "p-1",
        _ECG
        | {
            "episode": "e-1",
            "label": "AF",
            "state": "began",
            "began_ns": NOW_NS,
            "ended_ns": None,
            "beats": 30,
            "heart_rate_bpm": 120.0,
        },
    ),
    (
        "ecg.hrv",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 300.0,
            "nn_count": 300,
            "ectopic_share": 0.0,
            "mean_nn_ms": 800.0,
            "sdnn_ms": 50.0,
            "rmssd_ms": 40.0,
            "pnn50_percent": 10.0,
            "lf_hf": 1.5,
        },
    ),
    (
        "ecg.intervals",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 60.0,
            "beats": 60,
            "rr_ms": 800.0,
            "qrs_ms": 90.0,
            "qt_ms": 400.0,
            "lead": "II",
        },
    ),
    (
        "ecg.alarm",
        "p-1",
        _ECG
        | {
            "alarm": "AF",
            "priority": "medium",
            "state": "raised",
            "raised_ns": NOW_NS,
            "delay_s": 10.0,
            "value": 120.0,
            "limit": 100.0,
            "text": "AF",
        },
    ),
    (
        "ecg.strip",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "rate_hz": 250.0,
            "leads": ["II"],
            "lsb_mv": 0.005,
            "samples_b64": "AAABAAIA",
            "beats": [{"at_ms": 4.0, "kind": "N", "probability": 0.9}],
            "alarm": "AF",
        },
    ),
    ("ecg.finding", "p-1", _ECG | {"finding": "lead_off", "lead": "II", "text": "x"}),
    ("edgeloop.learn", NODE, {"what": "anything"}),
]
"""Of each type one true event: type, subject, data."""
DEEP = "[" * 300 + "]" * 300
HOSTILE = [
    *("null", "true", '""', "[]", "{}", "0", "-1", "-0.0", "1e308", "-1e308", "5e-324"),
    *("1e400", "-1e400", "NaN", "Infinity", "2147483648", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "9" * 40, "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000),
    *(
        '" "',
        '"\\u0001"',
        '"\\u00e9\\u4e2d"',
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u202e<script>"',
        '"%s|:"',
        '"../../x"',
    ),
    *(DEEP, '{"a":' * 300 + "1" + "}" * 300, "[" * 60 + "]" * 60, "[" * 100_000),
    *(json.dumps("x" * 100_000), json.dumps([1] * 5000), '{"a":1,"a":[]}', '{"a":NaN}', "[1e400]"),
]
"""JSON texts, or what looks like them."""
IDS = ["", "\\u0000", "\\ud800", "x" * 5000, "\\u202e", "a/b?c#d", "%2e%2e", " ", "🫀"]
TIMES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2262-04-11T23:47:16Z", "1677-09-21T00:12:44Z", "x"]


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


def _deliver(committer: Committer, events: list[bytes], first: int) -> None:
    """Send as a node does: what is refused in halves, and the one that is refused alone as a gap."""
    try:
        payload = _batch(events, first)
    except BatchError:
        answers = []
    else:
        answers = committer.commit([read_batch(SITE, NODE, payload, NOW_NS)])
    if answers and not answers[0].ack.refused_digest:
        assert answers[0].ack.high_water_mark == first + len(events) - 1
        return
    half = len(events) // 2
    if half:
        _deliver(committer, events[:half], first)
        _deliver(committer, events[half:], first + half)
        return
    gap = {"through": first, "reason": "refused", "counts": {"event": 1}}
    event = messages.Event(messages.GAP_TYPE, "", NOW_NS, Priority.EVENT, gap)
    _deliver(
        committer, [messages.encode_event(event, source=f"/{SITE}/{NODE}", epoch="e1", seq=first)], first
    )


def _batch(bodies: list[bytes], first: int, last: int = 0, oldest: int = 1, epoch: str = "e1") -> bytes:
    return messages.encode_batch(
        bodies,
        source=f"/{SITE}/{NODE}",
        epoch=epoch,
        first=first,
        last=last or first + len(bodies) - 1,
        sent_ns=NOW_NS,
        oldest=oldest,
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in children:
        yield (*path, key)
        yield from _places(each, (*path, key))


def _replaced(real: dict[str, Any], place: tuple[Any, ...], value: str) -> str:
    data = copy.deepcopy(real)
    holder: Any = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = "@@"
    return json.dumps(data).replace('"@@"', value)


def _gaps() -> Iterator[bytes]:
    """Streams that claim to have lost more than any column holds."""
    for number, through in enumerate((2**53 - 1, 2**63 - 1, 2**62, 2**40, 2**41)):
        for each in range(3):
            epoch = f"gap-{number}-{each}"
            event = messages.Event(
                messages.GAP_TYPE,
                "",
                NOW_NS,
                Priority.EVENT,
                {"through": through, "reason": "x", "counts": {}},
            )
            body = messages.encode_event(event, source=f"/{SITE}/{NODE}", epoch=epoch, seq=1)
            yield _batch([body], 1, last=through, epoch=epoch)
            yield _batch([], through, last=through, oldest=through, epoch=epoch)


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


def ask_everything(api: FastAPI, admin: TestClient) -> list[str]:
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
    asked: set[str] = set()
    broken: list[str] = []
    for _ in range(3):
        for path in paths:
            for url in _urls(path, names, queries.get(path, "")):
                following: str | None = url
                while following is not None and following not in asked:
                    asked.add(following)
                    answer = admin.get(following)
                    if answer.status_code >= 500:
                        broken.append(f"{following}: {answer.status_code}")
                    value = answer.json() if "json" in answer.headers.get("content-type", "") else {}
                    _collect(value, names)
                    cursor = value.get("next") if isinstance(value, dict) else None
                    sign = "&" if "?" in url else "?"
                    following = f"{url}{sign}cursor={cursor}" if cursor else None
    assert len(asked) > 100
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
    assert ask_everything(api, admin) == []


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
    assert ask_everything(api, admin) == []
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


def test_what_is_refused_says_why(hostile: Cloud, admin: TestClient) -> None:
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

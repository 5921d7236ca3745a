"""Routes of clinicians' pages: patients, days, trends, strips, the review queue and reviews."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.strips import decode_samples
from apps.ecg.cloud.tables import Strip
from cloud_backend.api.dependencies import labels_of
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, DAY, a_day, alarm, at, hrv, intervals, rates, signal, strip


def test_patients_come_last_seen_first_with_alarms_and_burden(client: TestClient, project: Project) -> None:
    project([*a_day(), rates(8000, 95, patient=BOB), alarm(8005, patient=BOB), alarm(8006, name="pause")])
    first = client.get("/patients", params={"limit": 1}).json()
    assert [p["patient"] for p in first["items"]] == [BOB]
    assert (first["items"][0]["open_alarms"], first["items"][0]["heart_rate_bpm"]) == (1, 95)
    rest = client.get("/patients", params={"limit": 1, "cursor": first["next"]}).json()
    ann = rest["items"][0]
    assert (ann["patient"], rest["next"], ann["node"], ann["site"]) == (ANN, None, "bed-1", "ward")
    assert (ann["day"], ann["open_alarms"], ann["unreviewed_strips"]) == (DAY, 1, 1)
    assert ann["af_burden_percent"] == pytest.approx(100 / 12)
    assert client.get("/patients", params={"cursor": "x"}).status_code == 422


def test_a_day_has_its_totals_hours_and_lists(client: TestClient, project: Project) -> None:
    project(a_day())
    project([rates(7200, 90, beats={"V": 5, "S": 5, "N": 0}, good=0.4)])
    day = client.get(f"/patients/{ANN}/days/{DAY}").json()
    totals = day["totals"]
    assert totals["monitored_s"] == pytest.approx(7210)
    assert totals["withheld_s"] == pytest.approx(6)
    assert (totals["min_bpm"], totals["max_bpm"]) == (60, 90)
    assert totals["beats"] == {"N": 7200, "S": 5, "V": 5, "F": 0, "Q": 0}
    assert totals["af_burden_percent"] == pytest.approx(100 * 600 / 7204)
    assert [hour["began_ns"] for hour in day["hours"]] == [at(0), at(3600), at(7200)]
    assert [hour["v_percent"] for hour in day["hours"]] == [0, 0, 50]
    assert [(e["label"], e["began_ns"], e["ended_ns"]) for e in day["episodes"]] == [
        ("AF", at(600), at(1200))
    ]
    assert [(a["alarm"], a["state"]) for a in day["alarms"]] == [("atrial_fibrillation", "ended")]
    assert (len(day["hrv"]), len(day["intervals"]), day["cut"]) == (22, 2, [])
    assert (day["quality"][0]["reasons"], day["findings"][0]["finding"]) == (["flat"], "gap")
    assert (day["strips"], day["unreviewed_strips"], day["versions"]) == (1, 1, ["v1"])


def test_intervals_of_an_hour_weigh_by_beats_and_leave_out_what_was_not_found(
    client: TestClient, project: Project
) -> None:
    project([intervals(0, 400, beats=10), intervals(60, 430, beats=20), intervals(120, None, beats=70)])
    hour = client.get(f"/patients/{ANN}/days/{DAY}").json()["intervals"][0]
    assert (hour["beats"], hour["qt_ms"], hour["pr_ms"]) == (100, pytest.approx(420), pytest.approx(160))


def test_days_come_newest_first(client: TestClient, project: Project) -> None:
    project([rates(86400 * n + 5) for n in (0, 1, 5)])
    page = client.get(f"/patients/{ANN}/days", params={"limit": 2}).json()
    assert [item["day"] for item in page["items"]] == ["2026-11-21", "2026-11-17"]
    rest = client.get(f"/patients/{ANN}/days", params={"cursor": page["next"]}).json()
    assert [item["day"] for item in rest["items"]] == [DAY]


def test_a_trend_goes_by_buckets(client: TestClient, project: Project) -> None:
    project(a_day())
    ask = {"since_ns": at(0), "until_ns": at(7200), "bucket_s": 60, "limit": 100}
    trend = client.get(f"/patients/{ANN}/trend", params=ask).json()
    assert len(trend["points"]) == 100
    assert trend["points"][0]["heart_rate_bpm"] == pytest.approx(62.5)
    assert (trend["points"][0]["min_bpm"], trend["points"][0]["max_bpm"]) == (60, 65)
    assert [p["af_share"] for p in trend["points"]][9:21] == [0] + [1] * 10 + [0]
    rest = client.get(f"/patients/{ANN}/trend", params=ask | {"since_ns": trend["next_ns"]}).json()
    assert (len(rest["points"]), rest["next_ns"]) == (20, None)
    far = client.get(f"/patients/{ANN}/trend", params={"since_ns": 0, "until_ns": at(0)})
    assert far.status_code == 422


def test_a_strip_gives_back_its_samples(client: TestClient, project: Project) -> None:
    project([strip(5), strip(100)])
    page = client.get(f"/patients/{ANN}/strips", params={"limit": 1}).json()
    assert [s["began_ns"] for s in page["items"]] == [at(100)]
    rest = client.get(f"/patients/{ANN}/strips", params={"limit": 1, "cursor": page["next"]}).json()
    assert ([s["began_ns"] for s in rest["items"]], rest["next"]) == ([at(5)], None)
    found = client.get(f"/strips/{rest['items'][0]['id']}").json()
    samples = decode_samples(base64.b64decode(found["samples_b64"]), 2, found["lsb_mv"])
    expected = signal(2, 2500) * 0.005
    assert np.isnan(samples[7, 0])
    assert np.allclose(np.delete(samples, 7, axis=0), np.delete(expected, 7, axis=0))
    assert found["ended_ns"] - found["began_ns"] == 10 * 10**9


def test_the_queue_shows_the_highest_rank_first(client: TestClient, project: Project) -> None:
    project(
        [
            strip(100, "pause", min_probability=0.6),
            strip(200, "asystole", patient=BOB),
            strip(300, "lead_off"),
        ]
    )
    project([strip(400, "pause", min_probability=0.95)])
    first = client.get("/review", params={"limit": 2}).json()
    assert [s["alarm"] for s in first["items"]] == ["asystole", "pause"]
    assert (first["items"][1]["began_ns"], first["items"][0]["priority"]) == (at(100), "high")
    rest = client.get("/review", params={"cursor": first["next"]}).json()
    assert [s["alarm"] for s in rest["items"]] == ["pause", "lead_off"]


def test_a_correction_becomes_labels_and_leaves_the_queue(
    client: TestClient, project: Project, engine: Engine
) -> None:
    project([strip(100)])
    place = f"/strips/{ANN}.{at(100)}"
    beats = [{"at_ms": 500, "kind": "N"}, {"at_ms": 3500.0, "kind": "S"}]
    review = {"verdict": "corrected", "beats": beats, "rhythm": "sinus", "note": "atrial"}
    answer = client.post(f"{place}/review", json=review)
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["verdict"], shown["reviewed_by"], shown["true_rhythm"]) == ("corrected", "Dr Ada", "sinus")
    assert [beat["kind"] for beat in shown["true_beats"]] == ["N", "S"]
    assert [beat["kind"] for beat in shown["beats"]][:5] == ["N", "N", "N", "V", "N"]
    assert client.get("/review").json()["items"] == []
    with Session(engine) as session:
        labels = [label for _, label in labels_of(session, "ecg", subject=ANN)]
    spans = {label.kind: (label.body["began_ns"], label.body["ended_ns"]) for label in labels}
    assert spans == {"beats": (at(100), at(110)), "rhythm": (at(100), at(110))}
    assert {(label.group, label.source) for label in labels} == {(ANN, "person:Dr Ada")}


def test_a_confirmation_labels_the_decision_of_the_edge(
    client: TestClient, project: Project, engine: Engine
) -> None:
    project([strip(100)])
    client.post(f"/strips/{ANN}.{at(100)}/review", json={"verdict": "confirmed"})
    with Session(engine) as session:
        labels = {label.kind: label.body for _, label in labels_of(session, "ecg")}
    assert [beat["kind"] for beat in labels["beats"]["beats"]] == list("NNNVNNNNNN")
    assert (labels["rhythm"]["rhythm"], labels["rhythm"]["ended_ns"]) == ("AF", at(110))


def test_the_queue_is_made_again_from_the_labels(
    client: TestClient, project: Project, engine: Engine
) -> None:
    project([strip(100), strip(200)])
    client.post(f"/strips/{ANN}.{at(100)}/review", json={"verdict": "confirmed"})
    client.post(f"/strips/{ANN}.{at(100)}/review", json={"verdict": "corrected", "rhythm": "sinus"})
    client.post(f"/strips/{ANN}.{at(200)}/review", json={"verdict": "unreadable"})

    def strips(session: Session) -> list[dict[str, object]]:
        return [row.model_dump() for row in session.exec(select(Strip).order_by(col(Strip.began_ns)))]

    with Session(engine) as session:
        before = strips(session)
        labels = [label for _, label in reversed(labels_of(session, "ecg"))]
        session.exec(sa.delete(Strip))
        EcgCloud().project(session, [strip(100), strip(200)])
        EcgCloud().project_labels(session, labels)
        session.expire_all()
        assert strips(session) == before
    assert [row["verdict"] for row in before] == ["corrected", "unreadable"]
    assert (before[0]["true_rhythm"], before[0]["true_beats"]) == ("sinus", None)


@pytest.mark.parametrize(
    "review",
    [
        {"verdict": "corrected"},
        {"verdict": "confirmed", "rhythm": "AF"},
        {"verdict": "corrected", "beats": [{"at_ms": 11_000, "kind": "N"}]},
        {"verdict": "corrected", "beats": [{"at_ms": 500, "kind": "X"}]},
        {"verdict": "corrected", "beats": [{"at_ms": 500, "kind": "N"}, {"at_ms": 500, "kind": "V"}]},
        {"verdict": "corrected", "rhythm": "bossa nova"},
    ],
)
def test_a_review_that_makes_no_sense_is_refused(
    client: TestClient, project: Project, review: dict[str, object]
) -> None:
    project([strip(100)])
    assert client.post(f"/strips/{ANN}.{at(100)}/review", json=review).status_code == 422


def test_what_is_not_there_is_not_found(client: TestClient, project: Project) -> None:
    project([strip(100)])
    for path in (
        "/patients/p-nobody",
        f"/patients/p-nobody/days/{DAY}",
        "/patients/p-nobody/strips",
        f"/strips/{ANN}.5",
        f"/strips/{ANN}.{'9' * 30}",
        "/strips/etc",
    ):
        assert client.get(path).status_code == 404, path
    assert client.get(f"/patients/{ANN}/days/9999-12-31").status_code == 422
    answer = client.post(
        f"/strips/{ANN}.{at(100)}/review", json={"verdict": "confirmed"}, headers={"as": "node"}
    )
    assert answer.status_code == 403


def test_variability_that_an_older_node_sent_in_fibrillation_is_not_shown(
    client: TestClient, project: Project
) -> None:
    project([hrv(0), rates(290, rhythm="sinus"), hrv(300), rates(590, rhythm="AF"), rates(600), hrv(600)])
    shown = client.get(f"/patients/{ANN}/days/{DAY}").json()["hrv"]
    assert [window["began_ns"] for window in shown] == [at(0), at(600)]

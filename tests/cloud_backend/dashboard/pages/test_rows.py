"""Rows and details of the pages Fleet, Node, Alerts, Apps, Data and Settings, from what the API gives."""

from __future__ import annotations

from typing import Any

import httpx

from apps.industrial.pages.machine_text import machine_href
from cloud_backend.dashboard.layout.frame import Frame
from cloud_backend.dashboard.pages import alerts, apps, data, fleet, settings
from cloud_backend.dashboard.parts import enrolment_form, formatting, node_rows, node_service, node_timeline
from common.app.cloud import CLOUD_NODE

HOSTILE = "<img src=x onerror=alert(1)>"


def a_node(**changes: Any) -> dict[str, Any]:
    health = {
        "latency_p50_ms": 0.2214,
        "latency_p99_ms": 6.58,
        "outbox_events": 1208,
        "bytes_sent": 710,
        "bytes_raw": 1000,
        "rss_bytes": 119_000_000,
    }
    return {
        "node": "engine-1",
        "site": "hall-b",
        "state": "online",
        "app": "industrial",
        "profile": "cpu",
        "tags": ["cpu"],
        "virtual": True,
        "version": "1.0.0",
        "slot": "a",
        "step": "confirmed",
        "confirmed": True,
        "enrolled_ns": 1,
        "last_seen_ns": 2,
        "clock_offset_ms": None,
        "update_problem": "",
        "retired_ns": 0,
        "replaced_by": "",
        "health": health,
        **changes,
    }


def an_event(**changes: Any) -> dict[str, Any]:
    return {
        "site": "hall-b",
        "node": "engine-1",
        "epoch": "e",
        "seq": 7,
        "type": "industrial.maintenance_due",
        "subject": "engine-1",
        "time_ns": 1,
        "received_ns": 2,
        "priority": "alarm",
        "data": {"run": 3},
        "time_quality": None,
        **changes,
    }


def test_a_node_of_the_fleet() -> None:
    row = fleet.node_row(a_node(), {"samples": 31, "sample_bytes": 261_000})
    assert (row["node_href"], row["version_href"]) == ("/ui/nodes/engine-1", "/ui/models/industrial/1.0.0")
    assert (row["backlog"], row["latency"]) == ("1,208", "0.22 / 6.6 ms")
    assert (row["network"], row["left"]) == ("71 % of 1.0 kB", "31 · 261 kB")
    assert (row["source"], row["step"], row["seen"]) == ("virtual", "a confirmed", 2)


def test_a_node_that_has_never_reported() -> None:
    silent = a_node(
        state="unknown", app="", virtual=False, version="", slot="", step="", health={}, last_seen_ns=0
    )
    row = fleet.node_row(silent)
    assert {row["version"], row["backlog"], row["latency"], row["network"]} == {formatting.NONE}
    assert (row["version_href"], row["step"], row["left"], row["source"]) == ("", "", "", "")


def test_health_of_any_kind_makes_a_row() -> None:
    odd = a_node(health={"latency_p50_ms": HOSTILE, "outbox_events": [], "bytes_sent": {}, "bytes_raw": None})
    assert fleet.node_row(odd)["backlog"] == formatting.NONE
    assert node_rows.details_of(odd)["Memory"] == formatting.NONE


def test_a_source_that_ended_or_fails_is_shown() -> None:
    ended = {"source_state": "ended", "source_detail": "60 readings were usable"}
    row = fleet.node_row(a_node(health=ended))
    assert (row["source"], row["source_tone"]) == ("virtual, ended", "warn")
    assert node_rows.details_of(a_node(health=ended))["Source"] == "ended: 60 readings were usable"
    failed = fleet.node_row(a_node(virtual=False, health={"source_state": "failed"}))
    assert (failed["source"], failed["source_tone"]) == ("real, failed", "bad")
    assert (
        fleet.node_row(a_node(health={"source_state": ["x"], "source_detail": HOSTILE}))["source"]
        == "virtual"
    )


def test_a_node_that_reports_problems_is_marked() -> None:
    lost = {"ok": False, "problems": ["3 events were lost", "the source fails: unplugged"]}
    row = fleet.node_row(a_node(health=lost))
    assert (row["state"], row["state_tone"]) == ("online, not ok", "bad")
    problems = node_rows.details_of(a_node(health=lost))["Problems on the node"]
    assert problems == "3 events were lost; the source fails: unplugged"
    well = a_node(health={"ok": True, "problems": []})
    assert (fleet.node_row(well)["state"], fleet.node_row(well)["state_tone"]) == ("online", "good")
    gone = fleet.node_row(a_node(health=lost, retired_ns=1))
    assert (gone["state"], gone["state_tone"]) == ("retired", "")
    assert node_rows.details_of(well)["Problems on the node"] == "none"
    for odd in ({}, {"ok": 0, "problems": HOSTILE}, {"ok": None, "problems": [HOSTILE]}):
        assert fleet.node_row(a_node(health=odd))["state"] == "online"
        assert node_rows.details_of(a_node(health=odd))["Problems on the node"] == formatting.NONE


def test_hostile_names_cannot_leave_a_link() -> None:
    row = fleet.node_row(a_node(app="../../sign-out", version=f"{HOSTILE}/?#"))
    assert row["version_href"].startswith("/ui/models/..%2F..%2Fsign-out/%3Cimg")
    assert "?" not in row["version_href"]
    assert "#" not in row["version_href"]


def test_an_event_is_shown_with_where_it_came_from() -> None:
    row = fleet.event_row(an_event(subject=HOSTILE))
    assert (row["id"], row["at"], row["priority_tone"]) == ("engine-1/e/7", 2, "bad")
    assert row["summary"] == f"{HOSTILE}: run 3"
    assert node_rows.event_row(an_event())["summary"] == "industrial.maintenance_due · run 3"


def test_a_doubtful_time_has_a_note() -> None:
    for quality, note in {
        None: "",
        "unsynchronised": "clock not set",
        "corrected": "clock corrected",
        "unknown": "clock not set, time unknown",
        "recorded": "time of the recording",
    }.items():
        event = an_event(time_quality=quality)
        assert node_rows.event_row(event)["at_note"] == note
        assert alerts.alert_row({**event, "acknowledged": None})["at_note"] == note


def test_new_events_come_before_known_ones_and_each_once() -> None:
    known = [an_event(seq=seq) for seq in (3, 2, 1)]
    merged = node_timeline.merge_events([an_event(seq=seq) for seq in (5, 4, 3)], known)
    assert [event["seq"] for event in merged] == [5, 4, 3, 2, 1]
    many = [an_event(seq=seq) for seq in range(3 * node_timeline.LIMIT)]
    assert len(node_timeline.merge_events(many, known)) == node_timeline.LIMIT


def test_a_failed_step_is_marked() -> None:
    step = {
        "app": "industrial",
        "version": "2",
        "from_version": "1",
        "step": "golden",
        "ok": False,
        "reason": "golden",
        "rollout": "2-ab",
        "time_ns": 5,
    }
    assert node_rows.adoption_row(step, 0)["step_tone"] == "bad"
    assert node_rows.adoption_row({**step, "ok": True}, 0)["step_tone"] == ""
    assert node_rows.adoption_row(step, 0)["rollout_href"] == "/ui/rollouts/industrial/2-ab"


def test_an_alert_names_who_acknowledged_it() -> None:
    waiting = alerts.alert_row({**an_event(), "acknowledged": None})
    assert (waiting["seen"], waiting["acknowledge"]) == ("nobody yet", "Acknowledge")
    seen = {"by": "Anna", "at_ns": 1_795_535_000_000_000_000, "note": HOSTILE}
    row = alerts.alert_row({**an_event(), "acknowledged": seen})
    assert row["seen"] == f"Anna, 2026-11-24 15:43 UTC: {HOSTILE}"
    assert row["acknowledge"] == ""
    assert (row["subject"], row["subject_href"]) == ("engine-1", "")


def test_an_alert_leads_to_the_page_that_its_app_has_for_the_subject() -> None:
    site = Frame(httpx.AsyncClient(), [])
    site.of_app("industrial").subject_page(machine_href)
    path = site.subject_path("industrial.maintenance_due", "hall 3/press")
    assert path == "/ui/apps/industrial/machines/hall%203%2Fpress"
    assert alerts.alert_row({**an_event(), "acknowledged": None}, path)["subject_href"] == path
    assert site.subject_path("edgeloop.drift", "v2") == site.subject_path("other.alarm", HOSTILE) == ""


def test_versions_of_an_app_by_how_many_nodes_run_them() -> None:
    rows = apps.version_rows("industrial", "2", {"1": 1, "2": 3, "": 1})
    assert [(row["version"], row["share"]) for row in rows] == [
        ("2", 0.6),
        ("not reported yet", 0.2),
        ("1", 0.2),
    ]
    assert [row["state"] for row in rows] == ["in production", "", ""]
    assert apps.version_rows("industrial", "2", {}) == []


def test_the_audit_compares_sent_bytes_with_all_readings() -> None:
    account = {
        "node": "engine-1",
        "site": "hall-b",
        "app": "industrial",
        "virtual": False,
        "events": 24_043,
        "event_bytes": 3_000_000,
        "samples": 31,
        "sample_bytes": 261_000,
        "samples_refused": 1,
        "bytes_sent": 710,
        "bytes_raw": 1000,
    }
    row = data.account_row(account)
    assert (row["events"], row["event_bytes"], row["samples"]) == ("24,043", "3.0 MB", "31")
    assert (row["sent"], row["sent_text"], row["source"]) == (0.71, "71 % of 1.0 kB", "real")
    assert data.account_row({**account, "bytes_raw": 0})["sent"] is None
    assert node_rows.account_details(account)["Samples"] == "31, 261 kB"


def test_a_quarantined_message_is_shown_on_one_line() -> None:
    item = {
        "id": 1,
        "node": "n",
        "received_ns": 5,
        "reason": HOSTILE,
        "size_bytes": 9,
        "count": 2,
        "head": "\x00a\n\u202eb" + "x" * 500,
    }
    row = data.quarantine_row(item)
    assert row["head"].startswith("·a··bxxx")
    assert len(row["head"]) == 81
    assert row["reason"] == HOSTILE


def test_details_of_the_session_and_of_the_cloud() -> None:
    session = {"name": "Anna", "kind": "session", "expires_ns": 1_795_535_000_000_000_000}
    assert settings.session_details(session)["Until"] == "2026-11-24 15:43 UTC"
    token = settings.session_details({"name": "admin", "kind": "token", "expires_ns": None})
    assert token["With"] == "the API token of the admin"
    status = {
        "edgeloop": "0.1.0",
        "broker": {"kind": "mosquitto", "host": "h", "port": 1883},
        "database": {"kind": "sqlite", "latency_ms": 0.48},
        "counts": {"nodes": 4, "committed": 54_011, "sample_bytes_received": 805_000},
    }
    details = settings.cloud_details(status)
    assert details["Broker"] == "mosquitto at h:1883"
    assert details["Database"] == "sqlite, answers in 0.48 ms"
    assert (details["Events committed"], details["Size of samples"]) == ("54,011", "805 kB")
    assert settings.ingest_details({"batches_received": 3, "database": "well"}) == {"Batches received": "3"}


def test_the_enrolment_file_is_what_a_node_reads() -> None:
    import msgspec

    from common.config.node import Enrolment

    made = {
        "node": "n",
        "site": "s",
        "cloud_url": "http://c",
        "mqtt_host": "h",
        "mqtt_port": 1,
        "mqtt_password": "p",
        "token": "t",
        "wire_key": "00" * 32,
        "tuf_root": {"signed": {}},
    }
    assert msgspec.json.decode(enrolment_form.enrolment_file(made), type=Enrolment).tuf_root == {"signed": {}}


def test_the_reason_of_a_failed_update_check_is_on_the_nodes_page() -> None:
    updates = {"problem": "", "detail": "", "root": 1, "metadata": 12, "serial": 3}
    assert node_rows.details_of(a_node(health={"updates": updates}))["Updates"] == "deployment 3, metadata 12"
    behind = updates | {"problem": "rollback", "detail": "timestamp version 3 is older than 12"}
    text = node_rows.details_of(a_node(update_problem="rollback", health={"updates": behind}))["Updates"]
    assert text == "update check failed (rollback): timestamp version 3 is older than 12"
    assert node_rows.details_of(a_node(health={"updates": HOSTILE}))["Updates"] == formatting.NONE


def test_a_retired_node_is_shown_as_such() -> None:
    assert node_service.service_text(a_node()) == "In service."
    text = node_service.service_text(a_node(retired_ns=1, replaced_by="engine-9"))
    assert text.startswith("Retired ")
    assert "replaced by engine-9" in text


def test_an_enrolment_names_the_addresses_it_needs() -> None:
    local = {"cloud_url": "http://127.0.0.1:8080", "mqtt_host": "127.0.0.1"}
    assert "own machine only" in enrolment_form.reach(local)
    public = {"cloud_url": "https://edge.example", "mqtt_host": "broker.example"}
    assert "broker.example" in enrolment_form.reach(public)


def test_events_that_the_cloud_records_lead_to_no_page_of_a_node() -> None:
    event = {**an_event(), "node": CLOUD_NODE, "acknowledged": None}
    assert (alerts.alert_row(event)["node_href"], fleet.event_row(event)["node_href"]) == ("", "")

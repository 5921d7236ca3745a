"""The ECG app on the node: rates, intervals and HRV of a whole signal, the choice of a lead, and bounds."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from common.app.edge import Sample
from common.app.events import fields_of
from common.edge.processing.state import encode_state
from common.messages import Event, encode_event
from tests.apps.ecg.edge.streams import edge, events, odd, run, virtual


def test_a_healthy_patient_is_described_without_any_alarm() -> None:
    results = run(edge(), virtual(310))
    assert events(results, "alarm") == []
    assert events(results, "rhythm") == []
    assert odd(results) == []
    rates = events(results, "rates")
    assert len(rates) == 30
    for rate in rates[1:]:
        assert rate.data["heart_rate_bpm"] == pytest.approx(70, abs=12)
        assert rate.data["rhythm"] == "sinus"
        assert rate.data["good_share"] == 1.0
        assert sum(rate.data["beats"].values()) == pytest.approx(12, abs=3)
    (hrv,) = events(results, "hrv")
    assert hrv.data["nn_count"] > 250
    assert hrv.data["mean_nn_ms"] == pytest.approx(60_000 / 70, rel=0.1)
    assert len(events(results, "intervals")) == 5
    assert [r for r in results if isinstance(r, Sample)] == [], "nothing leaves without consent"
    for event in results:
        assert isinstance(event, Event)
        assert event.subject == "patient-3"
        assert fields_of(event)["version"] == "rules-1"
        assert len(encode_event(event, source="/s/n", epoch="e", seq=1)) < 1024


def test_events_of_a_simulated_signal_are_marked_also_after_a_restart() -> None:
    readings = virtual(25)
    app = edge()
    before = run(app, readings[:12])
    again = edge()
    again.restore(app.snapshot())
    found = [*before, *run(again, [readings[12], replace(readings[13], rate_hz=125.0), *readings[14:]])]
    flags = [fields_of(each).get("virtual") for each in found if isinstance(each, Event)]
    assert len(flags) >= 2
    assert set(flags) == {True}
    real = [replace(r, attributes={"first_sample": r.attributes["first_sample"]}) for r in readings]
    assert all("virtual" not in fields_of(each) for each in run(edge(), real) if isinstance(each, Event))


def test_intervals_are_those_of_the_patient() -> None:
    results = run(edge(), virtual(65, pr_ms="170", qrs_ms="95", qtc_ms="410", heart_rate="60", rate_hz="500"))
    (found,) = events(results, "intervals")
    assert found.data["pr_ms"] == pytest.approx(170, abs=20)
    assert found.data["qrs_ms"] == pytest.approx(95, abs=20)
    assert found.data["qtc_fridericia_ms"] == pytest.approx(410, abs=30)
    assert found.data["lead"] == "II"


def test_another_lead_takes_over_and_no_beat_is_lost() -> None:
    readings = virtual(60, leads="II,V5", noise="lead_off:30-45@II")
    results = run(edge(), readings)
    assert events(results, "alarm") == []
    assert odd(results) == []
    rates = events(results, "rates")
    assert (rates[1].data["lead"], rates[4].data["lead"]) == ("II", "V5")
    alone = events(run(edge(), virtual(60, leads="V5")), "rates")
    for both, one in zip(rates, alone, strict=True):
        assert abs(sum(both.data["beats"].values()) - sum(one.data["beats"].values())) <= 1


def test_the_wanted_lead_is_analysed() -> None:
    results = run(edge(leads=["V5"]), virtual(15, leads="II,V5"))
    assert events(results, "rates")[0].data["lead"] == "V5"


def test_a_patient_without_readings_is_forgotten_and_the_alarm_ends() -> None:
    app = edge(forget_patient_after_hours=1)
    run(app, virtual(40, episodes="VT:10-40"))
    (other, *_) = virtual(2)
    hour_ns = 3600 * 10**9
    later = [
        replace(other, subject="p-2", captured_ns=other.captured_ns + n * hour_ns // 2) for n in range(6)
    ]
    gone = [e for e in run(app, later) if isinstance(e, Event) and e.subject != "p-2"]
    assert "ended" in {fields_of(e).get("state") for e in gone if e.type == "ecg.alarm"}
    assert fields_of(gone[-1])["finding"] == "forgotten"


def test_a_stream_takes_less_than_2_mb() -> None:
    readings = virtual(130, rate_hz="360", episodes="VT:20-30,AF:60-130")
    run(edge(consent="learning"), readings[:5])
    tracemalloc.start()
    app = edge(consent="learning")
    for reading in readings:
        app.process(reading, 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2_000_000
    assert len(encode_state(app.snapshot())) < 1_000_000

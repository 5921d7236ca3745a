"""Alarms of the ECG app on whole signals: runs, fibrillation, standstill, a lead that is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.app.edge import Reading
from common.messages import Priority
from tests.apps.ecg.edge.streams import START_NS, at_s, edge, events, run, virtual


def test_a_run_raises_its_alarm_within_seconds_latches_and_is_reset() -> None:
    readings = virtual(60, episodes="VT:30-38")
    results = run(edge(), readings)
    (began,) = events(results, "rhythm", label="VT", state="began")
    (ended,) = events(results, "rhythm", label="VT", state="ended")
    assert (began.data["began_ns"] - START_NS) / 1e9 == pytest.approx(30, abs=1.0)
    assert (ended.data["ended_ns"] - START_NS) / 1e9 == pytest.approx(38, abs=1.5)
    assert ended.data["episode"] == began.data["episode"]
    alarms = events(results, "alarm", alarm="ventricular_tachycardia")
    assert [a.data["state"] for a in alarms] == ["raised", "latched"]
    assert at_s(alarms[0]) < 37
    assert alarms[0].priority is Priority.ALARM
    assert alarms[0].data["priority"] == "high"
    app = edge()
    run(app, readings[:50])
    seen = replace(readings[50], attributes={**readings[50].attributes, "alarm_reset": True})
    reset = events(list(app.process(seen, 0)), "alarm")
    assert [a.data["state"] for a in reset if a.data["alarm"] == "ventricular_tachycardia"] == ["reset"]


def test_a_run_that_is_over_before_its_alarm_is_raised_all_the_same() -> None:
    results = run(edge(), virtual(40, episodes="VT:30-31.4"))
    _, ended = events(results, "rhythm", label="VT")
    assert ended.data["beats"] <= 6
    assert events(results, "alarm", alarm="ventricular_tachycardia", state="raised")


def test_a_run_on_signal_that_turns_out_bad_raises_nothing() -> None:
    readings = virtual(45, episodes="VT:30-32.5")
    torn = [
        replace(r, values=np.full_like(r.values, np.nan)) if 32 <= n < 36 else r
        for n, r in enumerate(readings)
    ]
    results = run(edge(), torn)
    assert events(results, "rhythm", label="VT", state="began")
    assert events(results, "alarm", alarm="ventricular_tachycardia") == []


def test_fibrillation_raises_its_alarm_within_seconds_of_enough_beats() -> None:
    results = run(edge(), virtual(100, episodes="AF:40-90", heart_rate="80"))
    (raised, *_) = events(results, "alarm", alarm="atrial_fibrillation", state="raised")
    assert 40 < at_s(raised) < 65
    (rate, *_) = events(results, "rates", rhythm="AF")
    assert rate.data["heart_rate_bpm"] is not None


def test_no_atrial_beat_is_reported_in_fibrillation() -> None:
    rates = events(run(edge(), virtual(150, rhythm="AF", pvc="0")), "rates")
    settled = [rate.data["beats"] for rate in rates if at_s(rate) > 60]
    assert sum(beats["N"] for beats in settled) > 100
    assert sum(beats["S"] for beats in settled) == 0


def stopped(from_s: int, to_s: int, noise_mv: float = 0.01) -> list[Reading]:
    """A patient whose heart stands still for some seconds."""
    rng = np.random.default_rng(7)
    return [
        replace(r, values=rng.normal(0, noise_mv, r.values.shape)) if from_s <= number < to_s else r
        for number, r in enumerate(virtual(60))
    ]


def test_standstill_is_reported_without_a_beat() -> None:
    results = run(edge(), stopped(30, 45))
    (raised,) = events(results, "alarm", alarm="asystole", state="raised")
    assert 33 < at_s(raised) < 37
    assert [e.data["state"] for e in events(results, "alarm", alarm="asystole")] == ["raised", "latched"]
    (pause,) = events(results, "rhythm", label="pause", state="began")
    assert at_s(pause) < 34
    assert events(results, "alarm", alarm="pause", state="raised")


def test_alarms_can_be_paused() -> None:
    readings = stopped(30, 45)
    readings[29] = replace(readings[29], attributes={**readings[29].attributes, "alarm_pause_s": 10})
    (raised,) = events(run(edge(), readings), "alarm", alarm="asystole", state="raised")
    assert at_s(raised) == pytest.approx(39, abs=0.6)


def test_a_lead_that_is_off_withholds_and_raises_no_standstill() -> None:
    readings = virtual(60, noise="lead_off:30-45")
    results = run(edge(), readings)
    assert events(results, "alarm", alarm="asystole") == []
    assert events(results, "rhythm") == []
    raised, ended = events(results, "alarm", alarm="lead_off")
    assert (raised.data["state"], ended.data["state"]) == ("raised", "ended")
    assert 35 < at_s(raised) < 39
    (withheld,) = events(results, "finding", finding="withheld")
    assert "lead_off" in withheld.data["text"]
    bad, good = events(results, "quality")
    assert (bad.data["good"], bad.data["reasons"]) == (False, ["lead_off"])
    assert good.data["good"] is True
    assert [r.data["good_share"] < 0.2 for r in events(results, "rates")][3]
    assert events(results, "rates")[3].data["rhythm"] == "unknown"

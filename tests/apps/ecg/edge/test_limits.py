"""Withheld measurements: rates near 300, QT beside premature beats, variability in AF, signals of 10 s."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading, Sample
from common.edge.processing.state import decode_state, encode_state
from common.messages import Event
from tests.apps.ecg.edge.streams import START_NS, at_s, edge, events, run, virtual

Results = list[Event | Sample]


def chunks(
    signal: np.ndarray, rate_hz: float, leads: tuple[str, ...] = ("II",), **last: bool
) -> list[Reading]:
    """``signal`` in chunks of a second; with ``last`` the source marks its end."""
    second, found = round(rate_hz), []
    for first in range(0, len(signal), second):
        captured_ns = START_NS + round(first / rate_hz * 1e9)
        part = signal[first : first + second]
        facts = {"first_sample": first} | (last if first + second >= len(signal) else {})
        found.append(Reading("p-a", captured_ns, len(found) + 1, part, leads, rate_hz, facts))
    return found


def signal_of(readings: list[Reading]) -> np.ndarray:
    return np.concatenate([reading.values for reading in readings])


def racing(bpm: float) -> np.ndarray:
    """20 s of sinus rhythm at 80, then 30 s of the same heart at ``bpm``: beats follow each other so soon."""
    signal = signal_of(virtual(20, heart_rate="80"))[:, 0]
    r = 250 * 10 + int(np.argmax(signal[2500:2690]))
    beat = signal[r - 18 : r + 40] - np.linspace(signal[r - 18], signal[r + 39], 58)
    fast = np.random.default_rng(3).normal(0, 0.01, 30 * 250)
    for k in range(int(30 * bpm / 60) - 1):
        at = round(k * 60 / bpm * 250)
        fast[at : at + 58] += beat[: len(fast) - at]
    return np.concatenate([signal, fast])[:, np.newaxis]


@pytest.mark.parametrize("bpm", [200, 250, 275, 298, 320, 345])
def test_a_rate_up_to_350_is_counted(bpm: int) -> None:
    results = run(edge(), chunks(racing(bpm), 250.0))
    (raised,) = events(results, "alarm", alarm="extreme_tachycardia", state="raised")
    assert at_s(raised) < 35
    assert events(results, "rates")[-1].data["heart_rate_bpm"] == pytest.approx(bpm, rel=0.05)


def trigeminy(coupling_s: float, every: int, seconds: int = 120) -> np.ndarray:
    """Some time of sinus rhythm at 75 in which each ``every``-th beat is premature, wide and large."""
    readings = virtual(30, heart_rate="75", rate_hz="250")
    source = signal_of(readings)[:, 0]
    r = 250 * 12 + int(np.argmax(source[3000:3200]))
    beat = source[r - 80 : r + 110] - np.linspace(source[r - 80], source[r + 109], 190)
    wide = 1.6 * np.interp(np.arange(0, 190, 0.55), np.arange(190), beat)
    wide = -np.concatenate([np.zeros(30), wide[110:]])
    signal = np.random.default_rng(3).normal(0, 0.004, seconds * 250)
    at, number = 200, 0
    while at < len(signal) - 600:
        number += 1
        if number % every == 0:
            at += round((coupling_s - 0.8) * 250)
            signal[at - 40 : at - 40 + len(wide)] += wide
            at += round((1.6 - coupling_s) * 250)
        else:
            signal[at - 80 : at + 110] += beat
            at += 200
    return signal[:, np.newaxis]


def test_qt_is_right_or_withheld_beside_premature_beats() -> None:
    (truth, *_) = events(run(edge(), virtual(62, heart_rate="75")), "intervals")
    for every in (2, 3, 4, 5):
        for coupling_s in (0.4, 0.48, 0.56):
            found = events(run(edge(), chunks(trigeminy(coupling_s, every), 250.0)), "intervals")
            for each in found:
                if each.data["qt_ms"] is not None:
                    assert each.data["qt_ms"] == pytest.approx(truth.data["qt_ms"], abs=25)
            assert found or every < 4


@pytest.mark.parametrize("every", [2, 3])
def test_the_reason_for_a_withheld_qt_is_reported_once(every: int) -> None:
    results = run(edge(), chunks(trigeminy(0.48, every, 190), 250.0))
    assert [each.data["qt_ms"] for each in events(results, "intervals") if each.data["qt_ms"]] == []
    (finding,) = events(results, "finding", finding="qt_withheld")
    assert "not normal" in finding.data["text"]
    assert finding.data["lead"] == "II"


def test_a_withheld_qt_names_fibrillation_and_a_measured_one_has_no_finding() -> None:
    assert events(run(edge(), virtual(125, heart_rate="75")), "finding", finding="qt_withheld") == []
    results = run(edge(), virtual(185, rhythm="AF"))
    given = [each for each in events(results, "intervals") if each.data["qt_ms"] is not None]
    findings = events(results, "finding", finding="qt_withheld")
    assert len(given) == 3 or findings
    assert all("atrial fibrillation" in each.data["text"] for each in findings[-1:])


def test_variability_is_withheld_in_fibrillation_with_one_reason() -> None:
    results = run(edge(), virtual(905, rhythm="AF"))
    assert events(results, "rhythm", label="AF", state="began")
    assert events(results, "hrv") == []
    (finding,) = events(results, "finding", finding="hrv_withheld")
    assert "atrial fibrillation" in finding.data["text"]
    part = run(edge(), virtual(605, episodes="AF:100-200"))
    assert [at_s(event) > 600 for event in events(part, "hrv")] == [True]


def test_there_is_no_variability_with_many_ectopic_beats() -> None:
    results = run(edge(), chunks(trigeminy(0.56, 4, 310), 250.0))
    assert events(results, "hrv") == []
    (finding,) = events(results, "finding", finding="hrv_withheld")
    assert "not normal" in finding.data["text"]


TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def test_ten_seconds_of_twelve_leads_give_what_they_can() -> None:
    signal = signal_of(virtual(10, rate_hz="500", leads="12", heart_rate="80"))
    results = run(edge(), chunks(signal, 500.0, TWELVE, last=True))
    (rates,) = events(results, "rates")
    assert rates.data["heart_rate_bpm"] == pytest.approx(80, abs=6)
    assert sum(rates.data["beats"].values()) in (12, 13, 14)
    assert (rates.data["seconds"], rates.data["good_share"], rates.data["lead"]) == (10, 1, "II")
    assert rates.data["rhythm"] == "unknown"
    (intervals,) = events(results, "intervals")
    assert 300 < intervals.data["qt_ms"] < 450
    texts = {event.data["finding"]: event.data["text"] for event in events(results, "finding")}
    assert "are from II; from I, III" in texts["leads"]
    assert "too short for the rhythm" in texts["short_signal"]
    assert "300 s" in texts["short_signal"]


@pytest.mark.parametrize("seconds", [3, 15, 30, 61])
def test_a_short_signal_is_reported_to_its_end(seconds: int) -> None:
    signal = signal_of(virtual(seconds, heart_rate="90"))
    results = run(edge(), chunks(signal, 250.0, last=True))
    rates = events(results, "rates")
    assert sum(event.data["seconds"] for event in rates) == seconds
    assert sum(sum(event.data["beats"].values()) for event in rates) == pytest.approx(
        seconds * 1.5, rel=0.1, abs=2
    )
    assert rates[0].data["heart_rate_bpm"] == pytest.approx(90, abs=8)
    assert len(events(results, "finding", finding="short_signal")) == 1
    unended = run(edge(), chunks(signal, 250.0))
    assert [e for e in unended if e not in results] == []


def test_after_its_end_a_patient_starts_without_state() -> None:
    readings = chunks(signal_of(virtual(20)), 250.0, last=True)
    app = edge()
    run(app, readings)
    other = edge()
    other.restore(decode_state(encode_state(app.snapshot())))
    later = [replace(r, captured_ns=r.captured_ns + 10**13) for r in readings]
    again = run(other, later)
    assert events(again, "finding", finding="gap") == []
    assert [e.data for e in events(again, "rates")] == [
        {**e.data, "began_ns": e.data["began_ns"] + 10**13} for e in events(run(edge(), readings), "rates")
    ]


FAULTS = {
    "missing": lambda n, rng: np.full(n, np.nan),
    "flat": lambda n, rng: np.full(n, 0.3),
    "saturated": lambda n, rng: np.where(np.arange(n) // 125 % 2, 5.0, -5.0),
    "noise": lambda n, rng: rng.normal(0, 1.5, n),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize("latching", [True, False])
@pytest.mark.parametrize(
    ("alarm", "episode"),
    [
        ("asystole", ""),
        ("ventricular_tachycardia", "VT:20-40"),
        ("extreme_tachycardia", "tachycardia:10-40"),
        ("atrial_fibrillation", "AF:0-60"),
    ],
)
def test_a_fault_clears_no_alarm(fault: str, latching: bool, alarm: str, episode: str) -> None:
    limits: dict[str, Any] = {"extreme_tachycardia_bpm": 125.0} if alarm == "extreme_tachycardia" else {}
    signal = signal_of(virtual(60, **({"episodes": episode} if episode else {})))
    rng = np.random.default_rng(4)
    if alarm == "asystole":
        signal[20 * 250 :, 0] = rng.normal(0, 0.01, 40 * 250)
    app = edge(latching=latching, **limits)
    until = {"atrial_fibrillation": 60, "ventricular_tachycardia": 27}.get(alarm, 30)
    before = run(app, chunks(signal[: until * 250], 250.0))
    raised = events(before, "alarm", alarm=alarm)
    assert [event.data["state"] for event in raised] == ["raised"]
    broken = signal[: until * 250].copy()
    length = 30 * 250
    still = rng.normal(0, 0.01, 2 * 250)
    bad = np.concatenate(
        [FAULTS[fault](length, rng), still if alarm == "asystole" else FAULTS[fault](500, rng)]
    )
    whole = np.concatenate([broken[:, 0], bad])[:, np.newaxis]
    after = run(app, chunks(whole, 250.0)[until:])
    assert events(after, "alarm", alarm=alarm) == []
    # It survives a gap that restarts the analysis, until beats contradict it.
    well = chunks(signal_of(virtual(60)), 250.0)
    far = [replace(r, captured_ns=r.captured_ns + 10**12, attributes={}) for r in well]
    assert events(run(app, far[:1]), "alarm", alarm=alarm) == []
    (over,) = events(run(app, far[1:]), "alarm", alarm=alarm)
    assert over.data["state"] in ("ended", "latched")
    assert over.data["raised_ns"] == raised[0].data["raised_ns"]

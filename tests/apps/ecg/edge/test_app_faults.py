"""Bad input and a failing model: findings, refusals, and no event lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from apps.ecg.edge.app import LONGEST_S
from common.app.edge import Arrays, Sample
from common.edge.processing.state import decode_state, encode_state
from common.errors import InferenceError, ReadingError
from common.messages import Event
from tests.apps.ecg.edge.streams import edge, events, odd, run, virtual, wire
from tests.apps.ecg.rules import RuleModel


def test_readings_that_are_none_are_refused_and_change_nothing() -> None:
    readings = virtual(12)
    good = readings[6]
    bad = [
        replace(good, rate_hz=None),
        replace(good, rate_hz=50.0),
        replace(good, rate_hz=float("nan")),
        replace(good, values=good.values[:, 0]),
        replace(good, values=good.values, channels=("I", "II")),
        replace(good, values=np.tile(good.values, (1, 2)), channels=("I", "I")),
        replace(good, values=np.tile(good.values, (1, 13)), channels=tuple(f"L{n}" for n in range(13))),
        replace(good, values=good.values[:0]),
        replace(good, values=np.zeros((int(LONGEST_S * 250) + 1, 1))),
        replace(good, values=good.values.astype(str)),
        replace(good, attributes={"first_sample": "x"}),
        readings[3],
    ]
    app, untouched = edge(), edge()
    run(app, readings[:6])
    run(untouched, readings[:6])
    for reading in bad:
        with pytest.raises(ReadingError, match="patient-3"):
            app.process(reading, 0)
    assert run(app, readings[6:]) == run(untouched, readings[6:])


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("gain:20-26", "gain_absurd"),
        ("gap:20-24", "gap"),
        ("gap:20-35", "gap"),
        ("rate:20-60", "rate_changed"),
        ("clock:20-60", "clock_jump"),
    ],
)
def test_faults_are_reported_once_and_the_stream_continues(fault: str, finding: str) -> None:
    readings = virtual(60, faults=fault, rate_hz="360")
    results = run(edge(), readings)
    findings = events(results, "finding", finding=finding)
    assert len(findings) == 1
    assert findings[0].data["text"]
    assert {e.data["finding"] for e in odd(results)} <= {finding, "withheld"}
    assert not [a for a in events(results, "alarm") if a.data["alarm"] != "lead_off"]
    (*_, last) = events(results, "rates")
    assert last.data["heart_rate_bpm"] == pytest.approx(70, abs=12)
    assert last.data["good_share"] == 1.0


@pytest.mark.parametrize("fault", ["saturated", "flat", "missing"])
def test_signal_that_cannot_be_judged_is_withheld(fault: str) -> None:
    results = run(edge(), virtual(60, faults=f"{fault}:20-40"))
    assert events(results, "quality", good=False)
    assert events(results, "finding", finding="withheld")
    assert not [a for a in events(results, "alarm") if a.data["alarm"] != "lead_off"]
    assert events(results, "rates")[4].data["good_share"] > 0.8


def test_swapped_arm_electrodes_are_reported() -> None:
    results = run(edge(), virtual(125, leads="I,II", faults="arms_swapped:0-125"))
    (found,) = odd(results)
    assert (found.data["finding"], found.data["lead"]) == ("leads_swapped", "I")
    assert odd(run(edge(), virtual(125, leads="I,II"))) == []


def test_a_lead_that_inverts_is_reported() -> None:
    results = run(edge(), virtual(190, faults="inverted:60-190"))
    (found,) = odd(results)
    assert (found.data["finding"], found.data["lead"]) == ("lead_inverted", "II")


def test_times_follow_the_samples_until_the_clock_is_set() -> None:
    readings = virtual(40)
    jumped = [
        replace(r, captured_ns=r.captured_ns + (n >= 20) * 3600 * 10**9) for n, r in enumerate(readings)
    ]
    shaken = [replace(r, captured_ns=r.captured_ns + (n % 3) * 10**6) for n, r in enumerate(readings)]
    usual = [e.time_ns for e in events(run(edge(), readings), "rates")]
    assert [e.time_ns for e in events(run(edge(), shaken), "rates")] == usual
    moved = [e.time_ns for e in events(run(edge(), jumped), "rates")]
    assert moved[0] == usual[0]
    assert moved[2] == usual[2] + 3600 * 10**9


def test_a_source_without_numbers_shows_its_gaps_by_its_clock() -> None:
    readings = [replace(r, attributes={}) for r in virtual(40)]
    (gap,) = events(run(edge(), [*readings[:20], *readings[23:]]), "finding", finding="gap")
    assert "3.00 s" in gap.data["text"]


def test_a_new_beginning_ends_episodes_and_keeps_alarms() -> None:
    readings = virtual(40, episodes="VT:20-40")
    halved = [replace(r, values=r.values[::2], rate_hz=125.0, attributes={}) for r in readings[26:]]
    results = run(edge(), [*readings[:26], *halved])
    began, ended = events(results, "rhythm", label="VT")[:2]
    assert (began.data["state"], ended.data["state"]) == ("began", "ended")
    states = events(results, "alarm", alarm="ventricular_tachycardia")
    assert [a.data["state"] for a in states] in (["raised"], ["raised", "latched"])
    assert len({a.data["raised_ns"] for a in states}) == 1


def test_a_model_that_fails_loses_no_event_and_no_beat() -> None:
    readings = virtual(40)
    app = edge(RuleModel(fail_at=(12, 13)))
    results: list[Event | Sample] = []
    failures = 0
    for reading in readings:
        app_state = app.snapshot()
        restored = edge()
        restored.restore(decode_state(encode_state(app_state)))
        try:
            results += [wire(result) for result in app.process(reading, 0)]
        except InferenceError:
            failures += 1
    assert failures == 2
    assert [e.time_ns for e in events(results, "rates")] == [
        e.time_ns for e in events(run(edge(), readings), "rates")
    ]
    rates = events(results, "rates")
    assert sum(r.data["beats"]["Q"] for r in rates) >= 1
    assert events(results, "alarm") == []


def test_events_that_wait_for_a_failed_model_survive_a_restart() -> None:
    readings = virtual(40)
    app, results = edge(RuleModel(fail_at=tuple(range(8, 16)))), []
    for reading in readings:
        try:
            results += app.process(reading, 0)
        except InferenceError:
            state = decode_state(encode_state(app.snapshot()))
            app = edge(RuleModel(fail_at=(0,) if reading.position < 14 else ()))
            app.restore(state)
    assert [e.time_ns for e in events(results, "rates")] == [
        e.time_ns for e in events(run(edge(), readings), "rates")
    ]


def test_beats_keep_their_classes_if_the_rhythm_cannot_be_decided() -> None:
    class NoRhythm(RuleModel):
        def run(self, inputs: Arrays) -> Arrays:
            if len(inputs["rhythm"]):
                raise InferenceError("no rhythm")
            return super().run(inputs)

    app, results = edge(NoRhythm()), []
    readings = virtual(60)
    for reading in readings:
        try:
            results += [wire(result) for result in app.process(reading, 0)]
        except InferenceError:
            continue
    whole = [e.data["beats"] for e in events(run(edge(), readings), "rates")]
    assert [e.data["beats"] for e in events(results, "rates")] == whole

"""The ECG app on the node: events do not depend on the cut of the signal; results of bad input."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.ecg.app import EcgSettings
from apps.ecg.edge.app import LONGEST_S, EcgEdge
from apps.ecg.virtual.patient import open_source
from common.app.edge import Arrays, EdgeContext, Reading, Sample
from common.app.events import fields_of
from common.edge.processing.state import decode_state, encode_state
from common.errors import InferenceError, ReadingError
from common.messages import EVENT_LIMIT_BYTES, Event, Priority, encode_event
from tests.apps.ecg.rules import RuleModel

START_NS = 1_790_000_000_000_000_000
START = "2026-09-21T14:13:20Z"


def edge(model: RuleModel | None = None, **changes: Any) -> EcgEdge:
    return EcgEdge(EdgeContext(EcgSettings(**changes), model or RuleModel()))


def virtual(seconds: float, **parameters: str) -> list[Reading]:
    """Chunks of a second from the virtual patient, with heart rate 70 by default."""
    uri = {
        "seed": "3",
        "rate_hz": "250",
        "heart_rate": "70",
        "pvc": "0",
        "pac": "0",
        "start": START,
        **parameters,
    }
    source = open_source("patient", uri, 0.0)
    found = []
    for reading in source.readings(None):
        if reading.position > seconds:
            break
        found.append(reading)
    return found


def run(app: EcgEdge, readings: Sequence[Reading]) -> list[Any]:
    """Results of the readings, events with their data as on the wire."""
    return [wire(result) for reading in readings for result in app.process(reading, reading.captured_ns)]


Result = TypeVar("Result", Event, Sample, Event | Sample)


def wire(result: Result) -> Result:
    """An event with its data as on the wire; a sample as it is."""
    return msgspec.structs.replace(result, data=fields_of(result)) if isinstance(result, Event) else result


def events(results: Sequence[Event | Sample], kind: str, **data: Any) -> list[Any]:
    """Events of a type and with these data, their data as on the wire."""
    found: list[Any] = [wire(r) for r in results if isinstance(r, Event) and r.type == f"ecg.{kind}"]
    return [r for r in found if all(r.data[k] == v for k, v in data.items())]


def odd(results: list[Event | Sample]) -> list[Any]:
    """Findings but those that are about every such signal."""
    usual = ("leads", "pacing_unseen", "short_signal")
    return [event for event in events(results, "finding") if event.data["finding"] not in usual]


def at_s(event: Event) -> float:
    return (event.time_ns - START_NS) / 1e9


def comparable(result: Event | Sample) -> Any:
    if isinstance(result, Event):
        return result
    return (
        result.subject,
        result.captured_ns,
        dict(result.reasons),
        [a.tobytes() for a in result.arrays.values()],
    )


# ---------------------------------------------------------------------------------- the same, however cut


def eventful(rate_hz: float = 125.0) -> tuple[np.ndarray, tuple[str, ...], float]:
    """50 s of two leads with a run, lost contact, noise, an absurd value, missing samples and a stop."""
    readings = virtual(50, rate_hz=f"{rate_hz:g}", leads="II,V5", episodes="VT:12-18", pvc="10")
    signal = np.concatenate([reading.values for reading in readings]).copy()
    second = int(rate_hz)
    signal[22 * second : 27 * second, 0] = np.nan
    signal[30 * second, 1] = 300.0
    signal[33 * second : 33 * second + 20] = np.nan
    signal[36 * second : 44 * second] = np.random.default_rng(1).normal(0, 0.01, (8 * second, 2))
    return signal, ("II", "V5"), rate_hz


def cut(
    signal: np.ndarray, leads: tuple[str, ...], rate_hz: float, lengths: Sequence[int]
) -> Iterator[Reading]:
    """``signal`` in chunks of ``lengths``, over and over."""
    begin = number = 0
    while begin < len(signal):
        length = lengths[number % len(lengths)]
        captured_ns = START_NS + round(begin / rate_hz * 1e9)
        part = signal[begin : begin + length]
        yield Reading("p-a", captured_ns, number + 1, part, leads, rate_hz, {"first_sample": begin})
        begin, number = begin + length, number + 1


@pytest.fixture(scope="module")
def uncut() -> list[Any]:
    signal, leads, rate_hz = eventful()
    results = run(edge(consent="learning"), list(cut(signal, leads, rate_hz, [1250])))
    types = {r.type for r in results if isinstance(r, Event)} | {
        "sample" for r in results if isinstance(r, Sample)
    }
    assert types >= {"ecg.rates", "ecg.quality", "ecg.rhythm", "ecg.alarm", "ecg.strip", "ecg.finding"}
    return [comparable(r) for r in results]


@settings(max_examples=3)
@given(st.lists(st.integers(60, 1250), min_size=1, max_size=6))
def test_any_chunks_give_the_same_events(uncut: list[Any], lengths: list[int]) -> None:
    app = edge(consent="learning")
    assert [comparable(r) for r in run(app, list(cut(*eventful(), lengths)))] == uncut


def test_chunks_of_one_sample_give_the_same_events(uncut: list[Any]) -> None:
    signal, leads, rate_hz = eventful()
    part = signal[: int(15 * rate_hz)]
    results = run(edge(consent="learning"), list(cut(part, leads, rate_hz, [1])))
    assert len(results) >= 3
    assert [comparable(r) for r in results] == uncut[: len(results)]


@pytest.mark.parametrize("stop", [3, 17, 24, 31, 40])
def test_a_restored_app_goes_on_as_if_nothing_had_happened(uncut: list[Any], stop: int) -> None:
    readings = list(cut(*eventful(), [125]))
    first = edge(consent="learning")
    before = run(first, readings[:stop])
    second = edge(consent="learning")
    second.restore(decode_state(encode_state(first.snapshot())))
    assert [comparable(r) for r in [*before, *run(second, readings[stop:])]] == uncut


# ------------------------------------------------------------------------------------------- what is said


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


# ---------------------------------------------------------------------------------------------- consent


@pytest.mark.parametrize(
    ("consent", "strips", "samples"), [("findings", 0, 0), ("strips", 1, 0), ("learning", 1, 1)]
)
def test_signal_leaves_by_consent_only(consent: str, strips: int, samples: int) -> None:
    results = run(edge(consent=consent), virtual(65, episodes="VT:40-45"))
    assert min(1, len(events(results, "strip"))) == strips
    offered = [r for r in results if isinstance(r, Sample)]
    assert min(1, len(offered)) == samples
    for sample in offered:
        length = 30 * 250
        assert sample.group == sample.subject == "patient-3"
        assert sample.arrays["signal"].shape == (length, 1)
        assert sample.arrays["signal"].dtype == np.int16
        assert len(sample.arrays["peaks"]) == len(sample.arrays["kinds"]) > 20
        assert 0 <= sample.arrays["peaks"].min() < sample.arrays["peaks"].max() < length
        assert all(0 <= score <= 1 for score in sample.reasons.values())


@pytest.mark.parametrize(("rate_hz", "leads"), [(250, "II"), (1000, "12")])
def test_a_strip_is_the_signal_around_its_alarm(rate_hz: int, leads: str) -> None:
    readings = virtual(30, episodes="VT:14-19", rate_hz=str(rate_hz), leads=leads)
    results = run(edge(consent="strips"), readings)
    (raised,) = events(results, "alarm", alarm="ventricular_tachycardia", state="raised")
    (strip,) = events(results, "strip", alarm="ventricular_tachycardia")
    data = strip.data
    assert len(encode_event(strip, source="/s/n", epoch="e", seq=1)) < EVENT_LIMIT_BYTES
    assert (raised.time_ns - data["began_ns"]) / 1e9 == pytest.approx(5.0)
    steps = np.frombuffer(base64.b64decode(data["samples_b64"]), "<i2").reshape(-1, len(data["leads"]))
    assert len(steps) / data["rate_hz"] == pytest.approx(10, abs=0.01)
    assert 250 <= data["rate_hz"] <= 500
    signal = np.concatenate([reading.values for reading in readings])
    begin = round((data["began_ns"] - START_NS) / 1e9 * rate_hz)
    factor = round(rate_hz / data["rate_hz"])
    truth = signal[begin : begin + len(steps) * factor].reshape(len(steps), factor, -1).mean(axis=1)
    assert np.abs(steps * data["lsb_mv"] - truth).max() < 0.006
    assert sum(beat["kind"] == "V" for beat in data["beats"]) >= 3
    assert all(0 <= beat["at_ms"] <= 10_000 for beat in data["beats"])
    assert max(beat["at_ms"] for beat in data["beats"]) > 8_700  # It waits for its last beats.


@pytest.mark.parametrize(
    ("parameters", "alarm", "rhythm"),
    [
        ({"episodes": "VT:14-17"}, "ventricular_tachycardia", "VT"),
        ({"episodes": "AF:10-60"}, "atrial_fibrillation", "AF"),
        ({"noise": "lead_off:10-40"}, "lead_off", "unknown"),
    ],
)
def test_a_strip_has_the_rhythm_of_its_own_time(parameters: dict[str, str], alarm: str, rhythm: str) -> None:
    results = run(edge(consent="strips"), virtual(60, **parameters))
    assert [strip.data["rhythm"] for strip in events(results, "strip", alarm=alarm)] == [rhythm]


def test_a_training_window_includes_a_run_that_has_ended() -> None:
    results = run(edge(consent="learning"), virtual(65, episodes="VT:40-45"))
    rhythms = {
        (r.captured_ns - START_NS) // 10**9: r.attributes["rhythm"] for r in results if isinstance(r, Sample)
    }
    assert rhythms[max(rhythms)] == "VT"


# ------------------------------------------------------------------------------------------- bad input


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


# ------------------------------------------------------------------------------------------------ bounds


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

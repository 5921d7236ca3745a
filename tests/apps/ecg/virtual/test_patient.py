"""The virtual patient repeats itself from any position, and its ground truth is in its signal."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.virtual.patient import open_source, patient_of
from apps.ecg.virtual.traits import VARIANTS
from common.errors import ConfigError, SourceError
from tests.apps.ecg.virtual.patients import RATE_HZ, patient, rr_s, seconds
from tests.waiting import PATIENCE_S


def test_any_position_can_be_taken_up_even_after_weeks() -> None:
    parameters = {
        "seed": "4",
        "leads": "2",
        "pvc": "5",
        "burden": "AF:20,VT:1",
        "noise": "electrode_motion:6",
    }
    whole = list(itertools.islice(open_source("patient", parameters, 0.0).readings(None), 90))
    assert [r.position for r in whole] == list(range(1, 91))
    assert [r.attributes["first_sample"] for r in whole[:3]] == [0, 360, 720]
    for after in (1, 13, 71):
        for found, expected in zip(
            itertools.islice(open_source("patient", parameters, 0.0).readings(after), 15),
            whole[after:],
            strict=False,
        ):
            assert found.position == expected.position
            assert np.array_equal(found.values, expected.values)
    late = 30 * 86400
    first, second = (
        next(open_source("patient", parameters, 0.0).readings(late)),
        next(itertools.islice(open_source("patient", parameters, 0.0).readings(late - 9), 9, None)),
    )
    assert first.position == second.position == late + 1
    assert np.array_equal(first.values, second.values)


@pytest.mark.parametrize("noise", ["", "muscle:6,electrode_motion:0,baseline_wander:3,mains:12"])
def test_chunks_of_any_size_make_the_same_recording(noise: str) -> None:
    who = patient(episodes="AF:5-25,VT:26-29", noise=noise, pvc="5")
    whole = seconds(who, 0, 40)
    parts = [who.signal(first, 97) for first in range(0, 40 * RATE_HZ - 97, 97)]
    assert np.allclose(np.concatenate(parts), whole[: 97 * len(parts)], rtol=0, atol=1e-9)


def test_a_chunk_has_its_metadata() -> None:
    source = open_source("patient", {"seed": "3", "leads": "V2,II", "rate_hz": "250", "chunk_s": "2",
                                     "start": "2026-01-01T00:00:00Z"}, 0.0)  # fmt: skip
    first, second = itertools.islice(source.readings(None), 2)
    assert source.virtual
    assert first.values.shape == (500, 2)
    assert first.values.dtype == np.float64
    assert (first.subject, first.channels, first.rate_hz) == ("patient-3", ("V2", "II"), 250.0)
    assert first.captured_ns == 1_767_225_600_000_000_000
    assert second.captured_ns - first.captured_ns == 2_000_000_000


def test_patients_differ() -> None:
    patients = [patient_of({"seed": str(seed)}) for seed in range(12)]
    signals = np.array([seconds(who, 0, 10)[:, 0] for who in patients])
    assert np.max(np.abs(np.corrcoef(signals) - np.eye(12))) < 0.95
    rates = [60 / rr_s(who, 0, 300).mean() for who in patients]
    assert np.std(rates) > 4
    assert 45 < min(rates) < max(rates) < 105


def test_twelve_leads_are_one_heart() -> None:
    who = patient(leads="12")
    lead = dict(zip(who.leads, seconds(who, 0, 20).T, strict=True))
    assert np.allclose(lead["III"], lead["II"] - lead["I"], atol=0.04)
    assert np.allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=0.04)
    assert lead["V5"].max() > 0.5
    assert lead["V1"].min() < -0.3


@pytest.mark.parametrize("seed", range(6))
def test_true_r_peaks_are_peaks(seed: int) -> None:
    who = patient_of({"seed": str(seed), "pvc": "0", "pac": "0"})
    signal = seconds(who, 0, 60)[:, 0]
    peaks = [beat.sample for beat in who.beats(1, 59)]
    assert len(peaks) > 40
    for peak in peaks:
        around = signal[peak - 72 : peak + 72]
        assert abs(int(np.argmax(around)) - 72) <= 4


def test_ectopic_beats_come_early_and_a_ventricular_pause_compensates() -> None:
    who = patient(pvc="6", pac="6")
    beats = who.heart.beats(0, 1800)
    gaps, usual = np.diff(beats.time_s), np.median(np.diff(beats.time_s))
    alone = [
        k
        for k in range(3, len(beats.kind) - 3)
        if beats.kind[k] in (1, 2) and not beats.kind[k - 2 : k].any() and not beats.kind[k + 1 : k + 3].any()
    ]
    v = np.array([k for k in alone if beats.kind[k] == 2])
    s = np.array([k for k in alone if beats.kind[k] == 1])
    assert len(v) > 30
    assert len(s) > 30
    assert np.all(gaps[v - 1] < 0.85 * usual)
    assert np.all(gaps[s - 1] < 0.95 * usual)
    assert np.mean(gaps[v - 1] + gaps[v]) == pytest.approx(2 * usual, rel=0.03)
    assert np.mean(gaps[s - 1] + gaps[s]) < 1.9 * usual
    assert np.mean(beats.kind == 2) == pytest.approx(0.06, abs=0.02)


def test_scheduled_episodes_are_in_the_truth_and_match_their_names() -> None:
    who = patient(
        episodes="AF:60-180,VT:300-310,pause:400-406,bradycardia:500-600,tachycardia:700-800",
        pvc="0",
        pac="0",
    )
    assert [(s.rhythm, s.began_s, s.ended_s) for s in who.rhythms(0, 900)] == [
        ("sinus", 0, 60), ("AF", 60, 180), ("sinus", 180, 300), ("VT", 300, 310), ("sinus", 310, 400),
        ("pause", 400, 406), ("sinus", 406, 500), ("bradycardia", 500, 600), ("sinus", 600, 700),
        ("tachycardia", 700, 800), ("sinus", 800, 900),
    ]  # fmt: skip
    af, sinus = rr_s(who, 60, 180), rr_s(who, 0, 60)
    assert af.std() / af.mean() > 0.15
    assert sinus.std() / sinus.mean() < 0.1
    assert {beat.kind for beat in who.beats(300, 310)} == {"V"}
    assert 60 / rr_s(who, 300, 310).mean() > 140
    assert [beat.sample for beat in who.beats(400.1, 406)] == []
    assert 60 / rr_s(who, 500, 600).mean() < 50
    assert 60 / rr_s(who, 700, 800).mean() > 115
    every = rr_s(who, 0, 900)
    assert every.min() > 0.25
    assert np.sort(every)[-2] < 3


def test_truth_does_not_depend_on_the_requested_range() -> None:
    who = patient(burden="AF:20,VT:0.5,tachycardia:5", pvc="2")
    whole = list(who.beats(0, 5000))
    parts = [beat for k in range(50) for beat in who.beats(100 * k, 100 * k + 100)]
    assert parts == whole
    spans = list(who.rhythms(0, 20000))
    assert spans[0].began_s == 0
    assert spans[-1].ended_s == 20000
    assert all(a.ended_s == b.began_s and a.rhythm != b.rhythm for a, b in itertools.pairwise(spans))
    assert list(who.rhythms(3000, 9000))[1:-1] == [s for s in spans if s.began_s > 3000 and s.ended_s < 9000]


def test_random_episodes_have_about_their_burden() -> None:
    days = 10
    shares = []
    for seed in range(4):
        who = patient_of({"seed": str(seed), "burden": "AF:20"})
        spans = who.rhythms(0, days * 86400)
        shares.append(sum(s.ended_s - s.began_s for s in spans if s.rhythm == "AF") / (days * 86400))
    assert 0.14 < np.mean(shares) < 0.22


def test_a_rhythm_can_be_injected_while_the_source_runs(tmp_path: Path) -> None:
    file = tmp_path / "rhythm.txt"
    source = open_source("patient", {"seed": "2", "inject": str(file)}, 0.0)
    who = source.patient
    before = [beat.sample for beat in who.beats(0, 99)]
    readings = source.readings(None)
    given = [next(readings) for _ in range(99)]
    file.write_text("100 AF\n# not a line\n150 VT 5\n200 sinus\n")
    assert [(s.rhythm, s.began_s) for s in who.rhythms(0, 250)] == [
        ("sinus", 0), ("AF", 100), ("VT", 150), ("AF", 155), ("sinus", 200)
    ]  # fmt: skip
    assert [beat.sample for beat in who.beats(0, 99)] == before
    again = list(
        itertools.islice(open_source("patient", {"seed": "2", "inject": str(file)}, 0).readings(None), 99)
    )
    for old, new in zip(given, again, strict=True):
        assert np.array_equal(old.values, new.values)
    assert rr_s(who, 101, 149).std() > 2 * rr_s(who, 40, 99).std()


def test_heart_rate_varies_in_the_lf_and_hf_bands() -> None:
    who = patient(pvc="0", pac="0")
    time_s = who.heart.beats(0, 600).time_s
    even = np.interp(np.arange(5, 590, 0.25), time_s[1:], np.diff(time_s))
    power = np.abs(np.fft.rfft((even - even.mean()) * np.hanning(len(even)))) ** 2
    hz = np.fft.rfftfreq(len(even), 0.25)
    lf, hf = (power[(hz >= low) & (hz < high)].mean() for low, high in ((0.04, 0.15), (0.15, 0.4)))
    beyond = power[hz >= 0.45].mean()
    assert lf > 10 * beyond
    assert hf > 10 * beyond
    assert 0.02 < np.diff(time_s).std() < 0.12


def test_qt_follows_the_rate() -> None:
    def t_peak_s(rate: str) -> float:
        who = patient(heart_rate=rate, pvc="0", pac="0", qtc_ms="420")
        signal = seconds(who, 0, 30)[:, 0]
        places = [int(np.argmax(signal[b.sample + 40 : b.sample + 150])) + 40 for b in who.beats(1, 29)]
        return float(np.median(places)) / RATE_HZ

    assert t_peak_s("60") - t_peak_s("100") == pytest.approx(0.3 * (1 - 0.6 ** (1 / 3)), abs=0.025)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_beats_and_af(variant: str) -> None:
    who = patient(variant=variant, episodes="AF:60-180")
    assert np.isfinite(seconds(who, 0, 100)).all()
    assert 60 < len(list(who.beats(60, 180))) < 320


def test_variants_are_hard_where_they_should_be() -> None:
    def variation(variant: str, rhythm: str) -> float:
        gaps = rr_s(patient(variant=variant, rhythm=rhythm, pvc="0", pac="0"), 0, 300)
        return float(gaps.std() / gaps.mean())

    assert variation("slow_af", "AF") < 0.1 < 0.17 < variation("typical", "AF")
    assert variation("respiratory", "sinus") > 0.1 > variation("typical", "sinus")
    wide = patient(variant="aberrant", rhythm="AF").heart.beats(0, 300)
    assert np.mean(wide.shape == 5) > 0.05
    assert set(wide.kind[wide.shape == 5]) == {0}


def test_fibrillation_under_drugs_is_nearly_regular_and_still_called_so() -> None:
    who = patient(episodes="AF:60-180,slow_AF:180-300", pvc="0")
    assert [(span.rhythm, span.ended_s) for span in who.rhythms(60, 300)] == [("AF", 300)]
    usual, slow = (np.diff(who.heart.beats(*span).time_s) for span in ((70, 170), (190, 290)))
    assert np.std(slow) / np.mean(slow) < 0.1 < np.std(usual) / np.mean(usual)
    assert np.mean(slow) > np.mean(usual)
    assert who.heart.fibrillating(np.array([100.0, 250.0, 301.0])).tolist() == [1.0, 1.0, 0.0]


def test_atrial_beats_come_in_runs_and_sinus_rhythm_is_slow_to_come_back() -> None:
    beats = patient(episodes="PAC_runs:0-300").heart.beats(0.0, 300.0)
    atrial, rr = beats.kind == 1, np.diff(beats.time_s)
    runs = [len(list(run)) for early, run in itertools.groupby(atrial) if early]
    assert 0.3 < np.mean(atrial) < 0.8
    assert max(runs) > 3
    usual = np.median(rr[~atrial[1:] & ~atrial[:-1]])
    assert np.median(rr[atrial[1:]]) < 0.85 * usual
    assert np.median(rr[atrial[:-1] & ~atrial[1:]]) > usual
    assert [span.rhythm for span in patient(episodes="PAC_runs:0-300").heart.spans(0.0, 300.0)] == ["sinus"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"seed": "x"},
        {"rate_hz": "50"},
        {"rate_hz": "nan"},
        {"leads": "13"},
        {"leads": "II,XX"},
        {"rhythm": "pause"},
        {"rhythm": "waltz"},
        {"episodes": "AF:60"},
        {"episodes": "AF:180-60"},
        {"episodes": "waltz:1-2"},
        {"burden": "AF:200"},
        {"variant": "martian"},
        {"noise": "muscle"},
        {"noise": "hiss:3"},
        {"noise": "lead_off:3"},
        {"noise": "muscle:6@V6"},
        {"faults": "melted:1-2"},
        {"heart_rate": "900"},
        {"chunk_s": "0"},
        {"start": "yesterday"},
        {"colour": "red"},
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, str]) -> None:
    (name,) = parameters
    with pytest.raises(ConfigError, match=name):
        open_source("patient", parameters, 0.0)


def test_another_kind_is_refused() -> None:
    with pytest.raises(SourceError, match="patient"):
        open_source("dog", {}, 0.0)


def test_real_time_keeps_its_pace_and_close_ends_it() -> None:
    source = open_source("patient", {"chunk_s": "0.5"}, 10.0)
    began = time.monotonic()
    list(itertools.islice(source.readings(None), 7))
    assert time.monotonic() - began > 0.25
    slow = open_source("patient", {"chunk_s": "60"}, 1.0)
    first = threading.Event()
    taken: list[int] = []

    def take() -> None:
        for reading in slow.readings(None):
            taken.append(reading.position)
            first.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert first.wait(PATIENCE_S)
    slow.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert taken == [1]


def test_in_real_time_the_first_chunk_is_over_when_it_is_given() -> None:
    reading = next(open_source("patient", {}, 1.0).readings(None))
    assert abs(time.time_ns() - 1_000_000_000 - reading.captured_ns) < 800_000_000


def test_the_beats_are_like_those_of_neurokit() -> None:
    """neurokit2 finds our beats, and its own generator's average beat is like ours."""
    neurokit = pytest.importorskip("neurokit2", reason="neurokit2 is not installed")
    who = patient_of({"seed": "6", "heart_rate": "70", "pvc": "0", "pac": "0"})
    ours = seconds(who, 0, 60)[:, 0]
    theirs = neurokit.ecg_simulate(duration=10, sampling_rate=RATE_HZ, heart_rate=70, noise=0, random_state=1)

    found = neurokit.ecg_peaks(neurokit.ecg_clean(ours, RATE_HZ), RATE_HZ)[1]["ECG_R_Peaks"]
    true = np.array([beat.sample for beat in who.beats(0.5, 59.5)])
    distances = np.abs(true[:, np.newaxis] - found).min(axis=1)
    assert np.mean(distances <= 0.03 * RATE_HZ) > 0.98
    assert abs(len(found) - len(true)) <= 3

    def average(signal: np.ndarray, peaks: np.ndarray) -> np.ndarray:
        inner = [p for p in peaks if 100 < p < len(signal) - 160]
        mean = np.mean([signal[p - 80 : p + 140] for p in inner], axis=0)
        return mean - np.median(mean)

    their_peaks = neurokit.ecg_peaks(neurokit.ecg_clean(theirs, RATE_HZ), RATE_HZ)[1]["ECG_R_Peaks"]
    assert np.corrcoef(average(ours, true), average(theirs, their_peaks))[0, 1] > 0.75

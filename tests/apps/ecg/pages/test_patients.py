"""The pages' rows, words, charts and reviews, from what the API gives."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from apps.ecg.cloud import formatting
from apps.ecg.cloud.reviews import Review
from apps.ecg.pages import charts, day_rows
from apps.ecg.pages.label_form import labels_of, strip_of
from apps.ecg.pages.patients import patient_row
from apps.ecg.pages.review_desk import beat_counts, review_of, rhythm_of, verdict
from apps.ecg.pages.strip_view import shown_beats, strip_props

S = 10**9


def patient(**more: Any) -> dict[str, Any]:
    return {
        "patient": "p-a", "site": "ward", "node": "bed 1/a", "version": "v1", "virtual": True, "first_ns": 1,
        "last_ns": 5, "heart_rate_bpm": 71.6, "rhythm": "AF", "good_share": 1.0, "open_alarms": 2,
        "unreviewed_strips": 3, "day": "2026-11-16", "af_burden_percent": 8.33,
    } | more  # fmt: skip


def beat(at_ms: float, kind: str = "N", probability: float | None = 0.9) -> dict[str, Any]:
    return {"at_ms": at_ms, "kind": kind, "probability": probability}


def strip(**more: Any) -> dict[str, Any]:
    samples = np.zeros((500, 1), "<i2").tobytes()
    return {
        "id": "p-a.7", "patient": "p-a", "began_ns": 7 * S, "ended_ns": 9 * S, "rate_hz": 250.0,
        "leads": ["II"], "lsb_mv": 0.005, "alarm": "pause", "priority": "medium", "rhythm": "sinus",
        "version": "v1", "beats": [beat(100), beat(900.5, "V")], "reviewed_ns": None, "reviewed_by": "",
        "verdict": "", "true_beats": None, "true_rhythm": "", "note": "", "reason": 1.5, "time_quality": "",
        "samples_b64": base64.b64encode(samples).decode(),
    } | more  # fmt: skip


def test_a_patient_is_a_row_with_rhythm_alarms_and_burden() -> None:
    row = patient_row(patient())
    assert (row["rhythm"], row["rhythm_tone"], row["rate"]) == ("Atrial fibrillation", "warn", "72 bpm")
    assert (row["alarms"], row["burden_text"], row["virtual"]) == ("2 open", "8.3 %", "virtual")
    assert row["node_href"] == "/ui/nodes/bed%201%2Fa"


def test_a_patient_without_signal_is_shown_without_a_guess() -> None:
    row = patient_row(patient(heart_rate_bpm=None, rhythm="unknown", af_burden_percent=None, open_alarms=0))
    assert (row["rhythm"], row["rate"], row["burden"], row["alarms"]) == (
        "Unknown",
        formatting.NONE,
        None,
        "",
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 s"),
        (9.97, "10 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (599.7, "10 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_spans_in_words(seconds: float, text: str) -> None:
    assert formatting.span(seconds) == text


def test_small_shares_are_not_rounded_to_nothing() -> None:
    assert [formatting.percent(value) for value in (0.0, 0.01, 0.31, 42.4, None)] == [
        "0 %", "< 0.1 %", "0.3 %", "42 %", formatting.NONE,
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- a day


def totals(began_ns: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "began_ns": began_ns, "monitored_s": 3600.0, "withheld_s": 720.0, "heart_rate_bpm": 70.2,
        "min_bpm": 51.0, "max_bpm": 132.0, "beats": {"N": 950, "S": 20, "V": 30, "F": 0, "Q": 0},
        "v_percent": 3.0, "s_percent": 2.0, "af_burden_percent": 10.0, "time_quality": "",
    } | more  # fmt: skip


def test_a_past_day_shows_no_current_state() -> None:
    day = {"totals": totals(), "day": "2026-11-15", "episodes": [], "alarms": []}
    tiles = day_rows.tiles(patient(), day)
    assert tiles["Open alarms"][0] == formatting.NONE
    assert tiles["Rhythm"][0] == "0 episodes"
    assert tiles["Ectopic beats"] == ("50", "30 V (3.0 %), 20 S (2.0 %)")
    assert tiles["Signal"][1:] == ("20 % withheld (bad signal)", "warn")
    now = day_rows.tiles(patient(), day | {"day": "2026-11-16"})
    assert (now["Open alarms"][0], now["Rhythm"][0]) == ("2", "Atrial fibrillation")


def test_an_alarm_leads_to_the_strip_around_it() -> None:
    alarm = {
        "alarm": "pause", "priority": "medium", "state": "latched", "raised_ns": 8 * S, "ended_ns": 70 * S,
        "delay_s": 0.0, "value": 3.1, "limit": 3.0, "text": "No beat", "time_quality": "",
    }  # fmt: skip
    row = day_rows.alarm_row(alarm, [strip(id="p-a.5", alarm="asystole"), strip()])
    assert (row["strip_href"], row["lasting"]) == ("/ui/apps/ecg/strips/p-a.7", "1 min 2 s")
    assert day_rows.alarm_row(alarm | {"raised_ns": 10 * S}, [strip()])["strip"] == ""


def point(at_s: int, bpm: float | None = 60.0, good: float = 1.0) -> dict[str, Any]:
    lower, upper = (None, None) if bpm is None else (bpm - 5, bpm + 5)
    return {
        "at_ns": at_s * S, "seconds": 60.0, "heart_rate_bpm": bpm, "min_bpm": lower, "max_bpm": upper,
        "v": 0, "s": 0, "good_share": good, "af_share": 0.0,
    }  # fmt: skip


def episode(label: str, began_s: float, ended_s: float | None) -> dict[str, Any]:
    return {"label": label, "began_ns": round(began_s * S), "ended_ns": ended_s and round(ended_s * S)}


def test_no_line_crosses_a_gap_of_the_trend() -> None:
    rate = charts.trend([point(0), point(60), point(600)], 60, [], [])["series"][2]["data"]
    assert [value for _, value in rate] == [60.0, 60.0, None, 60.0]


def test_rhythms_are_bands_on_the_trend_cut_to_its_span_and_never_too_thin_to_see() -> None:
    points = [point(60 * minute) for minute in range(10, 100)]
    episodes = [episode("AF", 0, 1200), episode("VT", 2000, 2001), episode("AF", 5000, None)]
    episodes.append(episode("pause", 10, 12))
    bands = charts.trend(points, 60, episodes, [])["series"][2]["markArea"]["data"]
    spans = [(begin["xAxis"] / 1000, end["xAxis"] / 1000) for begin, end in bands]
    assert [spans[0], spans[2]] == [(600.0, 1200.0), (5000.0, 6000.0)]
    assert spans[1][1] - spans[1][0] == pytest.approx(5400 / 400)
    assert len(spans) == 3


def test_stretches_without_good_signal_are_drawn_as_withheld_and_joined() -> None:
    points = [point(0), point(60, None, 0.1), point(120, None, 0.2), point(180)]
    (band,) = charts.trend(points, 60, [], [])["series"][2]["markArea"]["data"]
    assert (band[0]["name"], band[0]["xAxis"], band[1]["xAxis"]) == ("withheld", 60_000, 180_000)


def test_hours_without_anything_stay_empty_bars() -> None:
    hours = [totals(0), totals(3 * 3600 * S, v_percent=None)]
    drawn = charts.ectopy(hours)
    assert drawn["xAxis"]["data"] == ["00:00", "01:00", "02:00", "03:00"]
    assert drawn["series"][0]["data"] == [3.0, None, None, None]
    assert charts.fibrillation([])["series"][0]["data"] == []


# -------------------------------------------------------------------------------------------- strips


def test_a_strip_is_confirmed_where_nothing_was_changed() -> None:
    shown = [{"at_ms": 100, "kind": "N"}, {"at_ms": 900.5, "kind": "V"}]
    body = review_of(strip(), shown, "sinus", "fine")
    assert body == {"verdict": "confirmed", "note": "fine"}
    assert review_of(strip(rhythm="unknown"), shown, None, "")["verdict"] == "confirmed"


@pytest.mark.parametrize(
    ("beats", "rhythm"),
    [
        ([{"at_ms": 100, "kind": "N"}, {"at_ms": 900.5, "kind": "S"}], "sinus"),
        ([{"at_ms": 100, "kind": "N"}], "sinus"),
        ([{"at_ms": 100, "kind": "N"}, {"at_ms": 900.5, "kind": "V"}], "AF"),
        ([{"at_ms": 100, "kind": "N"}, {"at_ms": 900.5, "kind": "V"}], None),
    ],
)
def test_what_was_changed_is_a_correction_that_the_route_takes(beats: list[Any], rhythm: str | None) -> None:
    review = Review(**review_of(strip(), beats, rhythm, ""))
    assert (review.verdict, review.rhythm) == ("corrected", rhythm)
    assert [each.model_dump() for each in review.beats or []] == beats


def test_a_corrected_strip_shows_the_review_beside_the_decision_of_the_edge() -> None:
    true = [{"at_ms": 900.5, "kind": "S"}, {"at_ms": 1500.0, "kind": "N"}]
    shown = shown_beats(strip()["beats"], true)
    assert [(each["kind"], each["edge"]) for each in shown] == [("S", "V"), ("N", "-")]
    assert rhythm_of(strip(true_rhythm="AF")) == "AF"
    assert rhythm_of(strip(rhythm="unknown")) is None
    shown = verdict(strip(reviewed_ns=5, reviewed_by="Ada", verdict="corrected"))
    assert shown == ("corrected by Ada", "good")


def test_a_strips_drawing_and_its_samples_go_to_the_browser() -> None:
    props = strip_props(strip())
    assert props["seconds"] == 2.0
    assert props["svg"].startswith("<svg")
    assert props["about"] == "II, 2.0 s from 1970-01-01 00:00:07 UTC"
    assert beat_counts(props) == "1 N, 1 V"
    with pytest.raises(ValueError, match="not base64"):
        strip_props(strip(samples_b64="%%"))


# ----------------------------------------------------------------------------------------- labels


def sample(**more: Any) -> dict[str, Any]:
    attributes = {"rate_hz": 360.0, "lsb_mv": 0.005, "began_ns": 7 * S, "lead": "MLII", "rhythm": "AF"} | more
    return {"id": "abc", "subject": "p-a", "group": "p-a", "attributes": attributes}


CONTENT = {"arrays": {"signal": [[0]] * 719 + [[200]], "peaks": [90, 360], "kinds": [0, 2], "rhythm_p": []}}


def test_a_sample_is_drawn_as_a_strip_and_labelled_like_one() -> None:
    drawn = strip_of(sample(), CONTENT)
    assert (strip_props(drawn)["seconds"], drawn["ended_ns"]) == (2.0, 9 * S)
    assert [(each["at_ms"], each["kind"]) for each in drawn["beats"]] == [(250.0, "N"), (1000.0, "V")]
    beats, rhythm = labels_of(sample(), drawn, [{"at_ms": 250.0, "kind": "S"}], "sinus")
    assert beats["body"] == {
        "sample": "abc", "began_ns": 7 * S, "ended_ns": 9 * S, "beats": [{"at_ms": 250.0, "kind": "S"}],
    }  # fmt: skip
    assert (rhythm["kind"], rhythm["body"]["rhythm"], rhythm["subject"]) == ("rhythm", "sinus", "p-a")
    assert len(labels_of(sample(), drawn, [], None)) == 1


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ({"rate_hz": 0}, CONTENT),
        ({"rate_hz": "fast"}, CONTENT),
        ({}, {"arrays": {}}),
        ({}, {"arrays": CONTENT["arrays"] | {"kinds": [0, 9]}}),
        ({}, {"arrays": CONTENT["arrays"] | {"kinds": [0]}}),
        ({}, {"arrays": CONTENT["arrays"] | {"signal": []}}),
        ({}, {"arrays": CONTENT["arrays"] | {"signal": [[1e9]]}}),
    ],
)
def test_a_sample_that_is_no_strip_is_refused(attributes: Any, content: Any) -> None:
    with pytest.raises(ValueError, match="not a sample of the ECG app"):
        strip_of(sample(**attributes), content)

"""Clinicians' labels of strips as training examples: confirmed, removed and added beats."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest

from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.peaks import RPeaks
from apps.ecg.edge.ring import LSB_MV
from apps.ecg.training.corrections import strips_of
from apps.ecg.training.evaluation import Scorer, fleet_slices
from apps.ecg.training.examples import UNKNOWN, Examples, rhythm_rows, virtual_recording
from apps.ecg.training.full_recipe import beat_counts
from apps.ecg.training.scoring import NOTHING
from common.app.edge import Sample
from common.app.training import Label, LabelledSample

S = 10**9
BEGAN_NS = 1_790_000_000 * S
Q = KINDS.index("Q")


@cache
def window() -> Sample:
    """30 s of a virtual patient as a device sends them."""
    recording = virtual_recording({"seed": "31", "heart_rate": "80", "pvc": "5"}, 30.0)
    peaks = RPeaks(recording.rate_hz).push(recording.signal_mv[:, 0])
    return Sample(
        subject="p-a",
        group="p-a",
        captured_ns=BEGAN_NS + 30 * S,
        reasons={"low_margin": 1.0},
        arrays={
            "signal": np.rint(recording.signal_mv[:, :1] / LSB_MV).astype(np.int16),
            "peaks": peaks.astype(np.int32),
            "kinds": np.zeros(len(peaks), np.uint8),
        },
        attributes={"rate_hz": recording.rate_hz, "lsb_mv": LSB_MV, "began_ns": BEGAN_NS, "lead": "II"},
    )


def peaks_s() -> np.ndarray:
    return window().arrays["peaks"] / window().attributes["rate_hz"]


def beats(from_s: float, to_s: float, at_s: list[float], kind: str = "N", **more: Any) -> Label:
    """A label of a strip between two times of the window, with beats at these times of the window."""
    body = {
        "began_ns": BEGAN_NS + round(from_s * S),
        "ended_ns": BEGAN_NS + round(to_s * S),
        "beats": [{"at_ms": 1e3 * (at - from_s), "kind": kind} for at in at_s],
    }
    return label("beats", body, **more)


def rhythm(from_s: float, to_s: float, name: str, **more: Any) -> Label:
    span = {"began_ns": BEGAN_NS + round(from_s * S), "ended_ns": BEGAN_NS + round(to_s * S)}
    return label("rhythm", span | {"rhythm": name}, **more)


def label(kind: str, body: dict[str, Any], at: int = 1) -> Label:
    return Label("ecg", "p-a", "p-a", kind, body, "person:a", at)


def strip(*labels: Label) -> Examples:
    found, refused = strips_of([LabelledSample("d", window(), labels, held_out=False)])
    assert not refused
    return found[0]


def seen(from_s: float, to_s: float) -> np.ndarray:
    """Times of the peaks between two times."""
    return peaks_s()[(peaks_s() >= from_s) & (peaks_s() < to_s)]


def test_beats_outside_of_what_was_seen_are_unknown() -> None:
    found = strip(beats(10, 20, list(seen(10, 20)), "V"))
    inside = np.isin(found.rows.samples, np.rint(seen(10, 20) * found.rate_hz))
    assert np.all(found.kinds[inside] == KINDS.index("V"))
    assert np.all(found.kinds[~inside] == UNKNOWN)
    assert 5 < inside.sum() < len(inside) - 10
    assert not found.extra.any()
    assert not len(found.missed)


def test_the_rhythm_is_known_where_it_is_labelled() -> None:
    found = strip(rhythm(10, 20, "AF"))
    rows, af = rhythm_rows(found, np.zeros(len(found.rows), np.int64))
    began_s = rows.began / found.rate_hz
    inside = (began_s >= 10) & (began_s < 20)
    assert set(af[inside]) == {1}
    assert set(af[~inside]) == {UNKNOWN}
    assert np.all(found.kinds == UNKNOWN)


@pytest.mark.parametrize("name", ["VT", "pause"])
def test_a_run_or_a_pause_is_no_label_of_fibrillation(name: str) -> None:
    found = strip(rhythm(0, 30, name), beats(0, 30, list(peaks_s())))
    assert set(rhythm_rows(found, np.zeros(len(found.rows), np.int64))[1]) == {UNKNOWN}


def test_a_removed_beat_is_no_beat_in_training_and_false_in_evaluation() -> None:
    named = seen(10, 20)
    gone = round(named[4] * window().attributes["rate_hz"])
    found = strip(beats(10, 20, [*named[:4], *named[5:]]))
    at = int(np.flatnonzero(found.rows.samples == gone)[0])
    assert found.kinds[at] == Q
    assert np.flatnonzero(found.extra).tolist() == [at]
    counts = beat_counts(found, np.zeros(len(found.rows), np.int64))
    assert counts[NOTHING, 0] == 1
    assert counts[:NOTHING].sum() == len(named) - 1


def test_an_added_beat_is_missed_and_the_others_stay_what_they_are() -> None:
    named = seen(10, 20)
    before = strip(beats(10, 20, list(named)))
    added = float(named[4] + named[5]) / 2
    after = strip(beats(10, 20, sorted([*named, added])))
    assert np.array_equal(after.kinds, before.kinds)
    assert after.missed.tolist() == [0]
    counts = beat_counts(after, np.zeros(len(after.rows), np.int64))
    assert counts[0, NOTHING] == 1
    assert counts[0, 0] == len(named)


def test_an_added_beat_lowers_the_score_of_its_patient_only() -> None:
    named = seen(10, 20)
    added = sorted([*named, float(named[4] + named[5]) / 2])

    class AllNormal:
        limits = type("Limits", (), {"af_on": 0.6, "af_off": 0.4})

        def __call__(self, one: Examples) -> Any:
            zeros = np.zeros(len(one.rows), np.int64)
            rows, af = rhythm_rows(one, zeros)
            return type("Scored", (), {"kinds": zeros, "af": af, "rhythm_p": np.zeros(len(rows))})

    before, after = (
        fleet_slices(
            cast(Scorer, AllNormal()),
            strips_of([LabelledSample("d", window(), [beats(10, 20, list(at))], held_out=True)])[0],
        )
        for at in (named, added)
    )
    assert {name for name in before if after[name] != before[name]} == {"patient:p-a"}
    assert after["patient:p-a"].value == pytest.approx(len(named) / (len(named) + 1))


def test_a_moved_beat_is_the_same_one() -> None:
    named = seen(10, 20)
    found = strip(beats(10, 20, [float(at) + 0.08 for at in named[:-1]], "S"))
    assert np.sum(found.kinds == KINDS.index("S")) == len(named) - 1
    assert not len(found.missed)


def test_a_beat_at_the_border_of_a_strip_is_not_taken_as_removed() -> None:
    border = float(seen(10, 20)[-1]) + 0.05
    found = strip(beats(10, border, list(seen(10, 20)[:-1])))
    assert not found.extra.any()


def test_training_uses_all_strips_of_a_window_with_their_newest_reviews() -> None:
    first, second = list(seen(5, 12)), list(seen(14, 22))
    found = strip(
        beats(5, 12, first, "S", at=1), beats(14, 22, second, "V", at=2), beats(5, 12, first, "N", at=3)
    )
    counts = {k: int(np.sum(found.kinds == KINDS.index(k))) for k in "NSV"}
    assert counts == {"N": len(first), "S": 0, "V": len(second)}


def test_training_leaves_out_unreadable_strips() -> None:
    span = {"began_ns": BEGAN_NS + 10 * S, "ended_ns": BEGAN_NS + 20 * S}
    labels = [beats(10, 20, list(seen(10, 20)), at=1), label("unreadable", span, at=2)]
    assert strips_of([LabelledSample("d", window(), labels, held_out=False)]) == ([], [])


def test_an_invalid_label_is_reported() -> None:
    broken = label("beats", {"began_ns": BEGAN_NS, "ended_ns": BEGAN_NS + S, "beats": [{"at": 3}]})
    found, refused = strips_of([LabelledSample("d", window(), [broken], held_out=False)])
    assert not found
    assert "at_ms" in refused[0]

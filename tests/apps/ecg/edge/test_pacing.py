"""Pacing spikes: found where they are visible, and no beats; reported where they are not visible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from apps.ecg.edge.pacing import SpikeFilter, are_pacing, pacing_limit, spikes_in, without_spikes
from common.app.edge import Reading
from common.app.events import fields_of
from common.messages import Event
from tests.apps.ecg.edge.streams import edge, events, run, virtual

BEATS_UNTIL_S, EVERY_S = 20, 0.857


def paced(
    rate_hz: int, height_mv: float, width_ms: float, *, beats_until_s: float = BEATS_UNTIL_S
) -> list[Reading]:
    """50 s of a paced patient whose heart follows no spike from ``beats_until_s`` on, behind a recorder."""
    readings = virtual(50, rate_hz="1000", seed="5")
    signal = np.concatenate([reading.values[:, 0] for reading in readings])
    rng = np.random.default_rng(2)
    still = int(beats_until_s * 1000)
    signal[still:] = 0.02 * np.sin(np.arange(len(signal) - still) / 400) + rng.normal(
        0, 0.01, len(signal) - still
    )
    fine = np.repeat(signal, 10)
    for k in range(int(50 / EVERY_S)):
        at = round((0.3 + k * EVERY_S) * 10_000)
        fine[at : at + round(10 * width_ms)] += height_mv
    recorded = resample_poly(fine, 1, 10_000 // rate_hz)
    return [
        replace(
            r,
            values=recorded[n * rate_hz : (n + 1) * rate_hz, np.newaxis],
            rate_hz=float(rate_hz),
            attributes={},
        )
        for n, r in enumerate(readings)
    ]


@pytest.mark.parametrize(
    ("rate_hz", "height_mv", "width_ms"),
    [
        (1000, 2.5, 2.0),
        (1000, -2.5, 1.0),
        (1000, 0.5, 2.0),
        (1000, 5.0, 0.5),
        (500, 2.5, 2.0),
        (500, 1.0, 1.0),
    ],
)
def test_spikes_without_capture_are_a_standstill(rate_hz: int, height_mv: float, width_ms: float) -> None:
    results = run(edge(), paced(rate_hz, height_mv, width_ms))
    (raised,) = events(results, "alarm", alarm="asystole", state="raised")
    assert 4 <= (raised.time_ns - virtual(1)[0].captured_ns) / 1e9 - BEATS_UNTIL_S < 8
    findings = events(results, "finding", finding="pacing_no_capture")
    assert findings
    assert "pacing spikes" in findings[-1].data["text"]
    late = events(results, "rates")[2:]
    assert all(sum(e.data["beats"].values()) == 0 and e.data["heart_rate_bpm"] is None for e in late)
    assert all(e.data["pacing_spikes"] >= 10 for e in late)


def test_below_500_hz_or_behind_a_filter_invisible_spikes_are_reported() -> None:
    assert pacing_limit(1000.0, None) is None
    assert pacing_limit(500.0, 150.0) is None
    assert "at 360 Hz" in str(pacing_limit(360.0, None))
    assert "40 Hz low-pass" in str(pacing_limit(1000.0, 40.0))
    (finding,) = events(run(edge(), virtual(3)), "finding")
    assert finding.data["finding"] == "pacing_unseen"
    fast = virtual(3, rate_hz="500")
    assert events(run(edge(), fast), "finding") == []
    filtered = [replace(r, attributes={**r.attributes, "low_pass_hz": 35.0}) for r in fast]
    assert "35 Hz" in events(run(edge(), filtered), "finding")[0].data["text"]


def test_no_spike_is_seen_in_beats_and_noise_makes_no_pacemaker() -> None:
    for rate_hz in ("500", "1000"):
        for reading in virtual(60, rate_hz=rate_hz, pvc="20"):
            assert spikes_in(reading.values[:, 0], float(rate_hz)) == []
    for rate_hz in ("500", "1000"):
        readings = virtual(60, rate_hz=rate_hz, leads="II,V2", pvc="20", noise="muscle:12")
        for lead in (0, 1):
            signal = np.concatenate([reading.values[:, lead] for reading in readings])
            assert len(spikes_in(signal, float(rate_hz))) <= 60
        assert not [
            r
            for r in run(edge(), readings)
            if isinstance(r, Event) and "pacing" in str(fields_of(r).get("finding"))
        ]
    times = [100, 905, 1702, 2500, 3301]
    assert are_pacing(list(zip(times, (1.0, 1.1, 0.9, -1.0, 1.2), strict=True)), 10)
    assert are_pacing([(at + both, 1.0) for at in times for both in (0, 150)], 10)
    assert not are_pacing(list(zip(times, (0.3, 2.0, 0.9, 5.0, 0.2), strict=True)), 10)
    assert not are_pacing([(at, 1.0) for at in (100, 230, 1702, 2500, 4301)], 10)
    assert not are_pacing([(10 * at, 1.0) for at in range(100)], 10)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_what_is_cleaned_does_not_depend_on_chunks(lengths: list[int]) -> None:
    rng = np.random.default_rng(7)
    signal = rng.normal(0, 0.02, 3000)
    for at in range(100, 3000, 331):
        signal[at : at + 2] += 3.0
    signal[1500:1520] = np.nan
    whole, part = SpikeFilter(1000.0), SpikeFilter(1000.0)
    cleaned, whole_spikes = whole.push(signal)
    pieces, spikes_in_parts, begin = [], [], 0
    for number in range(len(signal)):
        if begin >= len(signal):
            break
        length = lengths[number % len(lengths)]
        piece, spikes = part.push(signal[begin : begin + length])
        pieces.append(piece)
        spikes_in_parts += spikes
        begin += length
    assert np.array_equal(np.concatenate(pieces), cleaned, equal_nan=True)
    assert spikes_in_parts == whole_spikes
    assert [at for at, _ in whole_spikes] == list(range(100, 2950, 331))
    both = np.concatenate([cleaned, whole.finish()])
    assert np.array_equal(both, without_spikes(signal, 1000.0), equal_nan=True)
    assert np.nanmax(np.abs(both)) < 0.5

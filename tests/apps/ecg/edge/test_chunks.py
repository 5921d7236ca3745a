"""Events depend neither on the cut of the signal nor on a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.app.edge import Reading, Sample
from common.edge.processing.state import decode_state, encode_state
from common.messages import Event
from tests.apps.ecg.edge.streams import START_NS, edge, run, virtual


def comparable(result: Event | Sample) -> Any:
    if isinstance(result, Event):
        return result
    return (
        result.subject,
        result.captured_ns,
        dict(result.reasons),
        [a.tobytes() for a in result.arrays.values()],
    )


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

"""Episodes: what begins them, what ends them, and what bad signal does to them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ecg.edge.episodes import AF_CONFIRM, SURE_P, EpisodeChange, EpisodeLimits, Episodes
from common.edge.processing.state import decode_state, encode_state

RATE_HZ = 360.0


class Heart:
    """Gives beats to `Episodes` one after the other."""

    def __init__(self, **limits: Any) -> None:
        self.episodes = Episodes(RATE_HZ, EpisodeLimits(**limits))
        self.at_s = 0.0

    @property
    def sample(self) -> int:
        return round(self.at_s * RATE_HZ)

    def beats(self, kinds: str, rr_s: float, probability: float = 1.0) -> list[EpisodeChange]:
        changes: list[EpisodeChange] = []
        for kind in kinds:
            self.at_s += rr_s
            changes += self.episodes.wait(self.sample - 1)
            changes += self.episodes.beat(self.sample, kind, probability)
        return changes


def transitions(changes: Iterable[EpisodeChange]) -> list[tuple[str, str]]:
    return [(change.label, "began" if change.ended is None else "ended") for change in changes]


def test_three_fast_ventricular_beats_are_a_run() -> None:
    heart = Heart()
    assert heart.beats("NNNNVVNVV", 0.5) == []
    (began,) = heart.beats("V", 0.5)
    assert transitions([began]) == [("VT", "began")]
    assert began.began == round(8 * 0.5 * RATE_HZ)
    assert began.beats == 3
    assert began.heart_rate_bpm == pytest.approx(120)
    (ended,) = heart.beats("VVNN", 0.5)
    assert transitions([ended]) == [("VT", "ended")]
    assert ended.began == began.began
    assert ended.ended == round(12 * 0.5 * RATE_HZ)


def test_episodes_of_a_span_are_known_after_they_are_over() -> None:
    heart = Heart()
    heart.beats("NNNNVVVVNNNN", 0.5)
    heart.episodes.restore(decode_state(encode_state(heart.episodes.snapshot())))
    at = [round(second * RATE_HZ) for second in (0, 2, 3, 4.1, 6)]
    spans = [heart.episodes.during(begin, end) for begin, end in pairwise(at)]
    assert spans == [(), ("VT",), ("VT",), ()]
    assert heart.episodes.going_on == ()


def test_a_run_of_which_the_model_is_not_sure_is_none() -> None:
    heart = Heart()
    assert heart.beats("VVVV", 0.5, SURE_P - 0.1) == []
    heart.episodes.restore(decode_state(encode_state(heart.episodes.snapshot())))
    assert transitions(heart.beats("VV", 0.5, SURE_P + 0.1)) == [("VT", "began")], (
        "the mean of the last three"
    )


def test_slow_ventricular_beats_are_no_tachycardia() -> None:
    assert "VT" not in dict(transitions(Heart().beats("V" * 20, 0.9)))


def test_one_doubtful_beat_does_not_split_a_run_and_bigeminy_does_not_prolong_it() -> None:
    heart = Heart()
    changes = heart.beats("NNVVVVNVVVV", 0.4)
    assert transitions(changes) == [("VT", "began")]
    assert transitions(heart.beats("NVN", 0.4)) == [("VT", "ended")]
    assert heart.beats("VNVNVN", 0.4) == []


def test_the_length_of_a_run_can_be_set() -> None:
    heart = Heart(vt_beats=5)
    assert heart.beats("NVVVV", 0.4) == []
    assert transitions(heart.beats("V", 0.4)) == [("VT", "began")]


def test_a_pause_is_known_when_it_has_lasted_and_ends_with_the_next_beat() -> None:
    heart = Heart()
    heart.beats("NNN", 0.8)
    last = heart.sample
    assert heart.episodes.wait(last + round(1.99 * RATE_HZ)) == []
    (began,) = heart.episodes.wait(last + round(2.0 * RATE_HZ))
    assert transitions([began]) == [("pause", "began")]
    assert began.began == last
    assert heart.episodes.wait(last + round(2.5 * RATE_HZ)) == []
    (ended,) = heart.beats("N", 2.8)
    assert (ended.label, ended.began, ended.ended) == ("pause", last, heart.sample)


def test_bad_signal_is_no_pause_and_ends_a_run() -> None:
    heart = Heart()
    assert transitions(heart.beats("NVVV", 0.4)) == [("VT", "began")]
    assert transitions(heart.episodes.withhold(heart.sample + 10)) == [("VT", "ended")]
    assert heart.episodes.wait(heart.sample + 10_000) == []
    assert heart.beats("VV", 0.4) == [], "a run does not go on across what was not seen"
    assert heart.episodes.heart_rate_bpm is None


def test_rates_need_time_and_have_hysteresis() -> None:
    heart = Heart()
    heart.beats("N" * 20, 0.8)
    assert heart.beats("N" * 20, 0.45) == [], "not for long enough yet"
    assert transitions(heart.beats("N" * 20, 0.45)) == [("tachycardia", "began")]
    assert heart.beats("N" * 40, 60 / 117) == [], "117 bpm is under the limit, but not by the hysteresis"
    assert transitions(heart.beats("N" * 40, 0.6)) == [("tachycardia", "ended")]
    assert transitions(heart.beats("N" * 40, 1.5)) == [("bradycardia", "began")]
    (ended,) = heart.beats("N" * 40, 0.8)
    assert ended.label == "bradycardia"
    assert ended.heart_rate_bpm is not None
    assert heart.episodes.going_on == ()


def test_fibrillation_follows_its_probability_with_hysteresis() -> None:
    heart = Heart()
    decisions = [0.7, 0.5, 0.7, 0.7, 0.5, 0.5, 0.3, 0.5, 0.3, 0.3]
    changes: list[EpisodeChange] = []
    for number, probability in enumerate(decisions):
        heart.beats("NNNN", 0.7)
        changes += heart.episodes.rhythm(heart.sample - 1000, heart.sample, probability)
        if number == 3:
            assert transitions(changes) == [("AF", "began")]
    assert transitions(changes) == [("AF", "began"), ("AF", "ended")]
    assert changes[0].began == round(3 * 4 * 0.7 * RATE_HZ) - 1000
    assert AF_CONFIRM == 2
    assert changes[1].ended == round(9 * 4 * 0.7 * RATE_HZ)
    assert changes[1].beats > 20


def test_closing_ends_what_goes_on() -> None:
    heart = Heart()
    heart.beats("N" * 40, 0.4)
    heart.beats("VVV", 0.4)
    assert set(transitions(heart.episodes.close(heart.sample))) == {("VT", "ended"), ("tachycardia", "ended")}


actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("NSVFQ"), st.floats(0.25, 3.5)),
        st.tuples(st.just("withhold"), st.floats(0.1, 5)),
        st.tuples(st.just("rhythm"), st.floats(0, 1)),
    ),
    max_size=150,
)


@given(actions, st.integers(0, 150))
def test_any_course_alternates_begin_and_end_and_survives_a_restart(actions, restart_at: int) -> None:
    heart, twin = Heart(), Heart()
    open_since: dict[str, int] = {}
    for number, (what, value) in enumerate(actions):
        if number == restart_at:
            state = decode_state(encode_state(twin.episodes.snapshot()))
            twin.episodes = Episodes(RATE_HZ, EpisodeLimits())
            twin.episodes.restore(state)
        results = []
        for each in (heart, twin):
            if what == "withhold":
                each.at_s += value
                results.append(each.episodes.withhold(each.sample))
            elif what == "rhythm":
                results.append(each.episodes.rhythm(max(0, each.sample - 500), each.sample, value))
            else:
                results.append(each.beats(what, value))
        assert results[0] == results[1]
        for change in results[0]:
            if change.ended is None:
                assert change.label not in open_since
                open_since[change.label] = change.began
            else:
                assert open_since.pop(change.label) == change.began
                assert change.ended >= change.began
        assert set(heart.episodes.going_on) == set(open_since)

"""Newcomers are refused at capacity; only silence, by the readings' own times, forgets a subject."""

from __future__ import annotations

import pytest

from common.errors import CapacityReached
from common.subjects import SubjectMap

S = 10**9


def made(limit: int = 2, forget_after_s: float = 100) -> SubjectMap[str]:
    return SubjectMap(limit, forget_after_s, setting="max_engines")


def take(subjects: SubjectMap[str], subject: str, at_s: float) -> list[str]:
    """One reading of a subject; gives whom it made forgotten."""
    subjects.find(subject, int(at_s * S))
    return [gone.subject for gone in subjects.keep(subject, int(at_s * S), f"state of {subject}")]


def test_a_newcomer_above_the_limit_is_refused_by_name_and_setting() -> None:
    subjects = made()
    take(subjects, "a", 0)
    take(subjects, "b", 0)
    with pytest.raises(CapacityReached, match=r"c is refused.*max_engines is 2") as refused:
        subjects.find("c", 0)
    assert (refused.value.subject, refused.value.limit) == ("c", 2)
    assert list(subjects) == ["a", "b"]


def test_silence_forgets_and_only_the_silent_one() -> None:
    subjects = made()
    take(subjects, "a", 0)
    take(subjects, "b", 0)
    assert [take(subjects, "b", at) for at in (40, 80, 100)] == [[], [], []]
    assert take(subjects, "b", 101) == ["a"]
    assert subjects.find("c", 101 * S) is None


def test_capture_times_of_different_subjects_are_never_compared() -> None:
    subjects = made()
    take(subjects, "of 1970", 0)
    take(subjects, "of 2026", 1_790_000_000)
    for second in range(1, 90):
        assert take(subjects, "of 1970", second) == take(subjects, "of 2026", 1_790_000_000 + second) == []


def test_newcomers_with_other_clocks_forget_nobody() -> None:
    subjects = made(5)
    take(subjects, "a", 0)
    for number, at_s in enumerate((5e8, 1e9, 1.5e9, 2e9)):
        assert take(subjects, f"newcomer-{number}", at_s) == []
    for at_s in (1e9, 3e9, 2e9, 4e9):
        with pytest.raises(CapacityReached):
            subjects.find("refused", int(at_s * S))
        assert take(subjects, "a", 1) == []
    assert "a" in list(subjects)


def test_a_clock_that_jumps_or_flutters_forgets_nobody_who_goes_on() -> None:
    subjects = made(3)
    for second in range(500):
        take(subjects, "a", second)
        take(subjects, "b", second)
        wrong = 3e9 if second % 2 else 0
        assert take(subjects, "liar", second + wrong) == []
    assert len(subjects) == 3


def test_many_subjects_do_not_make_time_run_faster() -> None:
    subjects = made(50)
    for second in range(90):
        for number in range(49 if second else 50):
            assert take(subjects, f"engine-{number}", second) == []
    assert "engine-49" in list(subjects), "90 s have passed, whatever the number of readings"


def test_the_time_of_refused_readings_counts() -> None:
    subjects = made(1)
    take(subjects, "gone", 0)
    for at_s in (0, 50, 100):
        with pytest.raises(CapacityReached):
            subjects.find("new", at_s * S)
    assert subjects.find("new", 101 * S) is None
    assert take(subjects, "new", 101) == ["gone"]


def test_a_restored_map_goes_on_and_keeps_more_than_its_limit() -> None:
    subjects = made(3)
    for name in ("a", "b", "c"):
        take(subjects, name, 0)
    smaller = made(1)
    smaller.restore(subjects.snapshot(lambda s: {"text": s}), lambda _, saved: saved["text"])
    assert [smaller[name] for name in smaller] == ["state of a", "state of b", "state of c"]
    assert smaller.find("b", S) == "state of b"
    take(smaller, "c", 50)
    take(smaller, "c", 100)
    assert take(smaller, "c", 101) == ["a", "b"]
    with pytest.raises(CapacityReached):
        smaller.find("d", 120 * S)

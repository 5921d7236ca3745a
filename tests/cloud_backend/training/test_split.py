"""Split: the same samples are held out everywhere, and neither side is empty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_backend.training.split import held_out

groups = st.sets(st.text(min_size=1, max_size=12), max_size=30)


@given(groups, groups)
def test_neither_side_of_the_labelled_groups_is_empty(labelled: set[str], others: set[str]) -> None:
    chosen = held_out("app", labelled, others)
    assert chosen <= labelled | others
    if len(labelled) >= 2:
        assert chosen & labelled
        assert labelled - chosen


@given(groups, groups)
def test_the_order_and_the_unlabelled_change_nothing(labelled: set[str], others: set[str]) -> None:
    assert held_out("app", sorted(labelled)) == held_out("app", labelled)
    assert held_out("app", labelled, others) & labelled == held_out("app", labelled)


@given(groups, groups, groups)
def test_what_production_was_trained_on_is_never_held_out(
    labelled: set[str], others: set[str], trained_on: set[str]
) -> None:
    chosen = held_out("app", labelled, others, trained_on)
    assert chosen.isdisjoint(trained_on)
    if len(labelled) >= 2:
        assert labelled - chosen
        if labelled - trained_on:
            assert chosen & labelled


def test_about_three_in_ten_are_held_out() -> None:
    names = [f"engine-{n}/run-{n % 7}" for n in range(2000)]
    assert 0.27 < len(held_out("industrial", names)) / len(names) < 0.33


def test_apps_split_differently() -> None:
    names = [f"g{n}" for n in range(100)]
    assert held_out("a", names) != held_out("b", names)


def test_one_group_follows_its_hash() -> None:
    assert held_out("app", ["only"]) in (set(), {"only"})


def test_a_group_stays_on_its_side_as_others_come() -> None:
    names = [f"g{n}" for n in range(50)]
    early, late = held_out("app", names[:20]), held_out("app", names)
    assert early == late & set(names[:20])

"""The error of a node's clock is distinguished from a late delivery."""

from __future__ import annotations

from cloud_backend.ingest.clocks import WINDOW, NodeClocks

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
T = 1_800_000_000 * SECOND


def clocks() -> NodeClocks:
    return NodeClocks(5 * SECOND)


def test_a_new_node_is_believed_at_once() -> None:
    assert clocks().offset_ns("n", T, T + HOUR, None) == HOUR
    assert clocks().offset_ns("n", T + HOUR, T, None) == -HOUR
    assert clocks().offset_ns("n", T, T + 4 * SECOND, None) == 0


def test_one_late_delivery_is_not_taken_for_a_wrong_clock() -> None:
    seen = clocks()
    assert seen.offset_ns("n", T, T + HOUR, 0) == 0
    assert seen.offset_ns("n", T, T + SECOND, 0) == 0


def test_a_clock_that_fell_behind_is_believed_after_a_few_batches() -> None:
    seen = clocks()
    assert [seen.offset_ns("n", T, T + HOUR, 0) for _ in range(WINDOW)] == [0] * (WINDOW - 1) + [HOUR]


def test_a_clock_that_is_ahead_or_right_again_shows_at_once() -> None:
    seen = clocks()
    assert seen.offset_ns("n", T, T + HOUR, None) == HOUR
    assert seen.offset_ns("n", T + HOUR, T + HOUR + SECOND, None) == 0
    assert seen.offset_ns("n", T + HOUR, T, None) == -HOUR


def test_an_error_is_kept_while_it_is_right_within_the_tolerance() -> None:
    seen = clocks()
    error_ns = seen.offset_ns("n", T, T - HOUR + 1_234_567, None)
    assert error_ns == -HOUR + 1_000_000, "whole milliseconds, as it is stored"
    assert seen.offset_ns("n", T, T - HOUR + 3 * SECOND, error_ns) == error_ns
    assert clocks().offset_ns("n", T, T - HOUR - 3 * SECOND, error_ns) == error_ns
    assert seen.offset_ns("n", T, T - HOUR - 6 * SECOND, error_ns) == -HOUR - 6 * SECOND


def test_a_known_error_survives_a_restart_of_the_cloud() -> None:
    assert clocks().offset_ns("n", T, T + HOUR, HOUR) == HOUR


def test_only_the_newest_nodes_are_remembered() -> None:
    seen = NodeClocks(5 * SECOND, limit=10)
    for i in range(1000):
        seen.offset_ns(f"n{i}", 0, 0, 0)
    assert len(seen._differences) == 10


def test_a_clock_that_was_never_set_is_believed_to_be_wrong_at_once() -> None:
    seen = clocks()
    assert seen.offset_ns("n", T, T + SECOND, 0) == 0
    assert seen.offset_ns("n", HOUR, T, 0) == T - HOUR
    assert seen.offset_ns("n", T, T + SECOND, 0) == 0

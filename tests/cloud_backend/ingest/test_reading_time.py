"""The receiving thread's time is shared: a node alone may take all of it, one beside others a part."""

from __future__ import annotations

from cloud_backend.ingest.rates import OTHERS_S, SHARE, ReadingTime


def test_a_node_alone_is_alone_until_another_sends_and_again_after_its_silence() -> None:
    time = ReadingTime()
    assert time.is_alone("a", 0.0)
    assert time.is_alone("a", 1.0)
    assert not time.is_alone("b", 2.0)
    assert not time.is_alone("a", 3.0)
    assert not time.is_alone("a", 2.0 + OTHERS_S)
    assert time.is_alone("a", 2.1 + OTHERS_S)


def test_a_third_node_is_noticed_between_two() -> None:
    time = ReadingTime()
    for now_s, node in enumerate("abcab"):
        time.is_alone(node, float(now_s))
    assert not time.is_alone("c", 5.0)


def test_what_reading_took_counts_for_a_second_or_so() -> None:
    time = ReadingTime()
    assert time.has_share("a", 0.0)
    time.spent("a", SHARE * 1.5, 0.0)
    assert not time.has_share("a", 0.1)
    assert time.has_share("a", 1.0)
    assert time.has_share("b", 0.1)


def test_a_node_that_goes_on_gets_its_share_of_every_second() -> None:
    time, read = ReadingTime(), 0
    for step in range(100_000):
        now_s = step / 1000
        if time.has_share("a", now_s):
            time.spent("a", 0.01, now_s)
            read += 1
    assert 0.8 * SHARE < read * 0.01 / 100 < 1.2 * SHARE

"""Wrong passwords: each address waits longer, many together a little, and memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_backend.access import login_throttle
from cloud_backend.access.login_throttle import FORGET_S, FREE_TRIES, FREE_TRIES_OF_ALL, LoginThrottle, key_of
from tests.cloud_backend.access.hand_clock import HandClock, S


def test_the_fourth_wrong_password_must_wait_and_each_further_one_twice_as_long(clock: HandClock) -> None:
    counted = LoginThrottle()
    waits = []
    for _ in range(12):
        if wait_s := counted.begin("10.0.0.1", clock()):
            waits.append(wait_s)
            clock.wait(wait_s)
            assert counted.begin("10.0.0.1", clock()) == 0
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert counted.begin("10.0.0.2", clock()) == 0


def test_attempts_at_the_same_moment_do_not_avoid_the_wait(clock: HandClock) -> None:
    counted = LoginThrottle()
    begun = [counted.begin("10.0.0.1", clock()) for _ in range(100)]
    assert begun.count(0) == FREE_TRIES


def test_many_addresses_are_slowed_together_but_not_for_long(clock: HandClock) -> None:
    counted = LoginThrottle()
    begun = [counted.begin(f"10.0.{n // 250}.{n % 250}", clock()) for n in range(5000)]
    assert begun.count(0) == FREE_TRIES_OF_ALL
    for n in range(100):
        clock.wait(login_throttle.LAST_WAIT_OF_ALL_S)
        assert counted.begin(f"10.9.0.{n}", clock()) == 0


def test_a_right_password_clears_its_address(clock: HandClock) -> None:
    counted = LoginThrottle()
    for _ in range(200):
        assert counted.begin("10.0.0.1", clock()) == 0
        counted.succeeded("10.0.0.1")
    assert len(counted) == 0


def test_who_was_quiet_for_an_hour_is_forgotten(clock: HandClock) -> None:
    counted = LoginThrottle()
    for n in range(FREE_TRIES):
        counted.begin("10.0.0.1", clock())
        counted.begin(f"10.0.1.{n}", clock())
    clock.wait(FORGET_S)
    assert counted.begin("10.0.0.1", clock()) == 0
    assert len(counted) == 1


def test_addresses_of_one_network_count_as_one() -> None:
    assert key_of("2001:db8::1") == key_of("2001:db8::ffff") != key_of("2001:db8:0:1::1")
    assert key_of("::ffff:10.0.0.1") == key_of("10.0.0.1") != key_of("10.0.0.2")
    assert key_of("fe80::1%eth0") == key_of("fe80::2")
    assert len(key_of("x" * 10_000)) <= 64


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5000), st.booleans()), max_size=200))
def test_an_attempt_is_admitted_after_the_announced_wait_and_not_before(
    steps: list[tuple[int, float, bool]],
) -> None:
    counted, clock = LoginThrottle(), HandClock()
    for address, pause_s, right in steps:
        clock.wait(pause_s)
        wait_s = counted.begin(f"a{address}", clock())
        if wait_s:
            assert 1 <= wait_s <= login_throttle.LAST_WAIT_S
            assert counted.begin(f"a{address}", clock() + (wait_s - 1) * S) == 1
            clock.wait(wait_s)
            assert counted.begin(f"a{address}", clock()) == 0
        if right:
            counted.succeeded(f"a{address}")


@given(st.lists(st.floats(0, 600), max_size=300))
def test_wrong_attempts_of_one_address_are_few_whatever_their_times(pauses_s: list[float]) -> None:
    """Without an hour of quiet, k attempts take at least the sum of the doubling waits."""
    counted, clock = LoginThrottle(), HandClock()
    begun = 0
    start = clock()
    for pause_s in pauses_s:
        clock.wait(pause_s)
        begun += counted.begin("a", clock()) == 0
        least_s = sum(min(2.0**n, login_throttle.LAST_WAIT_S) for n in range(begun - FREE_TRIES))
        assert (clock() - start) / S >= least_s - 1e-6


def test_memory_is_bounded_however_many_addresses_try(clock: HandClock) -> None:
    counted = LoginThrottle()
    for n in range(login_throttle.ADDRESSES + 500):
        clock.wait(login_throttle.LAST_WAIT_OF_ALL_S if n < 100 else 0)
        counted._all.wrong = 0  # as if each had its own hour
        counted.begin(f"address-{n}", clock())
        assert len(counted) <= login_throttle.ADDRESSES

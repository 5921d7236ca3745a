"""Signing in: the password's file, wrong tries, sessions in the store, tickets."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from cloud_backend.access import login_throttle, passwords, sessions
from cloud_backend.access.login_throttle import FORGET_S, FREE_TRIES, FREE_TRIES_OF_ALL, LoginThrottle, key_of
from cloud_backend.access.passwords import Passwords, generate
from cloud_backend.access.sessions import IDLE_S, LIFE_S, NOTE_USE_S, SESSIONS, TOKEN_PREFIX
from cloud_backend.access.tickets import LIFE_S as TICKET_S
from cloud_backend.access.tickets import TICKETS, Tickets
from cloud_backend.access.tokens import Access, Principal
from cloud_backend.store.tables import WebSession
from common.errors import AccessDenied, LoginThrottled
from tests.cloud_backend.ingest.nodes import rows
from tests.waiting import PATIENCE_S

S = 1_000_000_000
PASSWORD = "a long enough password"


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000 * S

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * S)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def access(engine: Engine, tmp_path: Path, clock: HandClock) -> Access:
    access = Access(engine, tmp_path / "secrets", clock)
    access.passwords.set(PASSWORD)
    return access


# --------------------------------------------------------------------------------------- the password


def test_a_password_is_made_once_and_fits(tmp_path: Path) -> None:
    made = Passwords(tmp_path).make()
    assert Passwords(tmp_path).fits(made)
    assert not Passwords(tmp_path).fits(made + "x")
    assert not Passwords(tmp_path).fits("")
    assert Passwords(tmp_path).make() == ""
    assert Passwords(tmp_path).fits(made)


def test_a_made_password_has_a_hundred_bits_and_is_easy_to_type() -> None:
    assert passwords.BITS > 100
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        groups = password.split("-")
        assert len(groups) == 4
        assert all(set(group) <= set(passwords.LETTERS) and len(group) == 6 for group in groups)


def test_the_file_is_for_its_owner_and_holds_no_password(tmp_path: Path) -> None:
    kept = Passwords(tmp_path)
    kept.set(PASSWORD)
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    content = kept.file.read_bytes()
    assert PASSWORD.encode() not in content
    assert {"scheme", "n", "r", "p", "salt", "key"} == set(msgspec.json.decode(content))
    kept.set(PASSWORD)
    assert kept.file.read_bytes() != content


def test_a_new_password_counts_at_once_for_who_runs_already(tmp_path: Path) -> None:
    running = Passwords(tmp_path)
    running.set(PASSWORD)
    Passwords(tmp_path).set("another long password")
    assert running.fits("another long password")
    assert not running.fits(PASSWORD)


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_not_kept(tmp_path: Path, password: str) -> None:
    with pytest.raises(AccessDenied, match="12 to 1024"):
        Passwords(tmp_path).set(password)
    assert not Passwords(tmp_path).file.exists()


def test_the_same_letters_in_another_form_of_unicode_fit(tmp_path: Path) -> None:
    kept = Passwords(tmp_path)
    kept.set("schöne Grüße 12")
    assert kept.fits("scho\u0308ne Gru\u0308ße 12")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"scheme":"plain","salt":"","key":""}',
        b'{"scheme":"scrypt","salt":"AAAA","key":""}',
        b'{"scheme":"scrypt","salt":"AAAA","key":"AAAA","n":1048576,"r":32}',
        b'{"scheme":"scrypt","salt":"AAAA","key":"AAAA","n":2}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    kept = Passwords(tmp_path)
    kept.file.write_bytes(content)
    with pytest.raises(AccessDenied, match="edgeloop cloud password"):
        kept.fits("")


# ---------------------------------------------------------------------------------------- wrong tries


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


def test_tries_at_the_same_moment_are_no_way_around(clock: HandClock) -> None:
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
def test_whoever_waits_as_told_may_try_and_nobody_before(steps: list[tuple[int, float, bool]]) -> None:
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
def test_wrong_tries_of_one_address_are_few_whatever_their_times(pauses_s: list[float]) -> None:
    """Without an hour of quiet, k tries take at least the sum of the doubling waits."""
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


# ------------------------------------------------------------------------------------------- sessions


def test_a_person_signs_in_and_is_known_by_the_sessions_token(access: Access, clock: HandClock) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    assert len(token) >= len(TOKEN_PREFIX) + 43
    expected = Principal("admin", name="Eva", expires_ns=clock() + LIFE_S * S)
    assert access.principal(token) == access.person(token) == expected


def test_the_admins_token_signs_in_too_but_is_no_session(access: Access) -> None:
    assert access.person(access.sign_in("Eva", access.admin_token, "10.0.0.1"))
    assert access.person(access.admin_token) is None
    node_token, _ = access.enrol("node-1", "plant")
    assert access.person(node_token) is None
    with pytest.raises(AccessDenied):
        access.sign_in("Eva", node_token, "10.0.0.1")


@pytest.mark.parametrize("password", ["", "x", PASSWORD + " ", "ä", "\udcff", "x" * 5000])
def test_a_wrong_password_is_denied(access: Access, password: str) -> None:
    with pytest.raises(AccessDenied, match="wrong"):
        access.sign_in("Eva", password, "10.0.0.1")


def test_the_right_password_must_wait_like_any_other(access: Access, clock: HandClock) -> None:
    for _ in range(FREE_TRIES):
        with pytest.raises(AccessDenied):
            access.sign_in("Eva", "wrong", "10.0.0.1")
    with pytest.raises(LoginThrottled, match="wait 1 s") as refusal:
        access.sign_in("Eva", PASSWORD, "10.0.0.1")
    assert refusal.value.wait_s == 1
    assert access.sign_in("Eva", PASSWORD, "10.0.0.2")
    clock.wait(1)
    assert access.sign_in("Eva", PASSWORD, "10.0.0.1")


def test_without_a_password_file_only_the_admins_token_signs_in(engine: Engine, tmp_path: Path) -> None:
    access = Access(engine, tmp_path / "secrets")
    with pytest.raises(AccessDenied):
        access.sign_in("Eva", "", "10.0.0.1")
    assert access.principal(access.sign_in("Eva", access.admin_token, "10.0.0.1")).name == "Eva"


def test_the_store_keeps_only_a_digest(access: Access, engine: Engine) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    with engine.connect() as connection:
        everything = str(connection.execute(text("SELECT * FROM web_session")).all())
    assert token not in everything
    assert token.removeprefix(TOKEN_PREFIX) not in everything
    assert "Eva" in everything


def test_a_session_outlives_a_restart(
    access: Access, engine: Engine, tmp_path: Path, clock: HandClock
) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    assert Access(engine, tmp_path / "secrets", clock).principal(token).name == "Eva"


def test_a_session_ends_when_it_is_idle(access: Access, clock: HandClock) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    clock.wait(IDLE_S - 1)
    assert access.is_signed_in(token)
    clock.wait(1)
    assert not access.is_signed_in(token)
    with pytest.raises(AccessDenied):
        access.principal(token)


def test_use_keeps_a_session_but_not_over_seven_days(access: Access, clock: HandClock) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    for _ in range(2 * 7):
        clock.wait(IDLE_S - 1)
        assert access.principal(token).name == "Eva"
    clock.wait(14)
    with pytest.raises(AccessDenied):
        access.principal(token)


def test_to_ask_whether_a_session_is_valid_is_no_use_of_it(access: Access, clock: HandClock) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    clock.wait(IDLE_S - 1)
    assert access.is_signed_in(token)
    clock.wait(1)
    assert not access.is_signed_in(token)


def test_a_use_is_written_down_once_a_minute(access: Access, engine: Engine, clock: HandClock) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    started = clock()
    clock.wait(NOTE_USE_S - 1)
    access.principal(token)
    assert rows(engine, WebSession)[0].used_ns == started
    clock.wait(1)
    access.principal(token)
    assert rows(engine, WebSession)[0].used_ns == clock()


def test_a_session_stays_valid_while_the_store_can_only_read(
    access: Access, engine: Engine, clock: HandClock
) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    clock.wait(NOTE_USE_S)
    if engine.dialect.name != "sqlite":
        pytest.skip("PRAGMA query_only is SQLite's")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(OperationalError):
        access.sessions.end(token)
    assert access.principal(token).name == "Eva"


def test_signing_out_ends_one_session(access: Access) -> None:
    mine, other = (access.sign_in(name, PASSWORD, "10.0.0.1") for name in ("Eva", "Ada"))
    access.sessions.end(mine)
    assert access.person(mine) is None
    assert access.principal(other).name == "Ada"


def test_a_new_password_ends_all_sessions_whoever_sets_it(access: Access, tmp_path: Path) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    Passwords(tmp_path / "secrets").set(PASSWORD)
    assert not access.is_signed_in(token)
    with pytest.raises(AccessDenied):
        access.principal(token)


def test_a_new_admins_token_ends_all_sessions(access: Access, engine: Engine, tmp_path: Path) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    access.admin_token_file.unlink()
    assert Access(engine, tmp_path / "secrets", access._clock).person(token) is None


def test_a_damaged_password_file_ends_sessions_until_it_is_mended(access: Access) -> None:
    token = access.sign_in("Eva", PASSWORD, "10.0.0.1")
    whole = access.passwords.file.read_bytes()
    access.passwords.file.write_bytes(b"damaged")
    assert not access.is_signed_in(token)
    with pytest.raises(AccessDenied):
        access.principal(token)
    assert access.principal(access.admin_token).kind == "admin"
    access.passwords.file.write_bytes(whole)
    assert access.is_signed_in(token)


def test_what_is_over_is_pruned_and_the_rest_is_bounded(
    access: Access, engine: Engine, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS", 5)
    tokens = []
    for _ in range(8):
        tokens.append(access.sessions.start("Eva"))
        clock.wait(1)
    assert len(rows(engine, WebSession)) == 5
    assert [access.is_signed_in(token) for token in tokens] == [False] * 3 + [True] * 5
    clock.wait(IDLE_S)
    last = access.sessions.start("Ada")
    assert [row.name for row in rows(engine, WebSession)] == ["Ada"]
    assert access.principal(last).name == "Ada"
    assert SESSIONS == 1000


# -------------------------------------------------------------------------------------------- tickets


def test_a_ticket_works_once_within_two_minutes(clock: HandClock) -> None:
    made = Tickets(clock)
    ticket, late = made.make("Eva"), made.make("Ada")
    assert len(ticket) >= 43
    assert made.take("x") is None
    assert made.take(ticket) == "Eva"
    assert made.take(ticket) is None
    clock.wait(TICKET_S)
    assert made.take(late) is None


def test_tickets_are_bounded_and_pruned(clock: HandClock) -> None:
    made = Tickets(clock)
    first = made.make("first")
    last = [made.make("last") for _ in range(TICKETS)][-1]
    assert len(made) == TICKETS
    assert made.take(first) is None
    assert made.take(last) == "last"
    clock.wait(TICKET_S)
    made.make("new")
    assert len(made) == 1


def test_a_ticket_is_taken_by_one_of_many(clock: HandClock) -> None:
    made = Tickets(clock)
    ticket = made.make("Eva")
    start, taken = threading.Barrier(8), []

    def take() -> None:
        start.wait(PATIENCE_S)
        taken.append(made.take(ticket))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(taken) == 8
    assert [name for name in taken if name] == ["Eva"]

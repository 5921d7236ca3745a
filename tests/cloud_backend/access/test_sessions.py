"""Sessions in the store: what starts, keeps and ends one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from cloud_backend.access import sessions
from cloud_backend.access.login_throttle import FREE_TRIES
from cloud_backend.access.passwords import Passwords
from cloud_backend.access.sessions import IDLE_S, LIFE_S, NOTE_USE_S, SESSIONS, TOKEN_PREFIX
from cloud_backend.access.tokens import Access, Principal
from cloud_backend.store.tables import WebSession
from common.errors import AccessDenied, LoginThrottled
from tests.cloud_backend.access.hand_clock import HandClock, S
from tests.cloud_backend.ingest.nodes import rows

PASSWORD = "a long enough password"


@pytest.fixture
def access(engine: Engine, tmp_path: Path, clock: HandClock) -> Access:
    access = Access(engine, tmp_path / "secrets", clock)
    access.passwords.set(PASSWORD)
    return access


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


def test_checking_a_session_is_no_use_of_it(access: Access, clock: HandClock) -> None:
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

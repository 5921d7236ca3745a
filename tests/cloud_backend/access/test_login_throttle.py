"""A browser that is known is not kept out by the wrong passwords of others."""

from __future__ import annotations

from cloud_backend.access.devices import LIFE_S, Devices
from cloud_backend.access.login_throttle import FREE_TRIES, LoginThrottle

S = 1_000_000_000


def test_wrong_passwords_from_everywhere_do_not_keep_a_known_browser_out() -> None:
    throttle = LoginThrottle()
    for number in range(250):
        throttle.begin(f"10.0.{number}.1", 0)
    assert throttle.begin("192.0.2.1", 0) > 0
    assert throttle.begin("192.0.2.1", 0, "device-1") == 0


def test_a_known_browser_is_counted_by_itself_wherever_it_is() -> None:
    throttle = LoginThrottle()
    for number in range(FREE_TRIES):
        assert throttle.begin(f"192.0.2.{number}", 0, "device-1") == 0
    assert throttle.begin("192.0.2.99", 0, "device-1") > 0
    assert throttle.begin("192.0.2.0", 0) == 0
    assert throttle.begin("192.0.2.0", 0, "device-2") == 0


def test_a_right_password_clears_the_browser() -> None:
    throttle = LoginThrottle()
    for _ in range(FREE_TRIES):
        throttle.begin("192.0.2.1", 0, "device-1")
    throttle.succeeded("192.0.2.1", "device-1")
    assert throttle.begin("192.0.2.1", 0, "device-1") == 0


def test_only_cookies_that_were_made_here_and_have_not_ended_count() -> None:
    now = 0
    devices = Devices("key", lambda: now)
    cookie = devices.make()
    name = devices.read(cookie)
    assert name
    assert devices.read(devices.make()) not in ("", name)
    head, _, signature = cookie.rpartition(".")
    for forged in (
        "",
        ".",
        "a.b.c",
        f"{head}9.{signature}",
        f"{head}.{signature[:-1]}",
        f"{cookie}é",
        cookie * 9,
    ):
        assert devices.read(forged) == ""
    assert Devices("other key", lambda: now).read(cookie) == ""
    now = (LIFE_S + 1) * S
    assert devices.read(cookie) == ""

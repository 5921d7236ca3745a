"""Wrong passwords from many addresses, over real sockets: the owner can still sign in.

An address is the one that a request comes from; ``X-Forwarded-For`` counts only from trusted proxies
(``http.forwarded_allow_ips``).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from apps.demo.world.world import CloudSite
from cloud_backend.access.login_throttle import FREE_TRIES, FREE_TRIES_OF_ALL
from tests.e2e.conftest import ENVIRONMENT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
PROXY, OWNER = "127.0.0.7", "127.0.0.9"
ADDRESSES = 250


class Visitors:
    """Sign-ins at a cloud from any address of this machine."""

    def __init__(self, cloud: CloudSite) -> None:
        host, _, port = cloud.file.http_url.removeprefix("http://").partition(":")
        self._host, self._port = host, int(port)
        self.password = (cloud.folder / "secrets" / "admin-token").read_text("utf-8").strip()

    def sign_in(
        self, source: str, password: str = "", *, forwarded: str = "", cookie: str = ""
    ) -> tuple[int, str]:
        """The status, and the cookies that were set."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= {"X-Forwarded-For": forwarded} if forwarded else {}
        headers |= {"Cookie": cookie} if cookie else {}
        connection = http.client.HTTPConnection(self._host, self._port, source_address=(source, 0))
        try:
            body = urlencode({"name": "Ada", "password": password or "wrong"})
            connection.request("POST", "/sign-in", body, headers)
            answer = connection.getresponse()
            cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie") or []]
            answer.read()
            return answer.status, "; ".join(each for each in cookies if "device" in each)
        finally:
            connection.close()

    def attack(self, source: str) -> list[int]:
        return [
            self.sign_in(source, forwarded=f"203.0.{number // 200}.{number % 200 + 1}")[0]
            for number in range(ADDRESSES)
        ]


@pytest.fixture
def visit(children, tmp_path) -> Callable[..., Visitors]:
    def start(proxies: str = "") -> Visitors:
        settings = {"forwarded_allow_ips": proxies} if proxies else {}
        cloud = CloudSite(
            children,
            tmp_path / "cloud",
            settings={"http": settings, "mqtt": {"broker": "iotcore"}},
            environment=ENVIRONMENT,
        )
        cloud.start()
        return Visitors(cloud)

    return start


@pytest.mark.parametrize("proxies", ["", PROXY], ids=["no proxy", "another proxy"])
def test_addresses_that_a_client_invents_are_not_believed(visit, proxies: str) -> None:
    visitors = visit(proxies)
    statuses = visitors.attack("127.0.0.1")
    assert statuses[:FREE_TRIES] == [401] * FREE_TRIES
    assert statuses.count(401) <= FREE_TRIES + 10, "all count as one address"
    assert set(statuses) == {401, 429}
    assert visitors.sign_in(OWNER, visitors.password)[0] == 303
    assert visitors.sign_in(OWNER, visitors.password, forwarded="203.0.0.1")[0] == 303


def test_behind_a_trusted_proxy_a_known_browser_goes_past_the_brake_of_all(visit) -> None:
    visitors = visit(PROXY)
    status, device = visitors.sign_in(PROXY, visitors.password, forwarded="192.0.2.1")
    assert (status, bool(device)) == (303, True)
    statuses = visitors.attack(PROXY)
    assert FREE_TRIES_OF_ALL <= statuses.count(401) < 2 * FREE_TRIES_OF_ALL, "each counts by itself, all too"
    assert set(statuses) == {401, 429}
    assert visitors.sign_in(PROXY, visitors.password, forwarded="192.0.2.3", cookie=device)[0] == 303

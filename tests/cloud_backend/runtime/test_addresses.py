"""Addresses allowed in an enrolment."""

from __future__ import annotations

import pytest

from cloud_backend.runtime.addresses import check_public, is_local, serves_this_machine_only, unreachable
from common.config.cloud import CloudSettings, HttpSettings, MqttSettings
from common.errors import ConfigError


def settings(http: str, mqtt: str, url: str = "", public_host: str = "") -> CloudSettings:
    return CloudSettings(
        http=HttpSettings(host=http, public_url=url), mqtt=MqttSettings(host=mqtt, public_host=public_host)
    )


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1"),
        *("0.0.0.0", "::", "", "localhost", "LOCALHOST.", "a.localhost"),
    ],
)
def test_no_other_machine_reaches_loopback_or_a_wildcard(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.5", "edge.example", "fe80::1%eth0", "2001:db8::7", "localhost.net"])
def test_any_other_host_may_be_reached(host):
    assert not is_local(host)


def test_a_cloud_on_loopback_serves_its_own_machine():
    local = settings("127.0.0.1", "::1")
    assert serves_this_machine_only(local)
    assert unreachable(local, "http://127.0.0.1:8080", "::1") == ""


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_wildcard_needs_public_addresses(wildcard):
    wrong = unreachable(settings(wildcard, wildcard), "http://127.0.0.1:8080", "127.0.0.1")
    assert "http.public_url" in wrong
    assert "mqtt.public_host" in wrong
    half = settings(wildcard, wildcard, "https://edge.example")
    assert "http.public_url" not in unreachable(half, "https://edge.example", "127.0.0.1")
    both = settings(wildcard, wildcard, "https://edge.example", "broker.example")
    assert unreachable(both, "https://edge.example", "broker.example") == ""


def test_a_proxy_before_loopback_needs_a_broker_that_others_reach():
    behind = settings("127.0.0.1", "127.0.0.1", "https://edge.example")
    assert "mqtt.public_host" in unreachable(behind, "https://edge.example", "127.0.0.1")


def test_a_public_url_on_loopback_is_refused_where_the_cloud_serves_others():
    wrong = settings("10.0.0.5", "10.0.0.5", "http://localhost:8080")
    assert "http.public_url" in unreachable(wrong, "http://localhost:8080", "10.0.0.5")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("edge.net:8080", ""),
        ("ftp://edge.net", ""),
        ("http://0.0.0.0:1", ""),
        ("", "::"),
        ("", "h:1883"),
    ],
)
def test_what_is_no_public_address_is_refused_at_the_start(url, host):
    with pytest.raises(ConfigError, match="public_"):
        check_public(settings("127.0.0.1", "127.0.0.1", url, host))

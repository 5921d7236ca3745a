"""Addresses in enrolments: those that other machines can reach, and those of this machine only.

A cloud that listens on loopback alone serves nodes on its own machine, and loopback addresses in their
enrolments are right. Any other cloud must name addresses that other machines can reach (`http.public_url`,
`mqtt.public_host`): what it listens on (0.0.0.0, ::) is no address to connect to.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from common.config.cloud import CloudSettings
from common.errors import ConfigError

WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  compared with, not bound


def is_local(host: str) -> bool:
    """Whether no other machine can reach ``host``: loopback, a wildcard or a name of this machine itself."""
    name = host.strip("[]").rstrip(".").lower()
    if name in WILDCARDS:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name in ("localhost", "localhost.localdomain") or name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def serves_this_machine_only(settings: CloudSettings) -> bool:
    """Whether both the API and the broker are for this machine only, and are not published elsewhere."""
    hosts = [settings.http.host, settings.mqtt.host]
    if any(host in WILDCARDS or not is_local(host) for host in hosts):
        return False
    published = [host_of(settings.http.public_url), settings.mqtt.public_host]
    return all(is_local(host) for host in published if host)


def unreachable(settings: CloudSettings, http_url: str, mqtt_host: str) -> str:
    """Reason why nodes on other machines cannot use these addresses; empty if they can or need not."""
    if serves_this_machine_only(settings):
        return ""
    wrong = []
    if is_local(host_of(http_url)):
        wrong.append(f"the API's address {http_url} (set http.public_url)")
    if is_local(mqtt_host):
        wrong.append(f"the broker's address {mqtt_host} (set mqtt.public_host)")
    if not wrong:
        return ""
    return f"no other machine can reach {' and '.join(wrong)}"


def check_public(settings: CloudSettings) -> None:
    """Raises `ConfigError` for a public address that is not one."""
    url = settings.http.public_url
    if url and (urlsplit(url).scheme not in ("http", "https") or not host_of(url)):
        raise ConfigError(f"http.public_url: {url!r} is not a URL such as https://edge.example:8080")
    for name, host in (("http.public_url", host_of(url)), ("mqtt.public_host", settings.mqtt.public_host)):
        if host in ("0.0.0.0", "::"):  # noqa: S104
            raise ConfigError(f"{name}: {host} is an address to listen on, not one to connect to")
    host = settings.mqtt.public_host
    if "/" in host or (":" in host and not _is_ipv6(host)):
        raise ConfigError(f"mqtt.public_host: {host!r} is not a host; its port is mqtt.public_port")


def host_of(url: str) -> str:
    """The host of a URL, empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).version == 6
    except ValueError:
        return False

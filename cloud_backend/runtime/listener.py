"""The API's socket, and the addresses of the cloud's listeners for programs on this machine."""

from __future__ import annotations

import socket

from cloud_backend.runtime.addresses import WILDCARDS
from common.errors import ConfigError


def bind(host: str, port: int, earlier: int) -> socket.socket:
    """The API's socket. With port 0, that of an earlier start, if it is free. Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port,) if port or not earlier else (earlier, 0):
        # asyncio sends small answers without delay only on sockets of the protocol TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if candidate != earlier or port:
                raise ConfigError(f"the API cannot listen on {host}:{candidate}: {error.strerror}") from error
            continue
        return listener
    raise AssertionError("the last candidate binds or raises")


def reachable(host: str) -> str:
    """Address for programs on this machine of a listener on ``host``."""
    return "127.0.0.1" if host in WILDCARDS else host


def in_url(host: str) -> str:
    """``host`` as a URL has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host

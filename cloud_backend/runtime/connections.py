"""Bounds of the API's connections: clients without credentials cannot exhaust them or hold them open.

uvicorn's HTTP protocol with these limits added:

- The head of a request must arrive within ``request_timeout_s`` of the connection's start (or of the previous
  response), in at most `HEAD_LIMIT_BYTES`; trailers and chunk extensions count as well.
- After the same time a body must arrive at `MIN_BYTES_PER_S` on average; time in which this server reads
  nothing does not count. A client that does not read its response is disconnected after `WRITE_TIMEOUT_S`.
- At most ``connections`` at a time, and ``connections_per_address`` from one address (an IPv6 /64 is one).
  Beyond that, the connection that has been idle longest is closed; without an idle one, the new one gets a
  503. Trusted proxies have no limit per address.
"""

# uvicorn chooses the base class when it is imported, so the attributes of a connection have no types.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import structlog
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cloud_backend.access.login_throttle import key_of
from common.errors import ConfigError

HEAD_LIMIT_BYTES = 32 * 1024
MIN_BYTES_PER_S = 1024
WRITE_TIMEOUT_S = 60.0
CHECK_S = 0.5
REPORT_S = 60.0
"""Time between two log lines about closed connections."""
RESERVED_FILES = 200
"""File descriptors reserved for the database, the broker, samples and models."""
_OVERHEAD = 10
"""Maximum bytes on the wire for a byte of a chunked body."""
_PROBLEM = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too many connections"}'
)
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
) % (len(_PROBLEM), _PROBLEM)
_log = structlog.get_logger("edgeloop.cloud")


def raise_file_limit() -> int:
    """Raise the process's limit of open files to the system's maximum; the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 65536)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            soft = hard
        except (OSError, ValueError) as error:  # macOS allows less than it reports
            _log.warning("the limit of open files could not be raised", limit=soft, error=str(error))
    return soft


@dataclass(slots=True)
class ConnectionLimits:
    """Bounds of all connections of a server, and counts of closed connections by reason."""

    connections: int
    per_address: int
    request_timeout_s: float
    proxies: Collection[IPv4Network | IPv6Network] = ()
    cut: dict[str, int] = field(default_factory=dict[str, int])
    _reported: float = -REPORT_S

    def count(self, reason: str, address: str) -> None:
        """Count a connection that is closed for ``reason``; logged at most every `REPORT_S`."""
        self.cut[reason] = self.cut.get(reason, 0) + 1
        now = time.monotonic()
        if now - self._reported >= REPORT_S:
            self._reported = now
            _log.warning("connections were cut off", last_reason=reason, last_address=address, **self.cut)


def bounded_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The protocol class for `uvicorn.Config` under ``limits``."""
    return type("Connection", (_Connection,), {"limits": limits})


def networks(addresses: Collection[str]) -> list[IPv4Network | IPv6Network]:
    """Trusted proxies as networks. Raises `ConfigError`."""
    try:
        return [ip_network(each) for each in addresses]
    except ValueError as error:
        raise ConfigError(f"http.forwarded_allow_ips: {error}; name addresses or networks") from error


class _Connection(AutoHTTPProtocol):
    """One connection. ``limits`` is set by `bounded_protocol`."""

    limits: ConnectionLimits

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address = ""
        self.waits_since = 0.0
        self._part = ""
        """``head`` or ``body`` of the arriving request; empty between requests."""
        self._chunk = 0
        self._received = 0
        self._head = 0
        self._body = 0
        self._request: Any = None
        self._arrived = 0
        self._arrives_since = 0.0
        self._stalled_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is in hand: its head is not complete, or the last one is answered."""
        return self.cycle is None or self.cycle.response_complete

    # ------------------------------------------------------------------------------- the connection's life

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = key_of(self.client[0]) if self.client else ""
        self.waits_since = time.monotonic()
        self._timer = self.loop.call_later(CHECK_S, self._check)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_checks()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, *event: Any) -> None:
        self._end_checks()
        super().handle_websocket_upgrade(*event)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.waits_since = time.monotonic()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_since = time.monotonic()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_since = None

    # ------------------------------------------------------------------------------------------- its bytes

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._chunk = len(data)
        self._received += len(data)
        self._arrived += len(data)
        super().data_received(data)
        if self.cycle is not self._request:  # the head is complete; the body follows
            self._request, self._arrived, self._arrives_since = self.cycle, 0, time.monotonic()
        if self._head > HEAD_LIMIT_BYTES or (self._part == "head" and self._received > HEAD_LIMIT_BYTES):
            self._cut("large_head", 431)
        elif self._part == "body" and self._received > 2 * HEAD_LIMIT_BYTES + _OVERHEAD * self._body:
            self._cut("large_trailers", 0)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part, self._received, self._body, self._head = "head", self._chunk, 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self._part = "body"
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part = ""
        super().on_message_complete()

    # ------------------------------------------------------------------------------------------ its bounds

    def _make_room(self) -> None:
        own = [each for each in self.connections if _address_of(each) == self.address]
        if len(own) > self.limits.per_address and not self._is_proxy():
            self._displace(own, "too_many_of_address")
        elif len(self.connections) > self.limits.connections:
            self._displace(list(self.connections), "too_many")

    def _displace(self, among: list[Any], reason: str) -> None:
        waiting = [each for each in among if isinstance(each, _Connection) and each.waits]
        oldest = min(waiting, key=lambda each: each.waits_since)  # this one waits as well
        if oldest is self:
            self.transport.write(_BUSY)
        oldest._cut(reason, 0)

    def _is_proxy(self) -> bool:
        try:
            address = ip_address(self.client[0]) if self.client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self.limits.proxies)

    def _check(self) -> None:
        self._timer = self.loop.call_later(CHECK_S, self._check)
        now, timeout_s = time.monotonic(), self.limits.request_timeout_s
        if self._stalled_since is not None:
            if now - self._stalled_since > WRITE_TIMEOUT_S:
                self._cut("answer_not_read", 0)
        elif self.waits:
            if now - self.waits_since > timeout_s:
                self._cut("slow_head", 408 if self._part == "head" else 0)
        elif self.cycle.more_body:
            if self.flow.read_paused:
                self._arrives_since += CHECK_S
            elif self._arrived < (now - self._arrives_since - timeout_s) * MIN_BYTES_PER_S:
                self._cut("slow_body", 0)

    def _cut(self, reason: str, status: int) -> None:
        self._end_checks()
        self.limits.count(reason, self.address)
        self.connections.discard(self)
        if status:
            self.transport.write(b"HTTP/1.1 %d \r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        if status or reason.startswith("too_many"):
            self.transport.close()
        else:
            self.transport.abort()

    def _end_checks(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _address_of(connection: Any) -> str:
    """The address of a connection of any protocol."""
    if isinstance(connection, _Connection):
        return connection.address
    client = getattr(connection, "client", None)
    return key_of(client[0]) if client else ""

"""Clients that never finish what they begin leave room for those that do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import uvicorn

from cloud_backend.runtime import connections
from cloud_backend.runtime.connections import HEAD_LIMIT_BYTES, ConnectionLimits, bounded_protocol, networks
from cloud_backend.runtime.listener import bind
from common.errors import ConfigError

DEADLINE_S = 60.0
HALF = b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: "


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; ``/large`` with 64 MiB."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = bytes(64 * 1024 * 1024) if scope["path"] == "/large" else str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class RunningServer:
    """A real uvicorn server on a free port, in a thread."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        listener = bind("127.0.0.1", 0, 0)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            echo, http=bounded_protocol(limits), log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[listener])), daemon=True
        )
        self._thread.start()
        eventually(lambda: self.server.started)

    def open(self, sent: bytes, source: str = "127.0.0.1") -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), DEADLINE_S, (source, 0))
        opened.sendall(sent)
        return opened

    def ask(self, source: str = "127.0.0.1", body: bytes = b"") -> bytes:
        head = b"POST /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        with self.open(head % len(body) + body, source) as opened:
            return read_all(opened)

    @property
    def count(self) -> int:
        return len(self.server.server_state.connections)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(DEADLINE_S)


def read_all(opened: socket.socket) -> bytes:
    """All that comes until the other side ends the connection, however it does."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := opened.recv(65536):
            found += part
    return found


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def make_server() -> Iterator[Callable[..., RunningServer]]:
    servers: list[RunningServer] = []

    def make(**changes: Any) -> RunningServer:
        fields: dict[str, Any] = {"connections": 600, "per_address": 100, "request_timeout_s": 600.0}
        servers.append(RunningServer(ConnectionLimits(**(fields | changes))))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def test_half_requests_of_one_address_leave_room_for_it_and_for_others(make_server) -> None:
    connections.raise_file_limit()
    server = make_server()
    with contextlib.ExitStack() as held:
        for number in range(1200):
            with contextlib.suppress(ConnectionError):
                held.enter_context(server.open(HALF))
            if number % 200 == 199:
                assert server.ask().endswith(b"0")
                assert server.ask("127.0.0.9", b"abc").endswith(b"3")
        eventually(lambda: server.count <= 100)
        assert server.limits.cut["too_many_of_address"] >= 1100


def test_half_requests_of_many_addresses_leave_room_for_all(make_server) -> None:
    connections.raise_file_limit()
    server = make_server()
    with contextlib.ExitStack() as held:
        for number in range(1200):
            with contextlib.suppress(ConnectionError):
                held.enter_context(server.open(HALF, f"127.0.1.{number % 20 + 1}"))
            if number % 200 == 199:
                assert server.ask().endswith(b"0")
        eventually(lambda: server.count <= 600)
        assert server.limits.cut["too_many"] >= 500


def test_where_none_gives_way_the_new_one_is_answered_503(make_server) -> None:
    server = make_server(per_address=2)
    whole = b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
    with server.open(whole) as first, server.open(whole) as second:
        eventually(lambda: sum(not each.waits for each in server.server.server_state.connections) == 2)
        with server.open(b"") as third:
            assert read_all(third).startswith(b"HTTP/1.1 503 ")
        assert server.ask("127.0.0.2").endswith(b"0")
        for each in (first, second):
            each.sendall(b" done")
            assert each.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_trusted_proxy_is_not_bounded_as_an_address(make_server) -> None:
    server = make_server(per_address=2, proxies=[ip_network("127.0.0.0/30")])
    with contextlib.ExitStack() as held:
        for _ in range(10):
            held.enter_context(server.open(HALF))
        eventually(lambda: server.count == 10)
        assert server.ask().endswith(b"0")


@pytest.mark.parametrize("sent", [b"", HALF, b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + HALF])
def test_a_head_that_does_not_come_is_not_waited_for(make_server, sent: bytes) -> None:
    server = make_server(request_timeout_s=0.1)
    with server.open(sent) as opened:
        assert b"200" not in read_all(opened).rpartition(b"\r\n")[2]
    eventually(lambda: server.count == 0)
    assert server.limits.cut["slow_head"] >= 1


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(make_server) -> None:
    server = make_server(request_timeout_s=0.2)
    with server.open(HALF) as opened:
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                opened.sendall(b"x")
                time.sleep(0.02)
        eventually(lambda: server.count == 0)
    assert server.limits.cut["slow_head"] == 1


@pytest.mark.parametrize("kind", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_not_waited_for(make_server, kind: bytes) -> None:
    server = make_server(request_timeout_s=0.1)
    with server.open(b"POST /hello HTTP/1.1\r\nHost: a\r\n" + kind + b"\r\n\r\n1\r\na") as opened:
        assert read_all(opened) == b""
    assert server.limits.cut["slow_body"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(1000)),
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 200_000,
    ],
)
def test_a_head_is_bounded_in_size(make_server, sent: bytes) -> None:
    server = make_server()
    assert len(sent) > HEAD_LIMIT_BYTES
    with contextlib.suppress(ConnectionError), server.open(sent) as opened:
        read_all(opened)
    eventually(lambda: server.limits.cut.get("large_head"))


@pytest.mark.parametrize(
    "endless", [b"X-Trailer: aaaaaaaaaaaaaaaa\r\n", b"", b"1;ext=" + b"e" * 500 + b"\r\na\r\n"]
)
def test_trailers_and_chunk_extensions_are_bounded(make_server, endless: bytes) -> None:
    server = make_server()
    start = b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    start += b"" if endless.startswith(b"1;") else b"0\r\nX-First: "
    with contextlib.suppress(ConnectionError), server.open(start) as opened:
        for _ in range(100):
            opened.sendall((endless or b"a" * 20) * 1000)
        read_all(opened)
    eventually(lambda: {"large_head", "large_trailers"} & set(server.limits.cut))


def test_an_answer_that_is_not_read_is_not_kept(make_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.1)
    server = make_server()
    with server.open(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"):
        eventually(lambda: server.limits.cut.get("answer_not_read"))
        eventually(lambda: server.count == 0)


def test_a_slow_but_steady_upload_goes_through(make_server) -> None:
    server = make_server(request_timeout_s=0.3)
    head = b"POST /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n"
    with server.open(head) as opened:
        for _ in range(40):
            opened.sendall(bytes(1000))
            time.sleep(0.02)
        assert read_all(opened).endswith(b"40000")


def test_connections_that_are_used_again_and_again_live_on(make_server) -> None:
    server = make_server(request_timeout_s=600.0)
    with server.open(b"") as opened:
        for _ in range(300):
            opened.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Some: " + b"a" * 500 + b"\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\n0"):
                answer += opened.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_what_is_cut_is_reported_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    limits = ConnectionLimits(1, 1, 1.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            limits.count("too_many", "a")
    assert limits.cut == {"too_many": 5}


def test_trusted_proxies_are_addresses_or_networks() -> None:
    assert networks(["10.0.0.0/8", "::1"]) == [ip_network("10.0.0.0/8"), ip_network("::1/128")]
    with pytest.raises(ConfigError, match="forwarded_allow_ips"):
        networks(["proxy.example"])

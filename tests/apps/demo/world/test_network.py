"""The link between a node and the cloud, with a real echo server."""

from __future__ import annotations

import socket
import socketserver
import threading

import pytest

from apps.demo.world.network import Link
from tests.waiting import PATIENCE_S


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while chunk := self.request.recv(65536):
            self.request.sendall(chunk)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address) -> None:
        """Resets are expected."""


@pytest.fixture
def echo():
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


def connect(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S)


def read_all(end: socket.socket) -> bytes:
    received = bytearray()
    while chunk := end.recv(65536):
        received += chunk
    return bytes(received)


def test_bytes_are_forwarded_and_counted(echo):
    content = bytes(range(256)) * 20_000
    with Link(echo) as link, connect(link) as client:
        sender = threading.Thread(
            target=lambda: (client.sendall(content), client.shutdown(socket.SHUT_WR)), name="sender"
        )
        sender.start()
        assert read_all(client) == content
        sender.join()
        assert (link.bytes_up, link.bytes_down) == (len(content), len(content))


def test_a_cut_resets_open_connections_and_refuses_new_ones(echo):
    with Link(echo) as link, connect(link) as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        link.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        with pytest.raises(ConnectionRefusedError):
            connect(link)


def test_a_restored_link_takes_connections_on_the_same_port(echo):
    with Link(echo) as link:
        port = link.port
        for _ in range(3):
            link.cut()
            link.restore()
        assert link.port == port
        with connect(link) as client:
            client.sendall(b"after")
            assert client.recv(100) == b"after"


def test_nobody_can_take_the_port_of_a_cut_link(echo):
    with Link(echo) as link:
        link.cut()
        with socket.socket() as thief, pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", link.port))


def test_an_absent_target_resets_the_client():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with Link(nobody.getsockname()) as link, pytest.raises(ConnectionResetError), connect(link) as client:
            client.recv(1)


def test_a_rewrite_changes_what_flows_up(echo):
    with Link(echo, rewrite=lambda: (bytes.upper, lambda chunk: chunk)) as link, connect(link) as client:
        client.sendall(b"quiet")
        assert client.recv(100) == b"QUIET"

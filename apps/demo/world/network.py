"""Network that can be cut: a TCP proxy on loopback between a node and the cloud.

`Link` listens on a port of its own and forwards to a target. Rules:

- `Link.cut` resets every connection (RST, as TCP sees a pulled cable after its timeout) and refuses new ones;
  the port stays bound, so that no other process can take it.
- `Link.restore` listens again on the same port.
- Bytes are counted in both directions.
- A connection buffers at most `BUFFER_BYTES` in each direction; a slow reader slows the sender down.
- ``rewrite`` may change the bytes (tests drop and duplicate MQTT packets); it is called once per connection
  and returns one function for each direction.

One thread owns all sockets of a link.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

BUFFER_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 2.0

Rewrite = Callable[[bytes], bytes]
"""Maps bytes read from one side to bytes written to the other."""


def unchanged(chunk: bytes) -> bytes:
    """The `Rewrite` that changes nothing."""
    return chunk


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection; bytes read here are written to ``other``."""

    socket: socket.socket
    up: bool
    rewrite: Rewrite
    other: _End | None = None
    waiting: bytearray = field(default_factory=bytearray)
    """Bytes to be written to this end."""
    finished: bool = False
    """End of input reached."""
    shut: bool = False
    """Output closed."""


class Link:
    """A TCP proxy from ``127.0.0.1:<port>`` to ``target`` that can be cut and restored."""

    def __init__(
        self, target: tuple[str, int], *, rewrite: Callable[[], tuple[Rewrite, Rewrite]] | None = None
    ) -> None:
        self.target = target
        self.bytes_up = 0
        self.bytes_down = 0
        self._rewrite = rewrite or (lambda: (unchanged, unchanged))
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._ends: set[_End] = set()
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._requested = "open"
        self._state = "cut"
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"link-{self.port}", daemon=True)
        self._thread.start()
        self.restore()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_cut(self) -> bool:
        return self._state != "open"

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._ends) // 2

    def cut(self) -> None:
        """Reset all connections and refuse new ones; returns once done."""
        self._switch("cut")

    def restore(self) -> None:
        """Accept connections again; returns once done."""
        self._switch("open")

    def reset(self) -> None:
        """Reset all connections, and accept new ones."""
        self.cut()
        self.restore()

    def close(self) -> None:
        """Close permanently; returns once all sockets are closed."""
        if self._thread.is_alive():
            self._switch("closed")
            self._thread.join()

    def _switch(self, state: str) -> None:
        with self._changed:
            if self._state == "closed":
                return
            self._requested = state
            self._wake_out.send(b"x")
            self._changed.wait_for(lambda: self._state in (state, "closed"), timeout=30)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            while self._state != "closed":
                for key, mask in self._selector.select():
                    if key.fileobj is self._wake_in:
                        self._wake_in.recv(64)
                        self._change()
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif key.data in self._ends:
                        self._serve(key.data, mask)
        finally:
            self._reset_all()
            for each in (self._listener, self._wake_in, self._wake_out):
                each.close()
            self._selector.close()
            with self._changed:
                self._state = "closed"
                self._changed.notify_all()

    def _change(self) -> None:
        requested = self._requested
        if requested == self._state:
            return
        if requested == "open":
            self._listener.listen(64)
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif self._state == "open":
            self._selector.unregister(self._listener)
            placeholder = _bound(self.port)
            self._listener.close()
            self._listener = placeholder
            self._reset_all()
        with self._changed:
            self._state = requested
            self._changed.notify_all()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection(self.target, timeout=CONNECT_TIMEOUT_S)
        except OSError:
            _reset(client)
            return
        up, down = self._rewrite()
        near = _End(client, True, up)
        far = _End(server, False, down, near)
        near.other = far
        for end in (near, far):
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends.add(end)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _serve(self, end: _End, mask: int) -> None:
        assert end.other is not None
        try:
            if mask & selectors.EVENT_WRITE:
                self._write(end)
            if mask & selectors.EVENT_READ and not end.finished:
                self._read(end)
        except BlockingIOError:
            return
        except OSError:
            self._drop(end)
            return
        if end.finished and end.other.finished and not end.waiting and not end.other.waiting:
            self._drop(end, quietly=True)
        else:
            self._watch(end)
            self._watch(end.other)

    def _read(self, end: _End) -> None:
        chunk = end.socket.recv(READ_BYTES)
        other = end.other
        assert other is not None
        if not chunk:
            end.finished = True
        elif end.up:
            self.bytes_up += len(chunk)
        else:
            self.bytes_down += len(chunk)
        other.waiting += end.rewrite(chunk) if chunk else b""
        self._write(other)

    def _write(self, end: _End) -> None:
        assert end.other is not None
        if end.waiting:
            try:
                del end.waiting[: end.socket.send(end.waiting)]
            except BlockingIOError:
                return
        if not end.waiting and end.other.finished and not end.shut:
            end.shut = True
            end.socket.shutdown(socket.SHUT_WR)

    def _watch(self, end: _End) -> None:
        """Select reading unless the other side's buffer is full, and writing if data waits."""
        assert end.other is not None
        events = selectors.EVENT_WRITE if end.waiting else 0
        if not end.finished and len(end.other.waiting) < BUFFER_BYTES:
            events |= selectors.EVENT_READ
        known = end.socket in self._selector.get_map()
        if events and known:
            self._selector.modify(end.socket, events, end)
        elif events:
            self._selector.register(end.socket, events, end)
        elif known:
            self._selector.unregister(end.socket)

    def _drop(self, end: _End, *, quietly: bool = False) -> None:
        for each in (end, end.other):
            if each is not None and each in self._ends:
                self._ends.discard(each)
                if each.socket in self._selector.get_map():
                    self._selector.unregister(each.socket)
                each.socket.close() if quietly else _reset(each.socket)

    def _reset_all(self) -> None:
        for end in list(self._ends):
            self._drop(end)


def _bound(port: int) -> socket.socket:
    """A socket on ``port`` that does not listen: connections are refused."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.setblocking(False)
    return listener


def _reset(end: socket.socket) -> None:
    """Close with RST instead of FIN."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        end.close()

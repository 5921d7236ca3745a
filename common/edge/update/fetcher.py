"""Fetching files of the update repository over HTTP, with bounds that a hostile server cannot widen.

`RepositoryFetcher` is the transport of python-tuf's client. Every transfer is bounded in bytes (by the
caller, from signed metadata), in time, and by a minimum mean speed; a transfer that breaks a bound is ended
from outside by closing its socket, so that not even a server that feeds one header byte at a time can
hold the thread. `fetch_target` gets one signed file to its final place: into a partial file named after
the wanted digest, continued by ``Range`` where an earlier attempt was cut, checked, synced, renamed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface, TargetFile
from urllib3.connection import HTTPConnection, HTTPSConnection

from common import durable
from common.config.node import OtaSettings

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
ATTEMPTS = 4
"""Times that a cut download is resumed within one check."""


class _Transfer:
    """Bounds of one transfer; shuts its socket when they are broken."""

    def __init__(self, settings: OtaSettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._bytes = 0
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.too_slow = False

    def opened(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connected)

    def received(self, count: int) -> None:
        self._bytes += count
        self.too_slow = self.too_slow or not self._in_time()
        self.check()

    def check(self) -> None:
        """Raise the watchdog's error: a socket that it shut looks like the end of the file."""
        if self.too_slow:
            raise SlowRetrievalError(self.complaint())

    def complaint(self) -> str:
        elapsed_s = time.monotonic() - self._started
        return (
            f"{self._bytes} bytes in {elapsed_s:.1f} s: less than "
            f"{self._settings.min_bytes_per_s:g} bytes/s, or over {self._settings.download_timeout_s:g} s"
        )

    def watch(self) -> None:
        """Runs in a thread of its own until `end`."""
        interval_s = min(1.0, self._settings.download_grace_s / 4)
        while not self._ended.wait(interval_s):
            if not self._in_time():
                self.too_slow = True
                with self._lock:
                    for connected in self._sockets:
                        with suppress(OSError):
                            connected.shutdown(socket.SHUT_RDWR)
                return

    def end(self) -> None:
        self._ended.set()

    def _in_time(self) -> bool:
        elapsed_s = time.monotonic() - self._started
        if elapsed_s > self._settings.download_timeout_s:
            return False
        return (
            elapsed_s <= self._settings.download_grace_s
            or self._bytes >= self._settings.min_bytes_per_s * (elapsed_s - self._settings.download_grace_s)
        )


_current = threading.local()


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _opened(self.sock)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _opened(self.sock)


def _opened(connected: Any) -> None:
    transfer: _Transfer | None = getattr(_current, "transfer", None)
    if transfer is not None and isinstance(connected, socket.socket):
        transfer.opened(connected)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType]: narrower than urllib3's protocol


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # pyright: ignore[reportAssignmentType]: as above


class Opened(NamedTuple):
    """An answer: where it starts (-1 if the server cannot resume there), the file's length, its content."""

    offset: int
    length: int | None
    chunks: Iterator[bytes]


class RepositoryFetcher(FetcherInterface):
    """python-tuf's transport. One connection per transfer; the node checks once a minute."""

    def __init__(self, settings: OtaSettings, *, token: str = "", user_agent: str = "edgeloop") -> None:
        self._settings = settings
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity", "Connection": "close"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pools = urllib3.PoolManager(retries=False)
        pools: dict[str, type[urllib3.HTTPConnectionPool] | type[urllib3.HTTPSConnectionPool]]
        pools = {"http": _Pool, "https": _SecurePool}
        self._pools.pool_classes_by_scheme = pools

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._chunks(url)

    def _chunks(self, url: str) -> Iterator[bytes]:
        with self.transfer(url) as opened:
            yield from opened.chunks

    @contextmanager
    def transfer(self, url: str, *, start: int = 0) -> Generator[Opened, None, None]:
        """A file from the server, from byte ``start`` on if it can.

        Raises `DownloadHTTPError`, `SlowRetrievalError`, and `DownloadError` for a transfer that was cut.
        """
        transfer = _Transfer(self._settings)
        watchdog = threading.Thread(target=transfer.watch, name="fetch-watchdog", daemon=True)
        _current.transfer = transfer
        watchdog.start()
        response = None
        try:
            with _as_download_errors(url, transfer):
                response = self._request(url, start)
                offset = _offset(response, start)
                header = response.headers.get("Content-Length", "")
                length = offset + int(header) if header.isdigit() else None
                yield Opened(offset, length, self._read(response, transfer))
        finally:
            transfer.end()
            _current.transfer = None
            if response is not None:
                response.close()

    def _request(self, url: str, start: int) -> urllib3.BaseHTTPResponse:
        headers = dict(self._headers)
        if start:
            headers["Range"] = f"bytes={start}-"
        response = self._pools.request(
            "GET",
            url,
            headers=headers,
            preload_content=False,
            decode_content=False,  # A file is what was signed; nothing is unpacked on the way.
            redirect=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=self._settings.download_grace_s),
        )
        if response.status >= 300 and response.status != 416:
            response.close()
            raise DownloadHTTPError(f"{url} answers with status {response.status}", response.status)
        return response

    def _read(self, response: urllib3.BaseHTTPResponse, transfer: _Transfer) -> Iterator[bytes]:
        while chunk := response.read1(CHUNK_BYTES):
            transfer.received(len(chunk))
            yield chunk
        transfer.check()


@contextmanager
def _as_download_errors(url: str, transfer: _Transfer) -> Generator[None, None, None]:
    try:
        yield
    except DownloadError:
        raise
    except urllib3.exceptions.ReadTimeoutError as error:
        raise SlowRetrievalError(f"{url}: nothing came for too long; {transfer.complaint()}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if transfer.too_slow:
            raise SlowRetrievalError(f"{url}: {transfer.complaint()}") from error
        raise DownloadError(f"{url}: {error}") from error


def _offset(response: urllib3.BaseHTTPResponse, start: int) -> int:
    if not start or response.status == 200:
        return 0
    header = response.headers.get("Content-Range", "")
    return start if response.status == 206 and header.startswith(f"bytes {start}-") else -1


def fetch_target(fetcher: RepositoryFetcher, url: str, target: TargetFile, path: Path) -> None:
    """Bring a signed file to ``path``, whole or not at all. What is there already is not fetched again.

    Raises `DownloadError` when it was cut (the next call resumes where this one ended), its subclasses
    `SlowRetrievalError` and `DownloadLengthMismatchError` (endless data), and `LengthOrHashMismatchError`
    for content that is not the signed one.
    """
    if _is_target(path, target):
        return
    digest = target.hashes.get("sha256", "")
    partial = path.with_name(f".{path.name}.{digest[:16]}.partial")
    resumed = partial.exists()
    for attempt in range(1, ATTEMPTS + 1):
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _continue_download(fetcher, url, target.length, partial)
            break
        except (SlowRetrievalError, DownloadLengthMismatchError, DownloadHTTPError):
            raise
        except DownloadError:
            stands_still = partial.exists() and partial.stat().st_size == before
            if attempt == ATTEMPTS or stands_still:
                raise
    if resumed and not _is_target(partial, target):
        partial.unlink(missing_ok=True)
        _continue_download(fetcher, url, target.length, partial)
    try:
        with partial.open("rb") as file:
            target.verify_length_and_hashes(file)
    except LengthOrHashMismatchError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
    durable.sync_folder(path.parent)


def _continue_download(fetcher: RepositoryFetcher, url: str, length: int, partial: Path) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    if start > length:
        partial.unlink()
        start = 0
    if start == length and length:
        return
    with partial.open("ab") as file, fetcher.transfer(url, start=start) as opened:
        if opened.offset < 0:
            file.truncate(0)
            raise DownloadError(f"{url}: the server cannot resume at byte {start}")
        if opened.length is not None and opened.length < length:
            file.truncate(0)
            raise LengthOrHashMismatchError(f"{url} has {opened.length} bytes, {length} were signed for")
        if opened.offset != start:
            file.truncate(0)
        _append(file, opened.chunks, opened.offset, length, url)
        file.flush()
        os.fsync(file.fileno())


def _append(file: IO[bytes], chunks: Iterator[bytes], received: int, length: int, url: str) -> None:
    for chunk in chunks:
        received += len(chunk)
        if received > length:
            file.truncate(0)
            raise DownloadLengthMismatchError(
                f"{url} continues after the {length} bytes that were signed for"
            )
        file.write(chunk)
        file.flush()
    if received < length:
        raise DownloadError(f"{url} was cut at byte {received} of {length}")


def _is_target(path: Path, target: TargetFile) -> bool:
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except (FileNotFoundError, LengthOrHashMismatchError):
        return False
    return True

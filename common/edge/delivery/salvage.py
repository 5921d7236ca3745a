"""Salvage: the rows of a damaged outbox that are still readable, page by page. Reads only (SQLite format).

No connection of this process may be open then: closing any file of a database takes the process's locks away.

SQLite stops reading a table at the first damaged page above its rows. Here every page is read by itself, in
the file and in its write-ahead log (https://sqlite.org/fileformat2.html), so that a row is lost only with its
own page, or with one that its body goes on in. A row is believed if it is one that the outbox writes: an
event must decode and name its own seq.

Of each page the newest version counts: that of the log, then that of the file. Pages that are no longer in
use may hold rows that the cloud has long had; ``acked`` in the outbox's own row separates them.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.edge.delivery.gaps import GAP, GapRow
from common.errors import MessageError
from common.messages import NAME_PATTERN, Priority, decode_event

MAGIC = b"SQLite format 3\0"
PAGE_SIZES = (2048, 4096, 1024, 512, 8192, 16384, 32768, 65536)
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LEAF = 13
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_PRIORITIES = frozenset(map(int, Priority))


class Row(NamedTuple):
    """A row of the table ``events``."""

    seq: int
    last: int
    priority: int
    body: bytes


class Meta(NamedTuple):
    """The outbox's own row."""

    epoch: str
    source: str
    stream: str
    next_seq: int
    position: int | None
    acked: int


@dataclass(slots=True)
class Salvaged:
    """The readable part. ``certain`` is whether ``meta`` is as of the last commit."""

    meta: Meta | None = None
    certain: bool = False
    rows: list[Row] = field(default_factory=list[Row])
    state: bytes | None = None
    journal: list[bytes] = field(default_factory=list[bytes])
    journal_whole: bool = True

    def know(self, epoch: str, next_seq: int, acked: int) -> None:
        """The node still runs: it knows better than the file which seqs there are."""
        old = self.meta or Meta(epoch, "", "", next_seq, None, acked)
        self.meta = old._replace(epoch=epoch, next_seq=next_seq, acked=acked)
        self.certain = True
        self.rows = [row for row in self.rows if acked < row.seq and row.last < next_seq]

    @property
    def first_seq(self) -> int:
        """The lowest seq that the cloud may not have."""
        if self.meta is not None:
            return self.meta.acked + 1
        return self.rows[0].seq if self.rows else 1

    @property
    def next_seq(self) -> int:
        """The first seq that was not given, as far as is known."""
        newest = self.rows[-1].last + 1 if self.rows else self.first_seq
        return max(newest, self.meta.next_seq) if self.meta is not None else newest

    def lost(self) -> list[tuple[int, int]]:
        """Ranges of seqs that were given, are not the cloud's, and cannot be read."""
        missing: list[tuple[int, int]] = []
        expected = self.first_seq
        for row in [*self.rows, Row(self.next_seq, self.next_seq, GAP, b"")]:
            if row.seq > expected:
                missing.append((expected, row.seq - 1))
            expected = row.last + 1
        return missing


class Wal(NamedTuple):
    """A write-ahead log: newest frame of each page, in any order; what is wrong with it."""

    pages: Mapping[int, bytes]
    page_bytes: int
    damaged: bool


def salvage(path: Path) -> Salvaged:
    """Read the file ``path`` and its log. Never raises for what is in them."""
    content, log_content = _read(path), _read(path.with_name(f"{path.name}-wal"))
    wal = read_wal(log_content)
    page_bytes = wal.page_bytes or _page_bytes(content)
    pages = {
        number + 1: content[at : at + page_bytes]
        for number, at in enumerate(range(0, len(content), page_bytes))
    }
    found = _Found()
    for number in pages.keys() | wal.pages.keys():
        versions = [versions[number] for versions in (wal.pages, pages) if number in versions]
        for version in versions:
            cells = list(_cells(version, {**pages, **wal.pages}, page_bytes, first=number == 1))
            if cells or version[:1] == bytes([_LEAF]):
                for rowid, values in cells:
                    found.add(rowid, values)
                break
    return found.salvaged(damaged_log=wal.damaged)


def is_orphaned(path: Path) -> bool:
    """Whether there is a file that holds nothing, or a log without its file: SQLite would start over."""
    log = path.with_name(f"{path.name}-wal")
    try:
        return path.stat().st_size == 0
    except OSError:
        return bool(_read(log))


def log_is_damaged(path: Path) -> bool:
    """Whether SQLite will leave out transactions of the log that were whole once.

    It silently takes the log up to the first bad frame. A crash in the middle of a commit leaves no
    end of a transaction behind the bad frame.
    """
    return read_wal(_read(path.with_name(f"{path.name}-wal"))).damaged


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _page_bytes(content: bytes) -> int:
    if content[:16] == MAGIC:
        size = int.from_bytes(content[16:18], "big")
        size = 65536 if size == 1 else size
        if size in PAGE_SIZES:
            return size
    # The header is gone: the size at which most pages look like ones.
    return max(PAGE_SIZES, key=lambda size: _looks_like(content, size))


def _looks_like(content: bytes, size: int) -> float:
    starts = range(size, len(content), size)
    kinds = (2, 5, 10, _LEAF)
    likely = sum(content[at] in kinds and content[at + 7 : at + 8] == b"\0" for at in starts)
    return likely / len(starts) if starts else 0.0


# ------------------------------------------------------------------------------------------- the log


def read_wal(content: bytes) -> Wal:
    """The frames of the log's present generation.

    It is damaged where a bad frame is followed by the end of a transaction, and then all that is of this
    generation is given. What a crash leaves of an unfinished transaction does not count.
    """
    if len(content) < _WAL_HEADER.size:
        return Wal({}, 0, any(content))
    magic, _, page_bytes, _, *salt, sum_1, sum_2 = _WAL_HEADER.unpack_from(content)
    order = ">" if magic & 1 else "<"
    known = magic in _WAL_MAGIC and page_bytes in PAGE_SIZES
    sums = _checksum(content[:24], 0, 0, order) if known else (0, 0)
    if not known or sums != (sum_1, sum_2):
        return Wal({}, 0, any(content))
    good: dict[int, bytes] = {}
    rest: dict[int, bytes] = {}
    broken = damaged = False
    size = _FRAME.size + page_bytes
    for at in range(_WAL_HEADER.size, len(content) - size + 1, size):
        number, size_after, *more = _FRAME.unpack_from(content, at)
        frame_salt, frame_sums = more[:2], more[2:]
        page = content[at + _FRAME.size : at + size]
        if not broken:
            sums = _checksum(page, *_checksum(content[at : at + 8], *sums, order), order)
            broken = frame_salt != salt or sums != tuple(frame_sums)
        elif frame_salt == salt and size_after:
            damaged = True
        if frame_salt == salt and number:
            rest[number] = page
        if not broken and size_after:
            good.update(rest)
            rest = {}
    return Wal({**good, **rest} if damaged else good, page_bytes, damaged)


def _checksum(content: bytes, sum_1: int, sum_2: int, order: str) -> tuple[int, int]:
    for first, second in struct.iter_unpack(f"{order}II", content):
        sum_1 = (sum_1 + first + sum_2) & 0xFFFFFFFF
        sum_2 = (sum_2 + second + sum_1) & 0xFFFFFFFF
    return sum_1, sum_2


# ------------------------------------------------------------------------------------------ the pages


def _cells(
    page: bytes, pages: Mapping[int, bytes], page_bytes: int, *, first: bool
) -> Iterator[tuple[int, list[Any]]]:
    """``(rowid, values)`` of each readable row on a leaf page of a table."""
    start = 100 if first else 0
    if len(page) < start + 8 or page[start] != _LEAF:
        return
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    for index in range(min(count, page_bytes // 4)):
        pointer = start + 8 + 2 * index
        with suppress(IndexError, ValueError, struct.error, UnicodeDecodeError):
            yield _cell(page, int.from_bytes(page[pointer : pointer + 2], "big"), pages, page_bytes)


def _cell(page: bytes, at: int, pages: Mapping[int, bytes], page_bytes: int) -> tuple[int, list[Any]]:
    """Raises ``ValueError`` or ``IndexError`` for what is no row."""
    size, at = _varint(page, at)
    rowid, at = _varint(page, at)
    local = _local_bytes(size, page_bytes)
    payload = page[at : at + local]
    if size > local:
        payload += _overflow(page[at + local : at + local + 4], size - local, pages, page_bytes)
    if len(payload) != size:
        raise ValueError("a row ends before its end")
    return rowid, _values(payload)


def _local_bytes(size: int, page_bytes: int) -> int:
    max_local = page_bytes - 35
    if size <= max_local:
        return size
    min_local = (page_bytes - 12) * 32 // 255 - 23
    wanted = min_local + (size - min_local) % (page_bytes - 4)
    return wanted if wanted <= max_local else min_local


def _overflow(pointer: bytes, size: int, pages: Mapping[int, bytes], page_bytes: int) -> bytes:
    parts: list[bytes] = []
    number = int.from_bytes(pointer, "big")
    seen: set[int] = set()
    while size > 0:
        if number in seen or number not in pages:
            raise ValueError("a row goes on on a page that is not there")
        seen.add(number)
        page = pages[number]
        part = page[4 : 4 + min(size, page_bytes - 4)]
        parts.append(part)
        size -= len(part)
        if not part:
            raise ValueError("a row goes on on a page that ends")
        number = int.from_bytes(page[:4], "big")
    return b"".join(parts)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = content[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | content[at + 8], at + 9


def _values(payload: bytes) -> list[Any]:
    head, at = _varint(payload, 0)
    body = head
    values: list[Any] = []
    while at < head:
        kind, at = _varint(payload, at)
        if kind in (8, 9):
            values.append(kind - 8)
            continue
        if kind < 7:
            length = _INTEGER_BYTES[kind]
        elif kind >= 12:
            length = (kind - 12) // 2
        else:
            raise ValueError("a value of a kind that the outbox does not write")
        part = payload[body : body + length]
        if len(part) != length:
            raise ValueError("a value ends before its end")
        body += length
        if kind == 0:
            values.append(None)
        elif kind < 7:
            values.append(int.from_bytes(part, "big", signed=True))
        else:
            values.append(part.decode("utf-8") if kind % 2 else part)
    return values


# ------------------------------------------------------------------------------------------- the rows


class _Found:
    """Rows that are believed, by what they are."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._metas: list[Meta] = []
        self._states: list[tuple[bytes | None, int]] = []
        self._journal: dict[int, bytes] = {}

    def add(self, rowid: int, values: list[Any]) -> None:
        match values:
            case [None, int(last), int(priority), bytes(body)]:
                if _is_event(rowid, last, priority, body):
                    self._rows[rowid] = Row(rowid, last, priority, body)
            case [None, str(epoch), str(source), str(stream), int(next_seq), position, *acked] if (
                rowid == 1 and NAME_PATTERN.fullmatch(epoch) and next_seq > 0 and len(acked) <= 1
            ):
                mark = acked[0] if acked and isinstance(acked[0], int) else 0
                where = position if isinstance(position, int) else None
                self._metas.append(Meta(epoch, source, stream, next_seq, where, mark))
            case [None, content, int(journal)] if rowid == 1 and isinstance(content, bytes | None):
                self._states.append((content, journal))
            case [None, bytes(content)]:
                self._journal[rowid] = content
            case _:
                pass

    def salvaged(self, *, damaged_log: bool) -> Salvaged:
        result = Salvaged()
        if self._metas:
            result.meta = max(self._metas, key=lambda meta: meta.next_seq)
        epochs = Counter(_epoch(row) for row in self._rows.values() if row.priority != GAP)
        epoch = result.meta.epoch if result.meta else max(epochs, key=epochs.__getitem__, default="")
        acked = result.meta.acked if result.meta else 0
        after = acked
        for row in sorted(self._rows.values()):
            if row.seq > after and (row.priority == GAP or _epoch(row) == epoch):
                result.rows.append(row)
                after = row.last
        result.certain = result.meta is not None and not damaged_log and after < result.meta.next_seq
        if self._states:
            result.state, after = max(self._states, key=lambda state: state[1])
            numbers = sorted(number for number in self._journal if number > after)
            for expected, number in enumerate(numbers, after + 1):
                if number != expected:
                    result.journal_whole = False
                    break
                result.journal.append(self._journal[number])
        return result


def _is_event(seq: int, last: int, priority: int, body: bytes) -> bool:
    try:
        if priority == GAP:
            GapRow.of(seq, last, body)
            return 0 < seq <= last
        return priority in _PRIORITIES and 0 < seq == last == decode_event(body).seq
    except (MessageError, msgspec.MsgspecError):
        return False


def _epoch(row: Row) -> str:
    return decode_event(row.body).epoch

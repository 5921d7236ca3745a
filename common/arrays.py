"""Bounded reader of ``.npz`` files: named arrays of numbers and text, from content that is not trusted.

Every ``.npz`` in edgeloop is read here (samples, golden cases, recordings, weights). Nothing is unpickled.
Checked before anything is allocated: the zip directory's size, the members' names and compression, each
header's length, dtype and shape. What the arrays take unpacked is bounded by the caller's limit and by
`EXPANSION_LIMIT` times the file, and each array must hold exactly what its header promises. `check_arrays`
makes the same checks in constant memory.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from common.errors import ArraysError

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name."""
ARRAYS_LIMIT = 64
"""Maximum number of arrays in a file."""
EXPANSION_LIMIT = 100
"""Maximum unpacked bytes per byte of the file, beyond `FREE_BYTES`."""
FREE_BYTES = 4 * 1024 * 1024
"""Unpacked bytes that any file may have, however well it is compressed."""
_CHUNK_BYTES = 256 * 1024
_HEADER_LIMIT_BYTES = 10_000
_DIRECTORY_LIMIT_BYTES = ARRAYS_LIMIT * 1024
_END_BYTES = 22
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_CODE_POINTS = 0x110000


def encode_arrays(arrays: Arrays) -> bytes:
    """``arrays`` as ``.npz``: compressed, or stored where compression would exceed what readers accept."""
    plain = sum(array.nbytes for array in arrays.values())
    out = io.BytesIO()
    np.savez_compressed(out, **cast("Any", dict(arrays)))
    if plain + ARRAYS_LIMIT * 1024 > _allowance(out.tell()):
        out = io.BytesIO()
        np.savez(out, **cast("Any", dict(arrays)))
    return out.getvalue()


def read_arrays(source: Path | bytes, *, limit_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` by name. Raises `ArraysError` for anything else, `OSError` for no file."""
    with _refusals():
        return {member.name: member.read() for member in _members(source, limit_bytes)}


def check_arrays(source: Path | bytes, *, limit_bytes: int) -> None:
    """`read_arrays` without its result, in constant memory."""
    with _refusals():
        for member in _members(source, limit_bytes):
            for _ in member.chunks():
                pass


@dataclass(frozen=True, slots=True)
class _Member:
    """One array whose header was accepted; ``file`` stands behind the header."""

    name: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int
    file: IO[bytes]

    def read(self) -> NDArray[Any]:
        plain = np.empty(self.size, np.uint8)
        at = 0
        for chunk in self.chunks():
            plain[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
        flat: NDArray[Any] = plain.view(self.dtype)
        return flat.reshape(self.shape[::-1]).T if self.fortran else flat.reshape(self.shape)

    def chunks(self) -> Iterator[bytes]:
        left = self.size
        while left:
            chunk = self.file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            self._check_text(chunk)
            yield chunk
        if left or self.file.read(1):  # reading on checks the member's CRC as well
            raise ArraysError(
                f"array {self.name!r} does not hold the {self.size} bytes that its header promises"
            )

    def _check_text(self, chunk: bytes) -> None:
        """numpy takes any number for a character; what reads it as text does not."""
        if self.dtype.kind != "U":
            return
        if len(chunk) % 4:
            raise ArraysError(f"array {self.name!r} ends within a character")
        codes = np.frombuffer(chunk, np.dtype(np.uint32).newbyteorder(self.dtype.byteorder))
        if np.any((codes >= _CODE_POINTS) | ((codes >= 0xD800) & (codes <= 0xDFFF))):
            raise ArraysError(f"array {self.name!r} holds text that is not Unicode")


@contextmanager
def _refusals() -> Generator[None]:
    try:
        yield
    except (ArraysError, FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        raise ArraysError("too large for the memory of this machine") from error
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ArraysError(f"not an .npz of plain arrays: {error}") from error
    except Exception as error:  # zlib and ast have error classes of their own
        raise ArraysError(f"cannot be unpacked: {error}") from error


def _members(source: Path | bytes, limit_bytes: int) -> Iterator[_Member]:
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        left = min(limit_bytes, _allowance(_check_end(file)))
        with zipfile.ZipFile(file) as archive:
            names: set[str] = set()
            members = archive.infolist()
            if not 0 < len(members) <= ARRAYS_LIMIT:
                raise ArraysError(f"{len(members)} arrays; 1 to {ARRAYS_LIMIT} are accepted")
            for info in members:
                _check_member(info, names)
                with archive.open(info) as content:
                    member = _header(content, info.filename.removesuffix(".npy"), left)
                    yield member
                left -= member.size


def _allowance(file_bytes: int) -> int:
    return max(FREE_BYTES, EXPANSION_LIMIT * file_bytes)


def _check_end(file: IO[bytes]) -> int:
    """The file's size. Refuses a zip directory that is large: `zipfile` would read all of it at once."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END_BYTES - 20))
    tail = file.read()
    end, locator = tail[-_END_BYTES:], tail[:-_END_BYTES]
    if size < _END_BYTES or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0" or locator[:4] == b"PK\6\7":
        raise ArraysError("not an .npz of plain arrays: it is no zip file, or it has a comment or ZIP64 end")
    if int.from_bytes(end[12:16], "little") > _DIRECTORY_LIMIT_BYTES:
        raise ArraysError(f"more than {ARRAYS_LIMIT} arrays, or names that are too long")
    file.seek(0)
    return size


def _check_member(info: zipfile.ZipInfo, names: set[str]) -> None:
    name = info.filename.removesuffix(".npy")
    if name == info.filename or not _NAME.fullmatch(name) or name in names:
        raise ArraysError(f"a member {info.filename[:40]!r}, which is not an array")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise ArraysError(f"array {name!r} is encrypted, or neither stored nor deflated")
    names.add(name)


def _header(file: IO[bytes], name: str, left_bytes: int) -> _Member:
    start = file.read(8)
    version = tuple(start[6:8])
    if start[:6] != npy.MAGIC_PREFIX or version not in ((1, 0), (2, 0)):
        raise ArraysError(f"array {name!r} has .npy version {version}")
    length = file.read(2 if version == (1, 0) else 4)
    if int.from_bytes(length, "little") > _HEADER_LIMIT_BYTES:
        raise ArraysError(f"array {name!r} has a header of more than {_HEADER_LIMIT_BYTES} bytes")
    text = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    parse = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = parse(text)
    if dtype.hasobject or dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise ArraysError(f"array {name!r} has dtype {dtype}; numbers and text only are accepted")
    if any(length < 0 for length in shape):
        raise ArraysError(f"array {name!r} has the shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if size > left_bytes:
        raise ArraysError(f"array {name!r} would unpack to {size} bytes; {left_bytes} are left")
    return _Member(name, shape, fortran, dtype, size, file)

"""Journal: the readings since the app's state was last written whole, as bytes. No I/O.

Between two checkpoints of the app's state the outbox keeps the readings that it has decided on instead of the
state; at a restart they are decided on again, silently. They come back exactly as they were. Numbers of a
fixed resolution (of an analogue-to-digital converter, in any unit) are kept as differences of
whole numbers, which takes about a fifth of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from common.app.edge import Reading
from common.edge.processing.state import decode_value, encode_value
from common.errors import OutboxError

SCALES = (1.0, 10.0, 100.0, 1000.0, 200.0, 10_000.0, 100_000.0, 1_000_000.0, 400.0, 2000.0, 32_768.0)
"""Steps for a unit that are tried; 200 for a millivolt is that of many ECG recordings."""
_SCALES = np.array(SCALES)[:, np.newaxis]
MIN_SCALED_VALUES = 8
PLAIN_LIMIT_BYTES = 256 * 1024 * 1024
"""Largest journal row or state after decompression."""


class Decided(NamedTuple):
    """A reading, and the node's time when it was decided on."""

    reading: Reading
    now_ns: int


class _Values(msgspec.Struct, frozen=True, array_like=True):
    """An array: differences along the first axis where ``scale`` is not 0; bytes of equal weight together."""

    dtype: str
    shape: list[int]
    scale: float
    content: bytes
    minus_zeros: bytes = b""
    """Places of -0, which whole numbers do not have."""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    subject: str
    captured_ns: int
    now_ns: int
    position: int
    channels: list[str]
    rate_hz: float | None
    attributes: bytes
    values: _Values


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Row])


def encode_readings(readings: Sequence[Decided]) -> bytes:
    """``readings`` as bytes. Raises ``TypeError`` for values or attributes that cannot be kept."""
    return pack(_encoder.encode([_row(each) for each in readings]))


def decode_readings(content: bytes) -> list[Decided]:
    """Inverse of `encode_readings`. Raises `OutboxError`."""
    try:
        return [_decided(row) for row in _decoder.decode(unpack(content))]
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise OutboxError(f"the kept readings are not readable: {error}") from error


def pack(plain: bytes) -> bytes:
    """Compressed, with a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)


def unpack(content: bytes) -> bytes:
    """Inverse of `pack`; what is not compressed is given as it is. Raises `OutboxError` for damage."""
    if content[:4] != zstandard.FRAME_HEADER:
        return content
    try:
        if not 0 <= zstandard.frame_content_size(content) <= PLAIN_LIMIT_BYTES:
            raise OutboxError("the kept bytes declare no possible size")
        return zstandard.ZstdDecompressor().decompress(content)
    except (zstandard.ZstdError, MemoryError) as error:
        raise OutboxError(f"what was kept is damaged: {error}") from error


def _row(decided: Decided) -> _Row:
    reading = decided.reading
    return _Row(
        reading.subject,
        reading.captured_ns,
        decided.now_ns,
        reading.position,
        list(reading.channels),
        reading.rate_hz,
        encode_value(dict(reading.attributes)),
        _pack_values(np.asarray(reading.values)),
    )


def _decided(row: _Row) -> Decided:
    attributes: dict[str, Any] = decode_value(row.attributes)
    reading = Reading(
        row.subject,
        row.captured_ns,
        row.position,
        _unpack_values(row.values),
        tuple(row.channels),
        row.rate_hz,
        attributes,
    )
    return Decided(reading, row.now_ns)


def _pack_values(values: NDArray[Any]) -> _Values:
    if values.dtype.hasobject:
        raise TypeError("an array of Python objects cannot be kept")
    array = np.ascontiguousarray(values)
    if array.dtype.kind == "f" and array.size >= MIN_SCALED_VALUES:
        exact = (array + 0.0).tobytes()
        for scale in _possible_scales(array.reshape(-1)[:MIN_SCALED_VALUES]):
            with np.errstate(over="ignore", invalid="ignore"):
                steps = np.rint(array * scale)
                fits = bool((np.abs(steps) < 2.0**31).all())
            if fits and _scaled(whole := steps.astype(np.int32), scale, array.dtype).tobytes() == exact:
                change = np.diff(whole, axis=0, prepend=np.int32(0))
                zigzag = ((change << 1) ^ (change >> 31)).astype("<i4")
                minus = np.flatnonzero((array == 0) & np.signbit(array)).astype("<u4").tobytes()
                return _Values(array.dtype.str, list(values.shape), scale, _by_weight(zigzag), minus)
    return _Values(array.dtype.str, list(values.shape), 0.0, _by_weight(array))


def _possible_scales(values: NDArray[Any]) -> list[float]:
    """The `SCALES` by which ``values`` are whole numbers: those with which the whole array is tried."""
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(values * _SCALES.astype(values.dtype))
        same = (steps / _SCALES).astype(values.dtype) == values
    return [scale for scale, fits in zip(SCALES, same.all(axis=1).tolist(), strict=True) if fits]


def _unpack_values(kept: _Values) -> NDArray[Any]:
    dtype = np.dtype(kept.dtype)
    if not kept.scale:
        return _of_weight(kept.content, dtype).reshape(kept.shape)
    zigzag = _of_weight(kept.content, np.dtype("<u4")).reshape(kept.shape)
    change = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    steps = np.cumsum(change, axis=0, dtype=np.int32)
    values = _scaled(steps, kept.scale, dtype)
    values.reshape(-1)[np.frombuffer(kept.minus_zeros, "<u4")] = -0.0
    return values


def _scaled(steps: NDArray[np.int32], scale: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    return (steps / scale).astype(dtype)


def _by_weight(array: NDArray[Any]) -> bytes:
    return array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T.tobytes()


def _of_weight(content: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)

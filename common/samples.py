"""The content of a sample: named arrays as ``.npz``, never pickled, read by `common.arrays` within limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common.arrays import ARRAYS_LIMIT, Arrays, check_arrays, encode_arrays, read_arrays
from common.errors import ArraysError, SampleError

PLAIN_LIMIT_BYTES = 256 * 1024 * 1024
"""Largest sample after decompression."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")


def encode_sample(arrays: Arrays) -> bytes:
    """``arrays`` as ``.npz``. Raises `SampleError` for arrays of objects or unusable names."""
    if not 0 < len(arrays) <= ARRAYS_LIMIT:
        raise SampleError(f"a sample holds 1 to {ARRAYS_LIMIT} arrays, not {len(arrays)}")
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise SampleError(f"{name[:40]!r} cannot name an array of a sample")
        if array.dtype.hasobject or array.dtype.kind not in "biufcSU":
            raise SampleError(f"array {name!r} has dtype {array.dtype}; a sample holds numbers and text only")
    return encode_arrays(arrays)


def decode_sample(source: Path | bytes, *, limit_bytes: int = PLAIN_LIMIT_BYTES) -> dict[str, NDArray[Any]]:
    """Inverse of `encode_sample`. Raises `SampleError` for anything that is not exactly a sample."""
    try:
        return read_arrays(source, limit_bytes=limit_bytes)
    except ArraysError as error:
        raise SampleError(f"the sample is refused: {error}") from error


def check_sample(source: Path | bytes, *, limit_bytes: int = PLAIN_LIMIT_BYTES) -> None:
    """Raises `SampleError` where `decode_sample` would; takes no memory for the arrays."""
    try:
        check_arrays(source, limit_bytes=limit_bytes)
    except ArraysError as error:
        raise SampleError(f"the sample is refused: {error}") from error

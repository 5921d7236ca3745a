"""The content of a sample: named arrays as ``.npz``, never pickled.

What arrives is not trusted: it must be a zip of ``.npy`` members whose headers promise plain dtypes and
no more bytes than the limit, and which hold exactly what they promise. The sizes are read from the
headers before anything is unpacked, so a zip bomb costs nothing.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from common.app import Arrays
from common.errors import SampleError

ARRAYS_LIMIT = 64
"""Most arrays in a sample."""
PLAIN_LIMIT_BYTES = 256 * 1024 * 1024
"""Largest sample after decompression."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")


def encode_sample(arrays: Arrays) -> bytes:
    """``arrays`` as compressed ``.npz``. Raises `SampleError` for arrays of objects or unusable names."""
    if not 0 < len(arrays) <= ARRAYS_LIMIT:
        raise SampleError(f"a sample holds 1 to {ARRAYS_LIMIT} arrays, not {len(arrays)}")
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise SampleError(f"{name[:40]!r} cannot name an array of a sample")
        if array.dtype.hasobject or array.dtype.kind not in "biufcSU":
            raise SampleError(f"array {name!r} has dtype {array.dtype}; a sample holds numbers and text only")
    out = io.BytesIO()
    np.savez_compressed(out, **cast(Any, dict(arrays)))
    return out.getvalue()


def decode_sample(content: bytes, *, limit_bytes: int = PLAIN_LIMIT_BYTES) -> dict[str, NDArray[Any]]:
    """Inverse of `encode_sample`. Raises `SampleError` for anything that is not exactly a sample."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if not 0 < len(members) <= ARRAYS_LIMIT:
                raise SampleError(f"the sample has {len(members)} arrays; 1 to {ARRAYS_LIMIT} are taken")
            left = limit_bytes
            arrays: dict[str, NDArray[Any]] = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename or not _NAME.fullmatch(name) or name in arrays:
                    raise SampleError(
                        f"the sample has a member {member.filename[:40]!r}, which is not an array"
                    )
                arrays[name] = _read_array(archive, member, name, left)
                left -= arrays[name].nbytes
            return arrays
    except SampleError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise SampleError(f"the sample is not an .npz of plain arrays: {error}") from error
    except Exception as error:  # zlib and its siblings have error classes of their own
        raise SampleError(f"the sample cannot be unpacked: {error}") from error


def _read_array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, limit_bytes: int
) -> NDArray[Any]:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(file)
        else:
            raise SampleError(f"array {name!r} has .npy version {version}")
        if dtype.hasobject or dtype.kind not in "biufcSU":
            raise SampleError(f"array {name!r} has dtype {dtype}; a sample holds numbers and text only")
        promised = math.prod(shape) * dtype.itemsize
        if any(length < 0 for length in shape):
            raise SampleError(f"array {name!r} has the shape {shape}")
        if promised > limit_bytes:
            raise SampleError(f"array {name!r} would unpack to {promised} bytes; {limit_bytes} are left")
        plain = file.read(promised + 1)
        if len(plain) != promised:
            raise SampleError(f"array {name!r} does not hold the {promised} bytes that its header promises")
    array: NDArray[Any] = np.frombuffer(plain, dtype=dtype).copy()
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)

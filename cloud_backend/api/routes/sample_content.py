"""The content of a sample as JSON values, within limits for plotting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cloud_backend.api.problem import problem
from common.errors import SampleError

if TYPE_CHECKING:
    from cloud_backend.training.samples import SampleStore

FILE_LIMIT_BYTES = 2 * 1024 * 1024
UNCOMPRESSED_LIMIT_BYTES = 16 * 1024 * 1024
VALUES_LIMIT = 200_000


def read_content(samples: SampleStore, digest: str) -> dict[str, Any]:
    """The arrays of a complete sample by name, as nested lists.

    NaN and infinity become None, a complex number ``[real, imaginary]``. Raises a 404 problem for a missing
    file and a 413 one for a sample over the limits.
    """
    try:
        size = samples.path(digest).stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise problem(413, f"the sample has {size} bytes; the maximum is {FILE_LIMIT_BYTES}")
        arrays = samples.read(digest, limit_bytes=UNCOMPRESSED_LIMIT_BYTES)
    except FileNotFoundError:
        raise problem(404, "the file of this sample is missing") from None
    except SampleError as error:
        raise problem(413, f"the sample is too large: {error}") from error
    count = sum(array.size for array in arrays.values())
    if count > VALUES_LIMIT:
        raise problem(413, f"the sample has {count} values; the maximum is {VALUES_LIMIT}")
    return {name: _plain(array) for name, array in arrays.items()}


def _plain(array: NDArray[Any]) -> Any:
    if array.dtype.kind == "c":
        return _plain(np.stack([np.real(array), np.imag(array)], axis=-1))
    if array.dtype.kind == "f":
        values = array.astype(object)
        values[~np.isfinite(array)] = None
        return values.tolist()
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace").tolist()
    return array.tolist()

"""An app's state as bytes: MessagePack, with numpy arrays as an extension type. No pickle."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.app.edge import State
from common.errors import OutboxError

_ARRAY_CODE = 1


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(cast("NDArray[Any]", value))
        if array.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be kept in an app's state")
        parts = (array.dtype.str, list(array.shape), array.tobytes())
        return msgspec.msgpack.Ext(_ARRAY_CODE, msgspec.msgpack.encode(parts))
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    raise TypeError(f"{type(value).__name__} cannot be kept in an app's state")


def _decode_array(code: int, data: memoryview) -> Any:
    if code != _ARRAY_CODE:
        raise OutboxError(f"the app's state holds an unknown extension {code}")
    dtype, shape, content = msgspec.msgpack.decode(data, type=tuple[str, list[int], bytes])
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_decoder = msgspec.msgpack.Decoder(ext_hook=_decode_array)
_state_decoder = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_decode_array)


def encode_value(value: object) -> bytes:
    """``value`` as bytes. Raises ``TypeError`` for what is not JSON values, bytes or arrays."""
    return _encoder.encode(value)


def decode_value(content: bytes) -> Any:
    """Inverse of `encode_value`. Raises what msgspec and numpy raise for other bytes."""
    return _decoder.decode(content)


def encode_state(state: State) -> bytes:
    """``state`` as bytes. Raises ``TypeError`` for what is not JSON values, bytes or arrays."""
    return encode_value(state)


def decode_state(content: bytes) -> dict[str, Any]:
    """Inverse of `encode_state`. Raises `OutboxError` for bytes that are not a state."""
    try:
        return _state_decoder.decode(content)
    except msgspec.ValidationError as error:
        raise OutboxError(f"the saved state of the app is not a mapping: {error}") from error
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise OutboxError(f"the saved state of the app is not readable: {error}") from error

"""Samples come back as they were; nothing else is let in."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from common.errors import SampleError
from common.samples import decode_sample, encode_sample

plain = arrays_of.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), plain, min_size=1, max_size=4))
def test_arrays_come_back_as_they_were(arrays: dict[str, np.ndarray]) -> None:
    back = decode_sample(encode_sample(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_fortran_order_comes_back() -> None:
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(decode_sample(encode_sample({"a": array}))["a"], array)


def test_objects_are_not_encoded() -> None:
    with pytest.raises(SampleError, match="dtype object"):
        encode_sample({"a": np.array([{}], dtype=object)})


def test_pickles_are_not_decoded() -> None:
    out = io.BytesIO()
    np.savez(out, a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SampleError):
        decode_sample(out.getvalue())
    with pytest.raises(SampleError):
        decode_sample(pickle.dumps([1]))


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    content = encode_sample({"a": np.zeros(4_000_000, np.uint8)})
    assert len(content) < 10_000
    with pytest.raises(SampleError, match="would unpack to"):
        decode_sample(content, limit_bytes=1_000_000)


def test_a_header_that_promises_little_and_holds_much_is_refused() -> None:
    out = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (3,)})
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header.getvalue() + b"\0" * 5_000_000)
    with pytest.raises(SampleError, match="does not hold the 3 bytes"):
        decode_sample(out.getvalue())


@pytest.mark.parametrize("shape", ["(-1,)", "(2**70,)", "(10**9, 10**9)"])
def test_impossible_shapes_are_refused(shape: str) -> None:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 8
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(SampleError):
        decode_sample(out.getvalue())


@pytest.mark.parametrize("name", ["a.txt", "../a", ".npy"])
def test_strange_members_are_refused(name: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(SampleError):
        decode_sample(out.getvalue())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_sample_or_a_sample_error(content: bytes) -> None:
    with pytest.raises(SampleError):
        decode_sample(content)


@given(st.data())
def test_a_damaged_sample_is_a_sample_error(data: st.DataObject) -> None:
    content = bytearray(encode_sample({"a": np.arange(50.0), "b": np.arange(5)}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays = decode_sample(bytes(content))
    except SampleError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())

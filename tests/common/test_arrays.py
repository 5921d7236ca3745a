"""No ``.npz`` makes a reader allocate, unpack or hold more than its limits."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from common.arrays import (
    ARRAYS_LIMIT,
    EXPANSION_LIMIT,
    FREE_BYTES,
    check_arrays,
    encode_arrays,
    read_arrays,
)
from common.bundle import GOLDEN_PLAIN_LIMIT_BYTES
from common.errors import ArraysError
from common.samples import PLAIN_LIMIT_BYTES

LIMIT = 1 << 30


def npy(shape: str, content: bytes = b"", descr: str = "|u1", version: int = 1) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + content


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return out.getvalue()


def assert_refused(content: bytes, match: str, limit_bytes: int = LIMIT) -> None:
    for read in (read_arrays, check_arrays):
        with pytest.raises(ArraysError, match=match):
            read(content, limit_bytes=limit_bytes)


def test_a_file_unpacks_to_a_bounded_multiple_of_itself() -> None:
    size = 40_000_000
    content = archive({"a.npy": npy(f"({size},)", bytes(size))})
    assert size > EXPANSION_LIMIT * len(content)
    assert_refused(content, "would unpack to")


def test_the_multiple_counts_over_all_members() -> None:
    size = FREE_BYTES // 4
    content = archive({f"{name}.npy": npy(f"({size},)", bytes(size)) for name in "abcdefgh"})
    assert_refused(content, "would unpack to")


@pytest.mark.parametrize("size", [1000, FREE_BYTES, 4 * FREE_BYTES])
def test_what_is_written_here_can_be_read_however_well_it_compresses(size: int) -> None:
    arrays = {"a": np.zeros(size, np.uint8), "b": np.arange(5.0)}
    content = encode_arrays(arrays)
    check_arrays(content, limit_bytes=LIMIT)
    back = read_arrays(content, limit_bytes=LIMIT)
    np.testing.assert_array_equal(back["a"], arrays["a"])
    np.testing.assert_array_equal(back["b"], arrays["b"])


def test_a_long_header_is_refused_before_it_is_read() -> None:
    member = b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little") + b" " * 1_000_000
    assert_refused(archive({"a.npy": member}), "header of more than")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int) -> None:
    assert_refused(archive({"a.npy": npy("(3,)", b"abc")}, method), "neither stored nor deflated")


def test_a_large_directory_is_refused_before_it_is_read() -> None:
    members = {f"{number}-{'x' * 100}.npy": npy("(1,)", b"a") for number in range(2000)}
    assert_refused(archive(members), f"more than {ARRAYS_LIMIT} arrays")


def test_more_members_than_the_limit_are_refused() -> None:
    assert_refused(archive({f"{n}.npy": npy("(1,)", b"a") for n in range(ARRAYS_LIMIT + 1)}), "arrays; 1 to")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for _ in range(2):
            opened.writestr("a.npy", npy("(1,)", b"a"))
    assert_refused(out.getvalue(), "which is not an array")


@pytest.mark.parametrize("name", ["inner.zip", "a.npz", "../a.npy", "/a.npy", "x" * 200 + ".npy", "é.npy"])
def test_members_that_are_no_arrays_are_refused(name: str) -> None:
    assert_refused(archive({name: npy("(1,)", b"a")}), "which is not an array")


@pytest.mark.parametrize("descr", ["|O", "|V8", "|S0", "<U0", "<M8[s]"])
def test_other_dtypes_are_refused(descr: str) -> None:
    assert_refused(archive({"a.npy": npy("(1000000000000,)", descr=descr)}), "dtype")


@pytest.mark.parametrize("codes", [[0x110000], [0xD800], [0xFFFFFFFF]])
@pytest.mark.parametrize("order", ["<", ">"])
def test_text_that_is_not_unicode_is_refused(codes: list[int], order: Literal["<", ">"]) -> None:
    content = np.array(codes, np.dtype(np.uint32).newbyteorder(order)).tobytes()
    assert_refused(archive({"a.npy": npy("(1,)", content, f"{order}U1")}), "not Unicode")


def test_zip64_comments_and_no_zip_at_all_are_refused() -> None:
    good = archive({"a.npy": npy("(1,)", b"a")})
    commented = good[:-2] + b"\x03\x00abc"
    locator = good[:-22] + b"PK\6\7" + bytes(16) + good[-22:]
    for content in (commented, locator, b"", b"PK", bytes(100), good[:-1], good[10:]):
        assert_refused(content, "not an .npz")


def test_content_that_ends_early_or_is_damaged_is_refused() -> None:
    assert_refused(archive({"a.npy": npy("(9,)", b"abc")}), "does not hold the 9 bytes")
    assert_refused(archive({"a.npy": npy("(2,)", b"abc")}), "does not hold the 2 bytes")
    good = archive({"a.npy": npy("(1000,)", bytes(range(250)) * 4)}, zipfile.ZIP_STORED)
    assert_refused(good.replace(bytes(range(100, 110)), b"damaged..."), "CRC")


MEASURE = """
import resource, sys
from pathlib import Path
from common.arrays import check_arrays, read_arrays
from common.errors import ArraysError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[3:]:
    try:
        {"check": check_arrays, "read": read_arrays}[sys.argv[1]](Path(path), limit_bytes=int(sys.argv[2]))
    except ArraysError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_kib(how: str, limit_bytes: int, *files: Path) -> int:
    command = [sys.executable, "-c", MEASURE, how, str(limit_bytes), *map(str, files)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.slow
def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    size = 100_000_000
    bombs = {
        "sizes.npz": archive({"a.npy": npy(f"({size},)", bytes(size))}),
        "shorter.npz": archive({"a.npy": npy(f"({size},)", bytes(1000))}),
        "header.npz": archive({"a.npy": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b" " * size}),
        "members.npz": archive({f"{n}.npy": npy("(4000000,)", bytes(4_000_000)) for n in range(64)}),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in bombs]
    assert peak_kib("check", PLAIN_LIMIT_BYTES, *files) < 32 * 1024
    assert peak_kib("read", GOLDEN_PLAIN_LIMIT_BYTES, *files) < 64 * 1024


@pytest.mark.slow
def test_a_large_sample_is_checked_in_constant_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 4, 40_000_000, np.uint8)
    (tmp_path / "large.npz").write_bytes(encode_arrays({"a": noise}))
    assert peak_kib("check", PLAIN_LIMIT_BYTES, tmp_path / "large.npz") < 16 * 1024

"""Checks of an ``.onnx`` file before ONNX Runtime reads it.

A model holds its weights itself, so its size bounds them. The file is walked as protocol buffers
(`onnx.proto`), without its contents being copied. Refused are:

- weights in other files, which are paths of the node;
- sparse tensors, of which a few bytes name gigabytes that loading allocates;
- loops (``Loop``, ``SequenceMap``), because nothing bounds how long they run;
- local functions, because loading writes out each call of one, and calls nest.

What else a model takes to load and to run is measured in a process with limits (`common.model.load_test`).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from common.bundle import FILE_LIMIT_BYTES
from common.errors import BundleIncompatible

_DEPTH_LIMIT = 16
_GRAPH, _FUNCTION = 7, 25
_LOOPS = (b"Loop", b"SequenceMap")
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_OPERATOR, _ATTRIBUTE = 4, 5
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
Field = tuple[int, int, int]
"""Number, and where its value starts and ends."""


def check_model_file(path: Path) -> None:
    """Raises `BundleIncompatible` for a model that is too large, or not whole in itself."""
    size = path.stat().st_size
    if not 0 < size <= FILE_LIMIT_BYTES:
        raise BundleIncompatible(f"{path} has {size} bytes; a model has at most {FILE_LIMIT_BYTES}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            for number, start, end in _fields(content, 0, size):
                if number == _GRAPH:
                    _check_graph(content, start, end, 0)
                elif number == _FUNCTION:
                    raise ValueError("it has local functions: export it with functions inlined")
        except (ValueError, IndexError) as error:
            raise BundleIncompatible(f"{path} cannot be loaded: {error}") from error


def _check_graph(content: mmap.mmap, start: int, end: int, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise ValueError(f"its graphs are nested deeper than {_DEPTH_LIMIT}")
    for number, inner, until in _fields(content, start, end):
        if number == _INITIALIZER:
            _check_tensor(content, inner, until)
        elif number == _SPARSE_INITIALIZER:
            raise ValueError("it has a sparse tensor")
        elif number == _NODE:
            for attribute, first, last in _fields(content, inner, until):
                if attribute == _ATTRIBUTE:
                    _check_attribute(content, first, last, depth)
                elif attribute == _OPERATOR and content[first:last] in _LOOPS:
                    raise ValueError(f"it has a loop ({content[first:last].decode()})")


def _check_attribute(content: mmap.mmap, start: int, end: int, depth: int) -> None:
    for number, inner, until in _fields(content, start, end):
        if number in (_TENSOR, _TENSORS):
            _check_tensor(content, inner, until)
        elif number in (_SUBGRAPH, _SUBGRAPHS):
            _check_graph(content, inner, until, depth + 1)
        elif number in (_SPARSE, _SPARSES):
            raise ValueError("it has a sparse tensor")


def _check_tensor(content: mmap.mmap, start: int, end: int) -> None:
    for number, inner, _ in _fields(content, start, end):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and content[inner] != 0):
            raise ValueError("it has weights in another file")


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    at = start
    while at < end:
        key, at = _varint(content, at, end)
        kind = key & 7
        if kind == 2:
            length, at = _varint(content, at, end)
        elif kind == 0:
            length = _varint(content, at, end)[1] - at
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("it is not a protocol buffer")
        if at + length > end:
            raise ValueError("it is cut off")
        yield key >> 3, at, at + length
        at += length


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("it is not a protocol buffer")

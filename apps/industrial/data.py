"""Runs to failure: C-MAPSS from disk, and the shape in which all training runs come.

`find_cmapss` looks where it is told, else under ``EDGELOOP_DATA``; `load_cmapss` reads the text files as
NASA published them and refuses anything else with file and line. What the set is and where to get it:
``datasets/cmapss.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.industrial.features import CHANNELS, RUL_CAP_CYCLES
from common.bundle import file_digest
from common.errors import DatasetError

FILES = ("train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt")
COLUMNS = 2 + len(CHANNELS)
"""Unit, cycle, three settings, 21 sensors."""


@dataclass(frozen=True, slots=True)
class Run:
    """Cycles of one engine from the start of its run: ``values`` is ``(cycles, 24)``, as `CHANNELS`.

    After the last of them the engine lives ``remaining_cycles`` more. ``slice`` says what it counts as
    when a model is judged (a data set, a fault mode).
    """

    name: str
    values: NDArray[np.float64]
    remaining_cycles: int = 0
    slice: str = ""

    def rul_cycles(self) -> NDArray[np.float64]:
        """True remaining useful life at every cycle, ``(cycles,)``, capped."""
        left = np.arange(len(self.values) - 1, -1, -1.0) + self.remaining_cycles
        return np.minimum(left, RUL_CAP_CYCLES)


@dataclass(frozen=True, slots=True)
class Cmapss:
    """FD001: engines run to failure, engines cut off before it, and the digests of the three files."""

    train: tuple[Run, ...]
    test: tuple[Run, ...]
    digests: dict[str, str]


def find_cmapss(data_path: Path | None = None) -> Path | None:
    """The folder with the FD001 files: ``data_path`` or its ``cmapss``, else the same of ``EDGELOOP_DATA``.

    None where it is in neither.
    """
    named = os.environ.get("EDGELOOP_DATA")
    for root in (data_path, Path(named) if named else None):
        for folder in (root, root / "cmapss") if root is not None else ():
            if (folder / FILES[0]).is_file():
                return folder
    return None


def load_cmapss(folder: Path) -> Cmapss:
    """Read FD001 from ``folder``. Raises `DatasetError`, with file and line, for what is malformed."""
    train = _read_engines(folder / FILES[0])
    test = _read_engines(folder / FILES[1])
    remaining = _read_remaining(folder / FILES[2], len(test))
    return Cmapss(
        tuple(Run(f"fd001-train-{unit}", values, 0, "fd001") for unit, values in train),
        tuple(
            Run(f"fd001-test-{unit}", values, left, "fd001")
            for (unit, values), left in zip(test, remaining, strict=True)
        ),
        {f"cmapss/{name}": file_digest(folder / name) for name in FILES},
    )


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: C-MAPSS FD001 is {', '.join(FILES)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text: {error}") from error


def _read_engines(path: Path) -> list[tuple[int, NDArray[np.float64]]]:
    engines: list[tuple[int, list[list[float]]]] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        row = _numbers(path, number, line, COLUMNS)
        unit, cycle = row[0], row[1]
        if not engines or engines[-1][0] != unit:
            if unit != len(engines) + 1:
                raise DatasetError(f"{path}:{number}: unit {unit:g} follows {len(engines)} others")
            engines.append((int(unit), []))
        rows = engines[-1][1]
        if cycle != len(rows) + 1:
            raise DatasetError(
                f"{path}:{number}: unit {unit:g} has cycle {cycle:g} where {len(rows) + 1} is due"
            )
        rows.append(row[2:])
    if not engines:
        raise DatasetError(f"{path} holds no engine")
    return [(unit, np.array(rows)) for unit, rows in engines]


def _read_remaining(path: Path, engines: int) -> list[int]:
    remaining: list[int] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            value = _numbers(path, number, line, 1)[0]
            if value < 0 or value != int(value):
                raise DatasetError(f"{path}:{number}: {value:g} is not a number of cycles")
            remaining.append(int(value))
    if len(remaining) != engines:
        raise DatasetError(f"{path} has {len(remaining)} values for the {engines} engines of {FILES[1]}")
    return remaining


def _numbers(path: Path, number: int, line: str, columns: int) -> list[float]:
    words = line.replace(",", " ").split()
    if len(words) != columns:
        raise DatasetError(f"{path}:{number}: {len(words)} columns where {columns} are due")
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(f"{path}:{number}: {error}") from None
    if not np.all(np.isfinite(row)):
        column = int(np.flatnonzero(~np.isfinite(row))[0])
        raise DatasetError(f"{path}:{number}: column {column + 1} is {row[column]}: a cycle has no gaps")
    return row

"""Runs to failure: C-MAPSS from disk, and the shape in which all training runs come.

`cmapss_in` finds the set below a folder, in the layouts in which it is shipped; `load_engines` and
`load_test_engines` read the text files as NASA published them and refuse anything else with file and line.
What the set is and where to get it: ``datasets/cmapss.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, RUL_CAP_CYCLES
from apps.industrial.edge.features import features_of_runs
from common.bundle import file_digest
from common.datasets import find_folders, not_found, one_of
from common.errors import DatasetError

SETS = ("FD001", "FD002", "FD003", "FD004")
FILES = ("train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt")
COLUMNS = 2 + len(CHANNELS)
"""Unit, cycle, three settings, 21 sensors."""
PUBLISHED = {
    "train_FD001.txt": "92dd293898a5055463e58cb971a613e232e1c661e8442b77f49d47c77c4c577d",
    "test_FD001.txt": "854d41e3ec6d59bc90bdb1f38c3bf304bece9e62186703618b7625553c7c3e89",
    "RUL_FD001.txt": "522e661b4470ccb3ec585289c2e0854fa06a55b50a19e530cdad64f4fd632202",
    "train_FD002.txt": "f4057c12fc2c0622b8429a871ef405daa8dd82447fb5c783f97a70e2db7939c7",
    "test_FD002.txt": "50d4613fb1dd5f390081aefac1f15b32517d8fb5733c5c5df75f403b5a0a5273",
    "RUL_FD002.txt": "f4fef1c7706063775781791741925e1e0ddeadcf83936b94a7cb0bfbc3209504",
    "train_FD003.txt": "e9c94a6b0106d8b9381e3523301ad24013ecad6d32d3afce9d65ab81a4ffda48",
    "test_FD003.txt": "621a99736444b5970392b8085c6f901c5dc71b861a51db2f0b697b3ba5a55b14",
    "RUL_FD003.txt": "f8545e31ceaa64f2126772e53a2562d8087ff8a84b8bca021be9c27a2735be3b",
    "train_FD004.txt": "e9360cec7e3513ca39cefd7bb508c08ed688c2f1bcd828bada7dd5adf74ecb87",
    "test_FD004.txt": "b0ed8cbb8106ad03dfa995f2244ffb4a207a55457155a632770df4c357fe2fce",
    "RUL_FD004.txt": "4888297b7cb0481d621ae76007db3ff02046a0084b166b59cadbaa2bdf1f16b7",
}
"""`content_digest` of each published file."""


@dataclass(frozen=True, slots=True)
class Run:
    """Cycles of one engine's run: ``values`` is ``(cycles, 24)``, as `CHANNELS`.

    After the last of them the engine lives ``remaining_cycles`` more. ``slice`` is its group in the
    evaluation of a model (a data set, a fault mode). ``cycles`` are their numbers within the run, rising;
    empty where they are 1, 2, ...: all of them from the start.
    """

    name: str
    values: NDArray[np.float64]
    remaining_cycles: int = 0
    slice: str = ""
    cycles: tuple[int, ...] = ()

    def numbers(self) -> NDArray[np.int64]:
        """The number of every cycle within the run, ``(cycles,)``."""
        return np.array(self.cycles or range(1, len(self.values) + 1), np.int64)

    def life_cycles(self) -> int:
        """Length of the whole run, to its end."""
        return (self.cycles[-1] if self.cycles else len(self.values)) + self.remaining_cycles

    def rul_cycles(self) -> NDArray[np.float64]:
        """True remaining useful life at every cycle, ``(cycles,)``, capped."""
        return np.minimum(self.life_cycles() - self.numbers().astype(np.float64), RUL_CAP_CYCLES)

    def part(self, rows: NDArray[Any]) -> Run:
        """The same run seen at some of its cycles only: ``rows`` are rising indices or a mask."""
        numbers = self.numbers()[rows]
        remaining = self.life_cycles() - int(numbers[-1])
        return Run(self.name, self.values[rows], remaining, self.slice, tuple(numbers.tolist()))


@dataclass(frozen=True, slots=True)
class Cmapss:
    """A set: engines run to failure, engines cut off before it, and the digests of the three files."""

    train: tuple[Run, ...]
    test: tuple[Run, ...]
    digests: dict[str, str]


def features_of(runs: Sequence[Run]) -> list[NDArray[np.float32]]:
    """Features of every cycle of every run, ``(cycles, FEATURES)`` each."""
    return features_of_runs([run.values for run in runs], [run.numbers() for run in runs])


def cmapss_in(data_path: Path, parts: tuple[str, ...]) -> tuple[Path, str]:
    """Folder and name of the set below ``data_path`` that has all ``parts`` (``train``, ``test``, ``RUL``).

    FD001 where it is there, else the only other one. Raises `DatasetError` for none, several, or half of one.
    """
    wanted = [f"{part}_{name}.txt" for name in SETS for part in parts]
    folders = find_folders(data_path, "cmapss", wanted)
    if not folders:
        raise not_found(data_path, "C-MAPSS", "cmapss", [f"{part}_FD001.txt" for part in parts])
    folder = one_of(folders, "C-MAPSS")
    there = [name for name in SETS if all((folder / f"{part}_{name}.txt").is_file() for part in parts)]
    if not there:
        found = ", ".join(file for file in wanted if (folder / file).is_file())
        raise DatasetError(
            f"{folder} has no whole set of C-MAPSS: {found} is there; needed are "
            f"{' and '.join(f'{part}_FD00n.txt' for part in parts)} with the same n"
        )
    if "FD001" not in there and len(there) > 1:
        raise DatasetError(
            f"{folder} has {', '.join(there)} and no FD001: name a folder that holds the one to measure"
        )
    return folder, there[0]


def load_cmapss(folder: Path, name: str = "FD001") -> Cmapss:
    """Read a set from ``folder``. Raises `DatasetError`, with file and line, for what is malformed."""
    files = [f"{part}_{name}.txt" for part in ("train", "test", "RUL")]
    return Cmapss(
        load_engines(folder, name),
        load_test_engines(folder, name),
        {f"cmapss/{file}": file_digest(folder / file) for file in files},
    )


def load_engines(folder: Path, name: str = "FD001") -> tuple[Run, ...]:
    """The engines of a set that run to failure. Raises `DatasetError` as `load_cmapss` does."""
    label = name.lower()
    engines = _read_engines(folder / f"train_{name}.txt")
    return tuple(Run(f"{label}-train-{unit}", values, 0, label) for unit, values in engines)


def load_test_engines(folder: Path, name: str = "FD001") -> tuple[Run, ...]:
    """The engines of a set that were cut off. Raises `DatasetError` as `load_cmapss` does."""
    label = name.lower()
    engines = _read_engines(folder / f"test_{name}.txt")
    remaining = _read_remaining(folder / f"RUL_{name}.txt", f"test_{name}.txt", len(engines))
    return tuple(
        Run(f"{label}-test-{unit}", values, left, label)
        for (unit, values), left in zip(engines, remaining, strict=True)
    )


def content_digest(path: Path) -> str:
    """SHA-256 of a text file whatever its line ends, trailing blanks and separators are."""
    lines = (" ".join(line.replace(",", " ").split()) for line in _read_lines(path))
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def published(folder: Path, files: tuple[str, ...]) -> bool:
    """Whether ``files`` in ``folder`` are those that NASA published."""
    return all(content_digest(folder / file) == PUBLISHED.get(file) for file in files)


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


def _read_remaining(path: Path, test_file: str, engines: int) -> list[int]:
    remaining: list[int] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            value = _numbers(path, number, line, 1)[0]
            if value < 0 or value != int(value):
                raise DatasetError(f"{path}:{number}: {value:g} is not a number of cycles")
            remaining.append(int(value))
    if len(remaining) != engines:
        raise DatasetError(f"{path} has {len(remaining)} values for the {engines} engines of {test_file}")
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

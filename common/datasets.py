"""Location of a data set on disk: found by the names of its files, in the layouts that publishers ship.

A set is looked for in the folder that the user names, in the folder below it that has the set's name, and
then in all folders below (an unpacked archive, a mirror of the publisher's site). What is named and not there
is an error; nothing else is measured or learnt from in its place.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import DatasetError

DEPTH = 5
"""Levels of folders below the named one that are searched."""
FOLDERS_LIMIT = 2_000
"""Maximum number of searched folders."""


def check_folder(root: Path) -> None:
    """Raises `DatasetError` unless ``root`` is a folder that can be read."""
    if not root.exists():
        raise DatasetError(f"there is no folder {root}: `edgeloop data get` fetches data sets")
    if not root.is_dir():
        unpack = ": unpack it, and name the folder" if root.suffix == ".zip" else ""
        raise DatasetError(
            f"{root} is a file{unpack or ', not the folder that holds the data set: name that'}"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"{root} cannot be read: check its permissions")


def find_folders(root: Path, name: str, files: Collection[str]) -> list[Path]:
    """Folders that hold at least one of ``files``: ``root``, else ``root/name``, else any below ``root``.

    Hidden folders and links are not searched. Raises `DatasetError` if ``root`` is no folder, or if more than
    `FOLDERS_LIMIT` are below it.
    """
    check_folder(root)
    for folder in (root, root / name):
        if any((folder / file).is_file() for file in files):
            return [folder]
    found: list[Path] = []
    level, searched = [root], 0
    for _ in range(DEPTH):
        below = [folder for parent in level for folder in _folders_in(parent)]
        searched += len(below)
        if searched > FOLDERS_LIMIT:
            raise DatasetError(
                f"{root} has more than {FOLDERS_LIMIT} folders, which are not all searched: "
                f"name the folder that holds {sorted(files)[0]}"
            )
        found += [folder for folder in below if any((folder / file).is_file() for file in files)]
        level = below
    return found


def not_found(root: Path, title: str, name: str, files: Sequence[str]) -> DatasetError:
    """The error for a set that is nowhere in ``root``."""
    archives = sorted(path.name for path in root.glob("*.zip"))
    unpack = f"; unpack {', '.join(archives[:3])} first" if archives else ""
    return DatasetError(
        f"{root} has no {title}: looked for {', '.join(files)} in it, in its folder {name} and in the "
        f"folders below, {DEPTH} levels deep{unpack}; `edgeloop data get {name}` fetches the set"
    )


def one_of(folders: Sequence[Path], title: str) -> Path:
    """The only folder. Raises `DatasetError` if there are several."""
    if len(folders) > 1:
        listed = ", ".join(map(str, folders[:5]))
        raise DatasetError(f"{title} is there {len(folders)} times ({listed}): name one of these folders")
    return folders[0]


def _folders_in(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except OSError:
        return []
    return [parent / name for name in names]

"""Data folders that only their owner can read: they hold health data, keys and tokens.

Every process of edgeloop calls `restrict_new_files` first, so that what it creates is private from its first
moment, whoever creates it (SQLite, a child process, a library). `close_folder` mends what an earlier version
or another tool has left open.
"""

from __future__ import annotations

import logging
import os
import resource
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import ConfigError

UMASK = 0o077
_OTHERS = 0o077
log = logging.getLogger(__name__)


def restrict_new_files() -> None:
    """Files and folders that this process and its children create are their owner's only."""
    os.umask(UMASK)


def forbid_core_dumps() -> None:
    """Core dumps off, for this process and its children: memory may hold a picture or a key."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def close_folder(folder: Path, entries: Iterable[str]) -> int:
    """Make ``folder`` if needed, and take it and ``entries`` in it (glob patterns, whole trees) from others.

    Returns how many were open; a warning reports them. What else lies in ``folder`` is left alone, and so is
    a folder that others share by design (sticky, as ``/tmp``), which is reported. Raises `ConfigError` where
    something open belongs to another user.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mended: list[Path] = []
    if folder.stat().st_mode & stat.S_ISVTX:
        log.warning("others can list %s, which they share: use a folder of its own", folder)
    else:
        _close(folder, mended)
    for pattern in entries:
        for top in folder.glob(pattern):
            for path in _tree(top):
                _close(path, mended)
    if mended:
        log.warning(
            "%d files and folders were open to other users of this machine, such as %s; now closed",
            len(mended),
            mended[0],
        )
    return len(mended)


def _tree(top: Path) -> Iterator[Path]:
    yield top
    if top.is_dir() and not top.is_symlink():
        for folder, folders, files in os.walk(top):
            yield from (Path(folder, name) for name in (*folders, *files))


def _close(path: Path, mended: list[Path]) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & _OTHERS:
        return
    try:
        path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise ConfigError(
            f"{path} can be read by others and belongs to user {status.st_uid}: "
            f"run as that user, or chown -R {os.geteuid()} {path} first"
        ) from error
    mended.append(path)

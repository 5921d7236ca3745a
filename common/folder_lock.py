"""Exclusive use of a data folder: a lock on a file in it, which the system releases with the process."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO


def lock_file(path: Path) -> TextIO:
    """Open ``path`` and lock it until it is closed; its contents stay.

    Raises ``BlockingIOError`` where another process holds the lock, and ``OSError`` where the file cannot be
    used.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file

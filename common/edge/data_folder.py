"""The data folder of a node: its entries, and its exclusive use by one node of one app."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from common.edge.losses import FILE as LOSSES_FILE
from common.edge.telemetry import PORT_FILE
from common.errors import ConfigError
from common.folder_lock import lock_file
from common.private import close_folder

DATA_ENTRIES = (
    *("node.lock", PORT_FILE, "outbox.*", "enrolment.json", "deployment.json", "pseudonyms.secret"),
    *("history.*", "csv-files.json", "source.json", "local-alarms.json", "clock.json"),
    LOSSES_FILE,
    *("slots", "samples", "tuf"),
)
"""Files and folders of a node in its data folder."""


@contextmanager
def claimed(folder: Path, app: str) -> Generator[None]:
    """Keep other nodes, and nodes of other apps, out of ``folder``. Raises `ConfigError`."""
    try:
        close_folder(folder, DATA_ENTRIES)
        file = lock_file(folder / "node.lock")
    except BlockingIOError:
        raise ConfigError(f"another node runs in {folder}: give each its own --data") from None
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be used: {error}") from error
    with file:
        file.seek(0)
        before = file.read().strip()
        if before and before != app:
            raise ConfigError(
                f"{folder} holds a node of the app {before!r}, not {app!r}: give another --data"
            )
        if not before:
            file.write(f"{app}\n")
            file.flush()
        yield

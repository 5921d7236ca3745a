"""The cloud's data folder: its lock and the picked ports."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import msgspec

from common import durable
from common.errors import StoreError
from common.folder_lock import lock_file

DATA_ENTRIES = (
    "cloud.*",
    "lock",
    "ports.json",
    *("secrets", "tuf", "models", "broker", "samples", "jobs", "incoming"),
)
"""Entries of the data folder."""


class Ports(msgspec.Struct, frozen=True):
    """The ports that were picked where the settings have 0; kept, so that nodes find a restarted cloud.

    ``database`` is the kind of the store, for a backup.
    """

    http: int = 0
    mqtt: int = 0
    database: str = ""


def sole_use(folder: Path) -> IO[str]:
    """The lock of the data folder, held while the file is open; the system releases it with the process.

    Raises `StoreError` while another cloud holds it.
    """
    try:
        return lock_file(folder / "lock")
    except OSError:
        raise StoreError(
            f"another cloud runs on {folder}: stop it, or give this one another --data"
        ) from None


def read_ports(folder: Path) -> Ports:
    """The ports of the last start; 0 where there was none."""
    try:
        return msgspec.json.decode((folder / "ports.json").read_bytes(), type=Ports)
    except (OSError, msgspec.MsgspecError):
        return Ports()


def write_ports(folder: Path, ports: Ports) -> None:
    """Keep the ports for the next start."""
    durable.write(folder / "ports.json", msgspec.json.encode(ports))

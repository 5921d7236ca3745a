"""``cloud.json`` in a cloud's data folder: its addresses, for programs on the same machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

CLOUD_FILE = "cloud.json"


class CloudFile(msgspec.Struct, frozen=True):
    """Contents of ``cloud.json``, there while the cloud is ready."""

    http_url: str
    mqtt_host: str
    mqtt_port: int
    broker_kind: str
    broker_pid: int
    pid: int


def read_cloud_file(folder: Path) -> CloudFile:
    """The file of the cloud in ``folder``. Raises ``OSError`` and ``msgspec.MsgspecError``."""
    return msgspec.json.decode((folder / CLOUD_FILE).read_bytes(), type=CloudFile)

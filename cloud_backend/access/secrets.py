"""The cloud's own secrets: one file each, readable by its owner only from the moment it exists."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import structlog

from common import durable
from common.errors import AccessDenied

_log = structlog.get_logger("edgeloop.access")


def open_folder(folder: Path) -> Path:
    """The folder of secrets, made with mode 0700. Raises `AccessDenied` if it belongs to someone else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise AccessDenied(
            f"the secrets in {folder} belong to user {status.st_uid}: run the cloud as that user"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        _log.warning("the folder of secrets was open to others; closed", folder=str(folder))
        folder.chmod(0o700)
    return folder


def keep(folder: Path, name: str) -> str:
    """The secret ``name``: 256 random bits, made at the first call and the same ever after."""
    path = folder / name
    try:
        status = path.stat()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(32)
        durable.write(path, f"{secret}\n".encode(), mode=0o600)
        return secret
    if stat.S_IMODE(status.st_mode) & 0o077:
        _log.warning("a secret was readable by others; closed (replace it if they had time)", file=str(path))
        path.chmod(0o600)
    secret = path.read_text("ascii").strip()
    if not secret:
        raise AccessDenied(f"{path} is empty: delete it and a new secret is made")
    return secret

"""Pseudonyms of subjects, made on the device.

A node of an app with ``AppSpec.pseudonyms`` gives every subject a pseudonym before anything but its recording
sees the reading: the app, its samples, and the node's own reports. The secret behind them is made at the
first start and never leaves: without it nobody can go back from a pseudonym, nor try names until one fits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from common import durable
from common.errors import ConfigError

SECRET_FILE = "pseudonyms.secret"  # noqa: S105
SECRET_BYTES = 32


def keep_secret(folder: Path) -> bytes:
    """The node's secret in ``folder``: made at the first call, for its owner only, the same ever after.

    Raises `ConfigError` for a file that is not a secret.
    """
    path = folder / SECRET_FILE
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = secrets.token_bytes(SECRET_BYTES)
        durable.write(path, secret, mode=0o600)
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{path} holds {len(secret)} bytes, not {SECRET_BYTES}: bring it back from a backup, or delete "
            "it (all subjects get new pseudonyms then)"
        )
    path.chmod(0o600)
    return secret


def pseudonym(secret: bytes, subject: str) -> str:
    """``p-`` and 16 characters of base32 (80 bits of HMAC-SHA256); the same for the same subject."""
    digest = hmac.digest(secret, subject.encode(), hashlib.sha256)
    return f"p-{base64.b32encode(digest[:10]).decode().lower()}"

"""Connection options of the commands: the address of a cloud and its token.

They come from ``--cloud URL`` and ``--token-file FILE``, from ``EDGELOOP_CLOUD`` and ``EDGELOOP_TOKEN``, or
from the cloud's own data folder (``--data DIR``, by default ``edgeloop-cloud``), which holds both.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from common.cloud_client import CloudClient
from common.errors import ConfigError

DEFAULT_FOLDER = "edgeloop-cloud"


def connect(cloud: str, token_file: Path | None, folder: Path | None) -> CloudClient:
    """Client of the cloud that the options name. Raises `ConfigError` that names the missing option."""
    data = folder if folder is not None else Path(DEFAULT_FOLDER)
    url = cloud if cloud and folder is None else _url_of(data, cloud)
    if token_file is not None:
        token = _read(token_file)
    elif folder is None and os.environ.get("EDGELOOP_TOKEN"):
        token = os.environ["EDGELOOP_TOKEN"]
    else:
        token = _read(data / "secrets" / "admin-token")
    return CloudClient(url, token.strip())


def _url_of(folder: Path, fallback: str) -> str:
    try:
        return str(msgspec.json.decode((folder / "cloud.json").read_bytes())["http_url"])
    except (OSError, KeyError, TypeError, msgspec.MsgspecError):
        if fallback:
            return fallback
        raise ConfigError(
            f"{folder} is not the data folder of a running cloud: start one with `edgeloop cloud up`, "
            "or name one by --cloud URL with --token-file FILE"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read the token from {path} ({error.strerror}): use --token-file or EDGELOOP_TOKEN"
        ) from error

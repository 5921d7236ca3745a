"""How the commands reach a cloud: by its REST API, over HTTP, with a bearer token.

Where the cloud is: ``--cloud URL`` and ``--token-file FILE``, or ``EDGELOOP_CLOUD`` and
``EDGELOOP_TOKEN``, or the cloud's own data folder (``--data DIR``, by default ``edgeloop-cloud``),
which holds both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from common.errors import CloudError, ConfigError

TIMEOUT_S = 30.0
DEFAULT_FOLDER = "edgeloop-cloud"


class CloudClient:
    """Requests to one cloud. An answer that is a problem is raised as `CloudError`, with its detail."""

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        import urllib3

        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "edgeloop"}
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(timeout_s), retries=False)

    def __enter__(self) -> CloudClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer of ``GET path?query``; None values are left out of the query."""
        given = {name: value for name, value in query.items() if value is not None}
        return self.ask("GET", path + (f"?{urlencode(given)}" if given else ""))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer of ``POST path`` with a JSON body."""
        return self.ask("POST", path, msgspec.json.encode(body or {}), {"Content-Type": "application/json"})

    def delete(self, path: str) -> Any:
        """The JSON answer of ``DELETE path``."""
        return self.ask("DELETE", path)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, cursor=cursor, limit=500)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """One request. Raises `CloudError` if the cloud cannot be reached or says no."""
        import urllib3

        try:
            answer = self._pool.request(
                method, self.url + path, body=body, headers={**self._headers, **(headers or {})}
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise CloudError(f"cannot reach the cloud at {self.url}: {error}") from error
        if answer.status >= 400:
            raise CloudError(_problem_of(answer.data, answer.status), answer.status)
        kind = answer.headers.get("Content-Type", "")
        return msgspec.json.decode(answer.data) if kind.startswith("application/json") else answer.data


def part(name: str) -> str:
    """``name`` as one part of a path."""
    return quote(name, safe="")


def connect(cloud: str, token_file: Path | None, folder: Path | None) -> CloudClient:
    """The cloud that the options name. Raises `ConfigError` saying which of them is missing."""
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


def _problem_of(content: bytes, status: int) -> str:
    try:
        document = msgspec.json.decode(content)
        return f"{document.get('detail') or document['title']} ({status})"
    except (AttributeError, KeyError, msgspec.MsgspecError):
        return f"the cloud answered {status}"

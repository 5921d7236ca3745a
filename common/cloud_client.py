"""HTTP client of the cloud's REST API, for commands, the demo and tests. A node does not import it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from common.errors import CloudError

if TYPE_CHECKING:
    from common.bundle import Bundle

TIMEOUT_S = 30.0
"""Bound of one request. The registry runs a bundle's golden cases before it answers."""
PAGE_ITEMS = 500
"""Default page size of a list."""


class CloudClient:
    """Requests to one cloud; a context manager.

    Every method raises `CloudError` if the cloud cannot be reached or answers with an error status; its
    message is the detail of the problem document.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        import urllib3

        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "edgeloop"}
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(timeout_s), retries=False)

    def __enter__(self) -> CloudClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def get(self, path: str, **query: Any) -> Any:
        """Answer of ``GET path?query``; None values are left out of the query."""
        present = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", path + (f"?{urlencode(present)}" if present else ""))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Answer of ``POST path`` with a JSON body."""
        headers = {"Content-Type": "application/json"}
        return self.request("POST", path, msgspec.json.encode(body or {}), headers)

    def delete(self, path: str) -> Any:
        """Answer of ``DELETE path``."""
        return self.request("DELETE", path)

    def pages(self, path: str, *, limit: int = PAGE_ITEMS, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, requested in pages of ``limit`` as they are consumed."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, cursor=cursor, limit=limit)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def items(self, path: str, *, limit: int = PAGE_ITEMS, **query: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        return list(self.pages(path, limit=limit, **query))

    def send_bundle(self, app: str, bundle: Bundle) -> None:
        """Upload all files of a bundle. ``POST /v1/apps/<app>/models`` then adds it to the registry."""
        headers = {"Content-Type": "application/octet-stream"}
        for name in bundle.files():
            path = f"/v1/apps/{path_part(app)}/models/{path_part(bundle.version)}/files/{path_part(name)}"
            self.request("PUT", path, (bundle.path / name).read_bytes(), headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """One request: the decoded JSON of the answer, or its bytes for another content type."""
        import urllib3

        try:
            answer = self._pool.request(
                method, self.url + path, body=body, headers={**self._headers, **(headers or {})}
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise CloudError(f"cannot reach the cloud at {self.url}: {error}") from error
        if answer.status >= 400:
            raise CloudError(_problem_detail(answer.data, answer.status), answer.status)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        return msgspec.json.decode(answer.data) if media_type.endswith("json") else answer.data


def path_part(name: str) -> str:
    """``name`` encoded as one part of a path."""
    return quote(name, safe="")


def _problem_detail(content: bytes, status: int) -> str:
    try:
        document = msgspec.json.decode(content)
        return f"{document.get('detail') or document['title']} ({status})"
    except (AttributeError, KeyError, msgspec.MsgspecError):
        return f"the cloud answered {status}"

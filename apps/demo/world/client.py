"""The cloud's HTTP API as the show uses it: what any user of the cloud could do with curl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

from apps.demo.world.processes import ShowError
from common.bundle import Bundle

TIMEOUT_S = 30.0
"""The registry runs a bundle's golden cases before it answers, and a bad model may be slow on purpose."""


class CloudClient:
    """Requests with the bearer token of one cloud. All raise `ShowError` for an answer that is an error."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {token}"},
            timeout=urllib3.Timeout(total=TIMEOUT_S),
            retries=urllib3.Retry(total=0),
        )

    def __enter__(self) -> CloudClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def get(self, path: str, **query: Any) -> Any:
        """The answer of ``GET path?query`` (None values are left out)."""
        return self._ask("GET", path + _query(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._ask("POST", path, body or {})

    def send_bundle(self, app: str, bundle: Bundle) -> None:
        """Send all files of a bundle; it is added by ``POST /v1/apps/<app>/models``."""
        for name in bundle.files():
            path = f"/v1/apps/{app}/models/{bundle.version}/files/{name}"
            self._ask("PUT", path, (bundle.path / name).read_bytes())

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page after page."""
        cursor = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        return list(self.pages(path, **query))

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
        raw = body is None or isinstance(body, bytes)
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=body if raw else msgspec.json.encode(body),
                headers={
                    **self._pool.headers,
                    "Content-Type": f"application/{'octet-stream' if raw else 'json'}",
                },
            )
        except urllib3.exceptions.HTTPError as error:
            raise ShowError(f"{method} {path}: {error}") from error
        if answer.status >= 400:
            raise ShowError(f"{method} {path}: {answer.status}: {_detail(answer.data)}")
        return msgspec.json.decode(answer.data) if answer.data else None


def _detail(content: bytes) -> str:
    """What a problem document says, or the start of whatever else was answered."""
    try:
        return msgspec.json.decode(content, type=dict[str, Any])["detail"]
    except (msgspec.MsgspecError, KeyError):
        return content[:300].decode(errors="replace")


def _query(query: Mapping[str, Any]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""

"""Client of the public API with the session of the person who is signed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from common.errors import EdgeloopError


class ApiError(EdgeloopError):
    """A failed request; ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class ApiClient:
    """Requests with a session's ``token``. All raise `ApiError`, whose message is for users."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON answer of ``GET path?query``; parameters that are None are omitted."""
        return (await self._send("GET", path, query=query)).json()

    async def text(self, path: str, **query: Any) -> str:
        """The answer as text, for logs."""
        return (await self._send("GET", path, query=query)).text

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer of ``POST path``."""
        answer = await self._send("POST", path, body=body or {})
        return answer.json() if answer.content else None

    async def upload(self, path: str, content: bytes, media_type: str, **query: Any) -> Any:
        """The JSON answer of ``POST path?query`` with a file as its body."""
        return (await self._send("POST", path, query=query, content=content, media_type=media_type)).json()

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer of ``PUT path``."""
        return (await self._send("PUT", path, body=body)).json()

    async def delete(self, path: str) -> None:
        """``DELETE path``."""
        await self._send("DELETE", path)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        media_type: str = "",
    ) -> httpx.Response:
        params = {key: value for key, value in (query or {}).items() if value is not None}
        headers = self._headers | ({"Content-Type": media_type} if media_type else {})
        try:
            answer = await self._client.request(
                method, path, params=params, json=body, content=content, headers=headers
            )
        except httpx.HTTPError as error:
            raise ApiError(0, f"the cloud does not answer: {error}") from error
        if answer.is_error:
            raise ApiError(answer.status_code, _detail(answer))
        return answer


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the cloud answered {answer.status_code}"

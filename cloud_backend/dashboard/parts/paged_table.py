"""Table of a paginated list of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.pages import ApiClient, Pager, Table

PAGE_ROWS = 50


class PagedTable:
    """A table with the current page of the list at ``path``, and its pager below."""

    def __init__(
        self, api: ApiClient, path: str, table: Table, row: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> None:
        self._api = api
        self._path = path
        self._table = table
        self._row = row
        self._query: dict[str, Any] = {}
        self._pager = Pager(lambda: self.refresh(**self._query))

    async def refresh(self, **query: Any) -> None:
        """Update the current page. An answer that arrives after a change of the page is dropped."""
        self._query = query
        cursor = self._pager.cursor
        page = await self._api.get(self._path, limit=PAGE_ROWS, cursor=cursor, **query)
        if cursor != self._pager.cursor:
            return
        self._table.show([self._row(item) for item in page["items"]])
        self._pager.show(page)

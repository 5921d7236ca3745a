"""Nodes with a virtual source: every page that shows their data marks it as simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from common.pages.api_client import ApiClient, ApiError


class VirtualNodes:
    """Looks up which nodes are virtual, each once per visit of a page."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known: dict[str, bool] = {}

    async def among(self, nodes: Sequence[str]) -> set[str]:
        """Those of ``nodes`` that are virtual. Raises `ApiError`."""
        unknown = sorted(set(nodes) - self._known.keys())
        if unknown:
            fleet = await self._api.get("/v1/fleet")
            if fleet["virtual"] in (0, fleet["nodes"]):  # the same for all: one request is enough
                self._known |= dict.fromkeys(unknown, bool(fleet["virtual"]))
            else:
                found = await asyncio.gather(*map(self._is_virtual, unknown))
                self._known |= dict(zip(unknown, found, strict=True))
        return {node for node in nodes if self._known[node]}

    async def _is_virtual(self, node: str) -> bool:
        try:
            return bool((await self._api.get(f"/v1/nodes/{quote(node, safe='')}"))["virtual"])
        except ApiError as error:
            if error.status != 404:
                raise
            return False

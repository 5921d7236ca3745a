"""Fixtures of updates on a node, as in `tests.common.edge`."""

from __future__ import annotations

from tests.common.edge.conftest import node, site

__all__ = ["node", "site"]

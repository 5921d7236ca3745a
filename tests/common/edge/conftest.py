"""Fixtures of the tests of updates on a node: an update site, and a node over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.updates import NodeKit, UpdateSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    site = UpdateSite(tmp_path / "cloud")
    yield site
    site.server.close()


@pytest.fixture
def node(tmp_path: Path, site: UpdateSite) -> NodeKit:
    return NodeKit(tmp_path / "node", site)

"""A cloud's update repository, a node that has adopted ``v1``, and servers of the attacker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.update_attacks.attacks import OTHER
from tests.updates import APP, FileServer, NodeKit, UpdateSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    site = UpdateSite(tmp_path / "cloud", apps=(APP, OTHER))
    yield site
    site.server.close()


@pytest.fixture
def node(tmp_path: Path, site: UpdateSite) -> NodeKit:
    """A node that has adopted ``v1``."""
    site.publish("v1")
    node = NodeKit(tmp_path / "node", site)
    node.look()
    node.feed(15)
    assert node.reports("confirmed")[-1]["version"] == "v1"
    return node


@pytest.fixture
def attacker(site: UpdateSite) -> Iterator[Callable[[], FileServer]]:
    """Makes servers with a copy of the cloud's present files."""
    servers: list[FileServer] = []

    def steal() -> FileServer:
        servers.append(site.stolen())
        return servers[-1]

    yield steal
    for server in servers:
        server.close()

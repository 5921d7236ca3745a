"""A fleet with nodes of the tally app."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.demo.world.world import EdgeNode
from tests.e2e.operations.fleets import CLOUD, NODE, SOURCE, Fleet, until


@pytest.fixture
def broker() -> str:
    return "auto"


@pytest.fixture
def fleet(make_cloud, tmp_path: Path) -> Fleet:
    cloud = make_cloud(CLOUD)
    cloud.start()
    return Fleet(cloud, tmp_path / "models")


@pytest.fixture
def add_node(fleet: Fleet, make_node) -> Callable[..., EdgeNode]:
    """Enrols and starts a node, and waits until the cloud knows its app."""

    def add(name: str) -> EdgeNode:
        node = make_node(name, settings=NODE)
        node.enrol(fleet.cloud, "plant")
        node.start(SOURCE)
        until(lambda: fleet.node(name)["health"].get("updates"), f"{name} reports")
        return node

    return add

"""Fixtures of nodes, of updates on a node, and of the ECG app's side of the cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.app.spec import AppSpec
from common.config.node import NodeSettings, OutboxSettings
from common.edge.node import Node
from tests.apps.conftest import engine, session
from tests.apps.ecg.cloud.fhir.conftest import fhir
from tests.apps.ecg.conftest import client, cloud_app, project
from tests.builders import make_app
from tests.cloud_backend.stores import migrated_postgresql, migrated_sqlite, migrated_store
from tests.commands import edgeloop, own_process
from tests.common.edge.conftest import node, site
from tests.integration.nodes import SOURCE, kept, of_the_app, run_through

__all__ = [
    "client",
    "cloud_app",
    "edgeloop",
    "engine",
    "fhir",
    "migrated_postgresql",
    "migrated_sqlite",
    "migrated_store",
    "node",
    "own_process",
    "project",
    "session",
    "site",
]


@pytest.fixture
def spec(tmp_path: Path) -> AppSpec:
    return make_app(tmp_path / "starter")


@pytest.fixture
def make_node(tmp_path: Path, spec: AppSpec) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(source: str = SOURCE, *, spec: AppSpec = spec, data: str = "data", **settings: Any) -> Node:
        speed = settings.pop("speed", 0.0)
        record = settings.pop("record_to", None)
        once = settings.pop("once", False)
        settings.setdefault("outbox", OutboxSettings(commit_interval_s=0.1))
        new = Node(
            NodeSettings(
                app=spec.name,
                source=source,
                data=str(tmp_path / data),
                speed=speed,
                profile="cpu",
                **settings,
            ),
            None,
            spec,
            record_to=record,
            once=once,
        )
        made.append(new)
        new.start()
        return new

    yield make
    for each in made:
        if not each._stopping.is_set():
            each.stop()


@pytest.fixture
def truth(tmp_path: Path, make_node: Callable[..., Node]) -> list[tuple[str, str, str, bytes]]:
    """Decisions of an undisturbed node."""
    run_through(make_node(data="truth"))
    return of_the_app(kept(tmp_path / "truth"))

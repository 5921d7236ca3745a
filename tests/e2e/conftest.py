"""Real processes: a cloud with each of the brokers, and nodes, all on 127.0.0.1 with ports of their own."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.demo.screenshots.browser import find_chromium, open_browser
from apps.demo.world.processes import Children
from apps.demo.world.world import CloudSite, EdgeNode, Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TALLY = Path(__file__).with_name("tally")
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(TALLY), str(ROOT)]), "PYTHONUNBUFFERED": "1"}
"""Installs the tally app for the children, as a package that lies beside edgeloop's."""

FAST_NODE: Settings = {
    "ota": {"poll_interval_s": 1.0, "shadow_readings": 20},
    "uplink": {"reconnect_min_s": 0.1, "reconnect_max_s": 0.5, "ack_timeout_s": 1.0},
    "telemetry": {"health_interval_s": 1.0},
}
"""Settings with short periods: seconds instead of minutes."""
DRAIN_S = 300.0
"""Longest drain at a stop in tests that assert an empty outbox after it: a busy machine takes its time."""
DRAINING_NODE: Settings = {**FAST_NODE, "uplink": {**FAST_NODE["uplink"], "drain_timeout_s": DRAIN_S}}
FAST_CLOUD: Settings = {"rollout": {"soak_s": 3.0, "check_interval_s": 0.2, "silence_s": 60.0}}


@pytest.fixture(params=["iotcore", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if request.param == "mosquitto" and shutil.which("mosquitto", path=path) is None:
        pytest.skip("Mosquitto is not installed (apt-get install mosquitto)")
    return request.param


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    if find_chromium() is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with open_browser() as browser:
        yield browser


@pytest.fixture
def seed() -> int:
    """The seed of this run: ``EDGELOOP_SEED`` where it is set, else a new one, which is printed."""
    value = int(os.environ.get("EDGELOOP_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
    print(f"seed: EDGELOOP_SEED={value}")
    return value


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path / "logs") as children:
        yield children


@pytest.fixture
def make_cloud(children: Children, tmp_path: Path, broker: str) -> Callable[..., CloudSite]:
    """Makes a cloud with this test's broker; not started yet."""

    def make(settings: Settings = FAST_CLOUD) -> CloudSite:
        return CloudSite(
            children,
            tmp_path / "cloud",
            settings={**settings, "mqtt": {"broker": broker}},
            environment=ENVIRONMENT,
        )

    return make


@pytest.fixture
def make_node(children: Children, tmp_path: Path) -> Iterator[Callable[..., EdgeNode]]:
    """Makes a node by name; neither enrolled nor started yet."""
    with ExitStack() as closing:

        def make(name: str, *, app: str = "tally", settings: Settings = FAST_NODE) -> EdgeNode:
            node = EdgeNode(
                children, tmp_path / name, name, app=app, settings=settings, environment=ENVIRONMENT
            )
            closing.callback(node.close)
            return node

        yield make

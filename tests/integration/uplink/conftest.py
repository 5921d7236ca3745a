"""An outbox, its uplink, a real broker of each kind, and the cloud's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from cloud_backend.broker.broker import Broker
from common.clock import anchored_clock
from common.config.node import UplinkSettings
from common.edge.delivery.outbox import Outbox
from tests.brokers import KINDS, make_broker
from tests.integration.uplink.ends import NODE, PASSWORD, QUICK, SITE, Cloud, Running


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    users = (CLOUD_USER, f"{SITE}/{NODE}")
    broker = make_broker(
        request.param, tmp_path / "broker", lambda: {user: hash_password(PASSWORD) for user in users}
    )
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path / "outbox.sqlite", f"/{SITE}/{NODE}", 10**8, anchored_clock())) as outbox:
        yield outbox


@pytest.fixture
def start(broker: Broker, outbox: Outbox) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start_(settings: UplinkSettings = QUICK, password: str = PASSWORD) -> Running:
        running.append(Running(outbox, broker.port, settings, password))
        return running[-1]

    yield start_
    for each in running:
        each.stop()
        each.uplink.close()


@pytest.fixture
def cloud(broker: Broker) -> Iterator[Cloud]:
    cloud = Cloud(broker)
    yield cloud
    cloud.client.close()

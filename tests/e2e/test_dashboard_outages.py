"""A dead cloud, a dead broker and a slow database are shown on the page, which recovers by itself."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from apps.demo.screenshots.browser import DESKTOP
from apps.demo.world.processes import Children, wait_until
from apps.demo.world.world import CloudSite, answers
from tests.postgres import Postgres
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.e2e]
RECOVERY_MS = 1000 * PATIENCE_S


def fleet_page(browser: Browser, cloud: CloudSite) -> Page:
    page = browser.new_context(viewport=DESKTOP).new_page()
    with cloud.client() as client:
        page.goto(client.post("/v1/sign-in-links")["url"])
    page.get_by_role("heading", name="Fleet").wait_for()
    return page


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudSite]:
    with Children(tmp_path / "logs") as children:
        site = CloudSite(children, tmp_path / "cloud")
        site.start()
        yield site


def test_a_dead_cloud_is_shown_and_the_page_recovers_with_it(browser: Browser, cloud: CloudSite) -> None:
    page = fleet_page(browser, cloud)
    cloud.child.kill()
    cloud.child.reap()
    page.get_by_text("Connection lost").wait_for(timeout=RECOVERY_MS)
    cloud.start()
    page.get_by_text("Connection lost").wait_for(state="hidden", timeout=RECOVERY_MS)
    page.get_by_role("heading", name="Fleet").wait_for()
    assert "/sign-in" not in page.url  # The session has outlived the cloud.


def test_a_dead_broker_is_shown_until_it_is_back(browser: Browser, cloud: CloudSite) -> None:
    page = fleet_page(browser, cloud)
    file = cloud.file
    with closing(socket.socket()) as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _take_port(squatter, file.mqtt_port, file.broker_pid)
        page.get_by_text("The broker does not answer").wait_for(timeout=RECOVERY_MS)
    page.get_by_text("The broker does not answer").wait_for(state="hidden", timeout=RECOVERY_MS)
    assert answers(f"{file.http_url}/healthz")


def _take_port(squatter: socket.socket, port: int, broker_pid: int) -> None:
    """End the broker and take its port before its successor does."""

    def taken() -> bool:
        try:
            squatter.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

    os.kill(broker_pid, signal.SIGKILL)
    wait_until(taken, what="the broker's port is free", timeout_s=PATIENCE_S, poll_s=0.001)
    squatter.listen()


def test_a_slow_database_is_shown_until_it_answers(
    browser: Browser, tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.url()
    with Children(tmp_path / "logs") as children:
        cloud = CloudSite(children, tmp_path / "cloud", settings={"database": url})
        cloud.start()
        page = fleet_page(browser, cloud)
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE node IN ACCESS EXCLUSIVE MODE")
            page.get_by_text("its database is slow").first.wait_for(timeout=RECOVERY_MS)
            connection.rollback()
        page.get_by_text("its database is slow").first.wait_for(state="hidden", timeout=RECOVERY_MS)

"""A signed-in browser for the page tests of one app, and events of its scripted node.

A test module that imports `tab` and `page` has a module fixture ``client``: the API of its cloud.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from apps.demo.screenshots.browser import DESKTOP
from common.messages import Event
from tests.e2e.test_dashboard import HARMLESS, PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from common.app.cloud import ReceivedEvent
    from common.cloud_client import CloudClient

MARKUP = '<img src=x onerror="window.broken=1">'


def as_event(received: ReceivedEvent) -> Event:
    return Event(received.type, received.subject, received.time_ns, received.priority, received.data)


@pytest.fixture(scope="module")
def tab(browser: Browser, client: CloudClient) -> Iterator[Page]:
    """One tab, signed in, for all tests."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(client.post("/v1/sign-in-links", {"name": "Dr Ada"})["url"])
    yield page
    context.close()


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """The tab at the wide width; its console must stay without errors."""
    complaints: list[str] = []

    def on_console(message: Any) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            complaints.append(f"{message.text} ({message.location})")

    def fail(error: Any) -> None:
        complaints.append(str(error))

    tab.set_viewport_size(DESKTOP)
    tab.on("console", on_console)
    tab.on("pageerror", fail)
    yield tab
    tab.remove_listener("console", on_console)
    tab.remove_listener("pageerror", fail)
    assert not complaints

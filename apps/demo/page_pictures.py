"""Pictures of every page of the dashboard, at both widths, for the docs and for whoever mends a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from apps.demo.browser import DESKTOP, PHONE
from apps.demo.client import CloudClient
from apps.demo.shows import ENGINES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGES = {
    "fleet": "fleet",
    "node": f"nodes/{ENGINES.subjects[0]}",
    "apps": "apps",
    "alerts": "alerts",
    "models": "models",
    "model": f"models/{ENGINES.app}/{{version}}",
    "learning": "learning",
    "rollouts": "rollouts",
    "data": "data",
    "settings": "settings",
    "machines": f"apps/{ENGINES.app}",
    "machine": f"apps/{ENGINES.app}/machines/{ENGINES.subjects[0]}",
}
"""Name of the picture and path below ``/ui`` of each page."""
WIDTHS = {"": DESKTOP, "-phone": PHONE}
SETTLE_MS = 2500
"""Charts are drawn by then."""


def take_pages(browser: Browser, client: CloudClient, folder: Path) -> None:
    """Take ``page-<name>.png`` and ``page-<name>-phone.png`` of every page, as somebody who is signed in."""
    version = client.get("/v1/status")["apps"][ENGINES.app]["production"]
    for suffix, viewport in WIDTHS.items():
        context = browser.new_context(viewport=viewport)
        page = context.new_page()
        page.goto(f"{client.url}/sign-in")
        if "sign-in" in page.url:
            page.screenshot(path=folder / f"page-sign-in{suffix}.png")
        page.goto(client.post("/v1/sign-in-links", {"name": "presenter"})["url"])
        for name, path in PAGES.items():
            page.goto(f"{client.url}/ui/{path.format(version=version)}")
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"page-{name}{suffix}.png")
            sys.stdout.write(f"page-{name}{suffix}.png\n")
        context.close()

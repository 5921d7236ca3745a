"""Screenshots of every dashboard page at desktop and phone width."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apps.demo.screenshots.browser import DESKTOP, PHONE, settle
from apps.demo.world.shows import ENGINES, PATIENTS, STORES
from common.cloud_client import CloudClient

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

FRAME = {
    name: name for name in ("fleet", "apps", "alerts", "models", "learning", "rollouts", "data", "settings")
}
"""Pages without an app: name of the screenshot, and path below ``/ui``."""
WIDTHS: Mapping[str, ViewportSize] = {"": DESKTOP, "-phone": PHONE}
SETTLE_MS = 2500
"""Time for a page to be filled, at least."""
FILLED_TIMEOUT_MS = 240_000


def engine_pages(client: CloudClient) -> dict[str, str]:
    """Pages without an app and those of the engines, as in `FRAME`."""
    app, engine = ENGINES.app, ENGINES.subjects[0]
    version = client.get("/v1/status")["apps"][app]["production"]
    return FRAME | {
        "node": f"nodes/{engine}",
        "model": f"models/{app}/{version}",
        "machines": f"apps/{app}",
        "machine": f"apps/{app}/machines/{engine}",
    }


def patient_pages(client: CloudClient) -> dict[str, str]:
    """Pages of the patients, as in `FRAME`; needs a strip to review."""
    app = PATIENTS.app
    strip = client.get(f"/v1/apps/{app}/review", limit=1)["items"][0]
    return {
        "patients": f"apps/{app}",
        "patient": f"apps/{app}/patients/{strip['patient']}",
        "review": f"apps/{app}/review",
        "strip": f"apps/{app}/strips/{strip['id']}",
    }


def store_pages(_client: CloudClient) -> dict[str, str]:
    """Pages of the stores, as in `FRAME`."""
    app, camera = f"apps/{STORES.app}", STORES.subjects[0]
    return {
        "stores": app,
        "store": f"{app}/stores/{STORES.site}",
        "queues": f"{app}/queues/{STORES.site}",
        "cameras": f"{app}/cameras",
        "live": f"{app}/live/{STORES.site}?camera={camera}",
        "layout": f"{app}/layouts/{camera}/{camera}",
        "pictures-review": f"{app}/review",
        "pictures-sent": f"{app}/pictures",
        "reports": f"{app}/reports",
    }


def take_pages(browser: Browser, client: CloudClient, pages: Mapping[str, str], folder: Path) -> None:
    """Take ``page-<name>.png`` and ``page-<name>-phone.png`` of ``pages``, signed in."""
    for suffix, viewport in WIDTHS.items():
        context = browser.new_context(viewport=viewport)
        page = context.new_page()
        page.set_default_timeout(FILLED_TIMEOUT_MS)
        page.goto(f"{client.url}/sign-in")
        if "sign-in" in page.url:
            page.screenshot(path=folder / f"page-sign-in{suffix}.png")
        page.goto(client.post("/v1/sign-in-links", {"name": "presenter"})["url"])
        for name, path in pages.items():
            page.goto(f"{client.url}/ui/{path}")
            settle(page, SETTLE_MS)
            page.screenshot(path=folder / f"page-{name}{suffix}.png")
            sys.stdout.write(f"page-{name}{suffix}.png\n")
        context.close()

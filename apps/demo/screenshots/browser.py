"""An installed Chromium, driven by Playwright, for measurements and screenshots of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from apps.demo.world.processes import ShowError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
PAINTED = "performance.getEntriesByName('first-contentful-paint').length > 0"
FIRST_PAINT_MS = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
DRAWN = "performance.getEntriesByName('edgeloop-page-drawn').length > 0"
FILLED = """() =>
  [...document.querySelectorAll(".chart")].every(each => each.querySelector("canvas"))
  && ![...document.querySelectorAll(".waiting, .unfilled, .placeholder")].some(each => each.offsetParent)"""
"""Every chart is drawn with its data, no visible table is loading, and the panel shows the dashboard."""
DRAWN_MS = "performance.getEntriesByName('edgeloop-page-drawn')[0].startTime"


def find_chromium() -> str | None:
    """The program in ``EDGELOOP_CHROMIUM``, or an installed Chromium or Chrome."""
    return os.environ.get("EDGELOOP_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless browser. Raises `ShowError` without a Chromium."""
    program = find_chromium()
    if program is None:
        raise ShowError("no Chromium is installed: apt-get install chromium, or set EDGELOOP_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ShowError("Playwright is not installed: pip install 'edgeloop[dev]'") from error
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *sandbox])
        try:
            yield browser
        finally:
            browser.close()


def settle(page: Page, settle_ms: float) -> None:
    """Wait for ``settle_ms`` and until the blocks of the page and its frames are filled."""
    page.wait_for_timeout(settle_ms)
    for frame in page.frames:
        frame.wait_for_function(FILLED)


def paint_ms(page: Page, url: str) -> tuple[float, float]:
    """Open ``url``; ms from the start of the navigation to the first paint, and to the drawn page.

    The first paint shows frame and heading, from the page's source; the drawn page has its blocks, which are
    filled over its live connection.
    """
    page.goto(url)
    page.wait_for_function(f"{PAINTED} && {DRAWN}")
    return float(page.evaluate(FIRST_PAINT_MS)), float(page.evaluate(DRAWN_MS))

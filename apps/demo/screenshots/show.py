"""Screenshots of the shows and of every page for ``docs``: ``make screenshots``.

Starts a show, presses its buttons in a headless Chromium, and takes a picture at each moment of the
presenter's guide (``docs/demo.md``): of the engines, the patients and the stores.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from apps.demo.screenshots.browser import DESKTOP, PHONE, open_browser, settle
from apps.demo.screenshots.pages import engine_pages, patient_pages, store_pages, take_pages
from apps.demo.world.processes import Child, Children, ShowError, edgeloop, wait_until
from apps.demo.world.shows import PATIENTS, STORES
from common.cloud_client import CloudClient
from common.cloud_file import CLOUD_FILE, read_cloud_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path("docs/img")
SETTLE_MS = 5000
"""Time for a dashboard page to be filled, at least."""
TIMEOUT_MS = 1_800_000
"""Bound of each wait, the longest of which is a chapter: a busy machine takes many times longer."""


class Camera:
    """Presses the panel's buttons and takes pictures."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        page.set_default_timeout(TIMEOUT_MS)

    def take(self, name: str) -> None:
        settle(self._page, SETTLE_MS)
        self._page.screenshot(path=self._folder / f"show-{name}.png")
        sys.stdout.write(f"show-{name}.png\n")

    def play(self, chapter: int) -> None:
        self._page.get_by_role("button", name=f"Play chapter {chapter}", exact=True).click()

    def run_action(self, title: str) -> None:
        self._page.get_by_role("button", name=title, exact=True).click()

    def wait_for(self, text: str) -> None:
        """Wait for a text in the narrator's column."""
        self._page.locator(".narrator-rest").get_by_text(re.compile(text)).first.wait_for()

    def wait_until_idle(self) -> None:
        """Wait until nothing runs. Raises `ShowError` if a step has failed."""
        self._page.wait_for_timeout(1000)  # It has started by then.
        self._page.locator(".status").get_by_text(re.compile("^(Next:|End of the story)")).wait_for()
        failed = [each for each in self._page.locator(".reason").all_inner_texts() if each]
        if failed:
            raise ShowError(failed[0])


def take_engines(camera: Camera) -> None:
    """Screenshots of the engines, in the order of their story."""
    camera.wait_for("cycles per second, virtual")
    camera.take("start")
    camera.play(2)
    camera.wait_until_idle()
    camera.take("edge")
    camera.run_action("Unplug the network")
    camera.wait_until_idle()
    camera.take("cut")
    camera.run_action("Restore the network")
    camera.wait_until_idle()
    camera.play(4)
    camera.wait_for("runs with fault fan")
    camera.wait_until_idle()
    camera.take("drift")
    camera.play(5)
    camera.wait_for("a training job runs")
    camera.take("learning")
    camera.wait_until_idle()
    camera.play(6)
    camera.wait_for("the other nodes still run the old model")
    camera.take("rollout")
    camera.wait_until_idle()
    camera.take("after")
    camera.play(10)
    camera.wait_until_idle()
    camera.take("bad-models")


def take_patients(camera: Camera, take_pages_now: Callable[[], None]) -> None:
    """Screenshots of the patients; of their pages while strips await a review."""
    camera.run_action(PATIENTS.title)
    camera.wait_for("times real time")
    camera.wait_until_idle()
    camera.play(2)
    camera.wait_until_idle()
    camera.take("patients")
    camera.play(3)
    camera.wait_until_idle()
    camera.take("patients-record")
    take_pages_now()
    camera.play(4)
    camera.wait_until_idle()
    camera.play(5)
    camera.wait_until_idle()
    camera.take("patients-learning")
    camera.play(6)
    camera.wait_until_idle()
    camera.take("patients-after")


def take_stores(camera: Camera, take_pages_now: Callable[[], None]) -> None:
    """Screenshots of the stores; of their pages while pictures await a review."""
    camera.run_action(STORES.title)
    camera.wait_for("pictures per second")
    camera.wait_until_idle()
    camera.play(2)
    camera.wait_until_idle()
    camera.take("stores")
    camera.play(3)
    camera.wait_for("pictures, ")
    take_pages_now()
    camera.wait_until_idle()
    camera.take("stores-fog")
    camera.play(4)
    camera.wait_until_idle()
    camera.play(5)
    camera.wait_until_idle()
    camera.take("stores-after")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        Children(Path(work) / "logs") as children,
        open_browser() as browser,
    ):
        show = children.start("show", edgeloop("demo", "--no-browser", "--data", f"{work}/show"))
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(_address(show))
        take_engines(Camera(page, folder))
        _take_other(context.new_page, page.url, folder)

        def take_pages_of(pages: Callable[[CloudClient], dict[str, str]]) -> None:
            with _client(Path(work)) as client:
                take_pages(browser, client, pages(client), folder)

        take_pages_of(engine_pages)
        take_patients(Camera(page, folder), lambda: take_pages_of(patient_pages))
        take_stores(Camera(page, folder), lambda: take_pages_of(store_pages))
        show.stop(30)


def _client(work: Path) -> CloudClient:
    """API client of the newest cloud below ``work``; each show has its own."""
    found = max(work.glob(f"show/**/cloud/{CLOUD_FILE}"), key=lambda path: path.stat().st_mtime)
    file = read_cloud_file(found.parent)
    token = found.parent / "secrets" / "admin-token"
    return CloudClient(file.http_url, token.read_text("utf-8").strip())


def _take_other(new_page: Callable[[], Page], url: str, folder: Path) -> None:
    """Screenshots at phone width and in dark mode."""
    phone = new_page()
    phone.set_viewport_size(PHONE)
    phone.goto(url)
    Camera(phone, folder).take("phone")
    dark = new_page()
    dark.emulate_media(color_scheme="dark")
    dark.set_viewport_size(DESKTOP)
    dark.goto(url)
    Camera(dark, folder).take("dark")


def _address(show: Child) -> str:
    def printed() -> list[str]:
        return re.findall(r"http://127\.0\.0\.1:\d+/enter/\S+", show.log.read_text())

    return wait_until(printed, what="the show prints its address", timeout_s=240, failed=show.exit_report)[-1]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

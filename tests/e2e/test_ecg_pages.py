"""The ECG app's pages in a real browser, over a real cloud with data of two patients.

Every page at both widths: no error in the console, nothing wider than the window, no serious finding of
axe-core, text of a node as text. Then the work of a clinician: measure, correct beats by keyboard, print.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.demo.screenshots.browser import DESKTOP, PHONE
from apps.demo.world.processes import Children, wait_until
from apps.demo.world.world import CloudSite
from apps.ecg.cloud import formatting
from tests.apps.ecg import received
from tests.e2e.app_pages import MARKUP, as_event, page, tab
from tests.e2e.scripted_node import ScriptedNode
from tests.e2e.test_dashboard import FITS, serious
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from common.cloud_client import CloudClient

__all__ = ["page", "tab"]
pytestmark = [pytest.mark.e2e]

HOSTILE = "p-hostile"
PATIENT = f"apps/ecg/patients/{received.ANN}?day={received.DAY}"
STRIP = f"{received.ANN}.{received.at(635)}"
BATCH = 200
CSS_PIXELS_IN_MM = 96 / 25.4
PAGES = {
    "apps/ecg": "virtual",
    PATIENT: "Atrial fibrillation",
    f"apps/ecg/patients/{HOSTILE}": MARKUP,
    f"apps/ecg/strips/{HOSTILE}.{received.at(635)}": MARKUP,
    "apps/ecg/review": "Reviews become training labels.",
    "apps/ecg/patients/nobody": "unknown patient",
}
"""Path of each page, and a text on it."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudClient]:
    """The API of a cloud with the ECG app and events of two patients."""
    folder = tmp_path_factory.mktemp("ecg")
    with Children(folder / "logs") as children:
        cloud = CloudSite(children, folder / "cloud", environment={"PYTHONPATH": str(installed(folder))})
        cloud.start()
        with cloud.client() as client, ScriptedNode(client, "bed-1") as node:
            hostile = {"patient": HOSTILE, "version": MARKUP, "virtual": True}
            events = [
                *received.a_day(),
                received.rates(640, rhythm=MARKUP, **hostile),
                received.strip(635, MARKUP, leads=[MARKUP], rhythm=MARKUP, **hostile),
                received.alarm(640, name=MARKUP, text=MARKUP, **hostile),
                received.rhythm(640, **hostile),
            ]
            for first in range(0, len(events), BATCH):
                node.send(*map(as_event, events[first : first + BATCH]))
            waiting = "/v1/apps/ecg/review"
            wait_until(
                lambda: len(client.get(waiting)["items"]) == 2, what="the strips", timeout_s=PATIENCE_S
            )
            yield client


def installed(folder: Path) -> Path:
    """A folder that installs the ECG app for a child, whatever this environment was installed with."""
    packages = folder / "packages"
    about = packages / "ecg_for_test-0.0.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ecg-for-test\nVersion: 0.0.0\n")
    (about / "entry_points.txt").write_text("[edgeloop.apps]\necg = apps.ecg.app:SPEC\n")
    return packages


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_sound(page: Page, client: CloudClient, path: str) -> None:
    page.goto(f"{client.url}/ui/{path}")
    page.get_by_text(PAGES[path]).first.wait_for()
    page.get_by_text(formatting.DISCLAIMER).first.wait_for()
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)
        page.wait_for_function(FITS)
        assert not serious(page, contrast=viewport is DESKTOP)
    assert page.evaluate("window.broken") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("a[aria-current=page]").count() == 1


def test_the_caliper_measures_by_keyboard_and_by_dragging_at_any_zoom(
    page: Page, client: CloudClient
) -> None:
    """Its lines begin on the first two beats, which are a second apart."""
    page.goto(f"{client.url}/ui/apps/ecg/strips/{STRIP}")
    measure = page.locator(".strip-measure")
    measure.get_by_text("1000 ms").wait_for()
    assert "60 bpm" in measure.inner_text()
    first, second = (page.get_by_role("slider", name=f"Caliper line {name}") for name in "AB")
    first.focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowRight")
    measure.get_by_text("1036 ms").wait_for()
    assert first.get_attribute("aria-valuenow") == "464"
    page.get_by_role("button", name="×2").click()
    box = second.bounding_box()
    assert box
    middle, foot = box["x"] + box["width"] / 2, box["y"] + box["height"] - 12
    page.mouse.move(middle, foot)
    page.mouse.down()
    page.mouse.move(middle + 0.5 * 2 * 25 * CSS_PIXELS_IN_MM, foot, steps=4)
    page.mouse.up()
    shown_ms = int(measure.inner_text().split(" ms")[0])
    assert abs(shown_ms - 1536) <= 10


def test_beats_are_corrected_by_keyboard_and_become_labels(page: Page, client: CloudClient) -> None:
    page.goto(f"{client.url}/ui/apps/ecg/strips/{STRIP}")
    page.get_by_role("button", name="Beat 1 at").focus()
    for key in ("ArrowRight", "s", "End", "Delete", "Home"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Beat 2 at 1.50 s: S").wait_for()
    page.get_by_role("button", name="Save the correction").click()
    page.get_by_text("corrected by Dr Ada").first.wait_for()
    strip = client.get(f"/v1/apps/ecg/strips/{STRIP}")
    assert "".join(beat["kind"] for beat in strip["true_beats"]) == "NSNVNNNNN"
    labels = client.get("/v1/apps/ecg/labels", group=received.ANN)["items"]
    assert {label["kind"]: label["source"] for label in labels} == dict.fromkeys(
        ("beats", "rhythm"), "person:Dr Ada"
    )


def test_the_report_is_printed_from_the_day(page: Page, client: CloudClient) -> None:
    page.goto(f"{client.url}/ui/{PATIENT}")
    link = page.get_by_role("link", name="Report (PDF)")
    link.and_(page.locator("[href]")).wait_for()
    answer = page.context.request.get(f"{client.url}{link.get_attribute('href')}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.body().startswith(b"%PDF")

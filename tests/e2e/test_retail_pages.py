"""The retail app's pages in a real browser, over a real cloud with a day of one hostile camera.

Every page at both widths: no error in the console, nothing wider than the window, no serious finding of
axe-core, text of a node as text. Then sales are uploaded, and another day is chosen.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from apps.demo.screenshots.browser import DESKTOP, PHONE
from apps.demo.world.processes import Children, wait_until
from apps.demo.world.world import CloudSite
from apps.retail.edge.samples import make_sample
from apps.retail.pages.sales_form import MAX_FILE_BYTES, TOO_LARGE
from common.app.edge import Reading, Sample
from common.samples import encode_sample
from common.vision.detections import PERSON, Detections
from tests.apps.retail import received
from tests.apps.retail.scripted import SIDE_PX, STEP_NS, scenery
from tests.e2e.app_pages import MARKUP, as_event, page, tab
from tests.e2e.scripted_node import ScriptedNode
from tests.e2e.test_dashboard import FITS, serious
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

    from common.app.cloud import ReceivedEvent
    from common.cloud_client import CloudClient

__all__ = ["page", "tab"]
pytestmark = [pytest.mark.e2e]

STORE = "strange"
"""Site of scripted nodes."""
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAY_BEFORE = YESTERDAY - timedelta(days=1)
DAY = f"apps/retail/stores/{STORE}?day={YESTERDAY}"
PAGES = {
    "apps/retail": STORE,
    DAY: MARKUP,
    f"apps/retail/queues/{STORE}?day={YESTERDAY}": MARKUP,
    "apps/retail/cameras": MARKUP,
    "apps/retail/reports": "No report is scheduled.",
    f"apps/retail/live/{STORE}?camera={quote(MARKUP, safe='')}": "these are its last numbers",
    "apps/retail/pictures": "to draw lines and zones on",
    "apps/retail/review": "Proposed by the node's detector v1.",
    f"apps/retail/layouts/camera-box/{quote(MARKUP, safe='')}": MARKUP,
    "apps/retail/stores/nowhere": "no store 'nowhere' has reported",
}
"""Path of each page, and a text on it."""
SALES = f"begin,transactions\n{YESTERDAY}T09:00,4\n{YESTERDAY}T11:00,6\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudClient]:
    """The API of a cloud with events of one camera."""
    folder = tmp_path_factory.mktemp("retail")
    with Children(folder / "logs") as children:
        cloud = CloudSite(children, folder / "cloud")
        cloud.start()
        with cloud.client() as client, ScriptedNode(client, "camera-box") as node:
            node.send(*map(as_event, a_day()))
            for number in range(3):
                upload(client, a_picture(number))
            upload(client, dataclasses.replace(a_picture(3), reasons={"still": 1.0}))
            path = f"/v1/apps/retail/stores/{STORE}/day"
            wait_until(
                lambda: client.get("/v1/apps/retail/stores")["items"] and client.get(path)["cameras"],
                what="the camera",
                timeout_s=PATIENCE_S,
            )
            yield client


def a_picture(number: int) -> Sample:
    """A picture with one person, as a node offers it; the subject is hostile."""
    people = Detections.of([[100, 100, 130, 180]], [0.9], [PERSON])
    reading = Reading(MARKUP, 1000 + number, 1, scenery(number * STEP_NS))
    return make_sample(reading, people, {"low_margin": 0.9 - number / 10}, "v1")


def upload(client: CloudClient, sample: Sample) -> None:
    """Store a sample, as the admin."""
    content = encode_sample(sample.arrays)
    digest = hashlib.sha256(content).hexdigest()
    announced: dict[str, Any] = {"app": "retail", "subject": sample.subject, "group": sample.group}
    announced |= {"captured_ns": sample.captured_ns, "reasons": dict(sample.reasons)}
    announced |= {"attributes": dict(sample.attributes), "size": len(content), "sha256": digest}
    client.post("/v1/samples", announced)
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    client.request("PATCH", f"/v1/samples/{digest}", content, headers)


def a_day() -> list[ReceivedEvent]:
    at_ns = received.local_ns(f"{YESTERDAY} 09:00", "UTC")
    minute_ns = 60 * 10**9
    camera: dict[str, Any] = {"camera": MARKUP}
    return [
        received.begun(1, at_ns, lines=[MARKUP], zones=[MARKUP], problems=[MARKUP], version=MARKUP, **camera),
        *(
            received.minute(2 + at, at_ns + at * minute_ns, 3, 1, line=MARKUP, returned=1, groups=2, **camera)
            for at in range(60)
        ),
        received.zone_minute(100, at_ns, zone=MARKUP, queue_s=30.0, max_queue=2, **camera),
        received.crossed(101, at_ns, 4, **camera),
        received.heat(102, at_ns, at_ns + 2, {0: 15, 4: 20}, **camera),
        received.health(103, at_ns + 3, MARKUP, **camera),
    ]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_sound(page: Page, client: CloudClient, path: str) -> None:
    page.goto(f"{client.url}/ui/{path}")
    page.wait_for_function("window.did_handshake")
    page.get_by_text(PAGES[path]).first.wait_for()
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)
        page.wait_for_function(FITS)
        assert not serious(page, contrast=viewport is DESKTOP)
    assert page.evaluate("window.broken") is None
    assert page.locator("img[src=x]").count() == 0


def test_pictures_are_reviewed_one_after_another_by_key_mouse_and_touch(
    page: Page, client: CloudClient
) -> None:
    page.goto(f"{client.url}/ui/apps/retail/review")
    page.wait_for_function("window.did_handshake")
    page.get_by_text("1 of 3").wait_for()
    page.get_by_text("proposed, score 0.90").wait_for()
    page.keyboard.press("a")
    page.get_by_text("1 of 2").wait_for()
    picture = page.locator("img[alt^='Picture with the boxes']")
    picture.scroll_into_view_if_needed()
    area = picture.bounding_box()
    assert area is not None
    scale = area["width"] / SIDE_PX
    page.mouse.click(area["x"] + 115 * scale, area["y"] + 140 * scale)
    page.get_by_text("Bring back").wait_for()
    page.keyboard.press("z")
    page.get_by_role("button", name="Take away").wait_for()
    page.get_by_role("button", name="Draw with two clicks").click()
    page.get_by_role("button", name="Click two corners").wait_for()
    for x, y in ((200, 50), (240, 150)):
        page.mouse.click(area["x"] + x * scale, area["y"] + y * scale)
    page.get_by_text("drawn", exact=True).wait_for()
    page.get_by_role("button", name="Save the correction and next").click()
    page.get_by_text("1 of 1").wait_for()
    labels = client.get("/v1/apps/retail/labels")["items"]
    assert [(each["source"], len(each["body"]["boxes_xyxy_px"])) for each in labels] == [
        ("person:Dr Ada", 2),
        ("person:Dr Ada", 1),
    ]
    assert [each["body"]["corrected"] for each in labels] == [True, False]


def choose_file(page: Page, content: bytes) -> None:
    """Choose a file for the upload of sales."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload sales").click()
    file: FilePayload = {"name": "sales.csv", "mimeType": "text/csv", "buffer": content}
    chooser.value.set_files(file)


def test_sales_are_uploaded_and_shown_with_their_gaps(page: Page, client: CloudClient) -> None:
    page.goto(f"{client.url}/ui/{DAY}")
    page.wait_for_function("window.did_handshake")
    choose_file(page, SALES.encode())
    page.get_by_text("2 periods taken").wait_for()
    page.get_by_text(f"Open periods without sales, 1: {YESTERDAY} 10:00.").wait_for()
    page.get_by_text("10 transactions").wait_for()
    choose_file(page, b"begin,transactions\nyesterday,4\n")
    page.get_by_text("The file was refused: period 1: 'yesterday' is not a time").wait_for()
    choose_file(page, b"x" * (MAX_FILE_BYTES + 1))
    page.get_by_text(TOO_LARGE).wait_for()


def test_another_day_is_chosen(page: Page, client: CloudClient) -> None:
    page.goto(f"{client.url}/ui/{DAY}")
    page.wait_for_function("window.did_handshake")
    page.get_by_label("Day", exact=True).fill(str(DAY_BEFORE))
    page.wait_for_url(f"**/stores/{STORE}?day={DAY_BEFORE}")
    page.get_by_text(f"{DAY_BEFORE}, 0% of the minutes complete").or_(
        page.get_by_text(f"{DAY_BEFORE}, no count")
    ).wait_for()
    page.get_by_role("link", name="Day after").click()
    page.wait_for_url(f"**/stores/{STORE}?day={YESTERDAY}")

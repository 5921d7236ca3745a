"""The pages are built on a real API: the chain, a store, a store that is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from nicegui import Client, core, ui

from apps.retail.app import SPEC
from apps.retail.edge.samples import make_sample
from apps.retail.pages.chain import show_stores
from apps.retail.pages.fleet import show_cameras, show_queues, show_reports
from apps.retail.pages.layout_editor import show_editor
from apps.retail.pages.live import LivePage, show_live
from apps.retail.pages.review import show_review
from apps.retail.pages.sales_form import SalesForm
from apps.retail.pages.store import show_store
from cloud_backend.app_check.pages import OneVisit
from cloud_backend.app_check.serving import served
from common.app.edge import Reading, Sample
from common.authoring.check import AppUnderCheck
from common.pages import ApiClient, Table, Text
from common.pages.site import Banner
from common.vision.detections import PERSON, Detections
from tests.apps.retail.received import begun, crossed, health, heat, local_ns, minute, zone_minute
from tests.apps.retail.scripted import scenery

LIVE = "/v1/apps/retail/stores/berlin/live"
AT_NS = local_ns("2026-07-14 09:00", "UTC")
EVENTS = [
    begun(1, AT_NS),
    crossed(2, AT_NS + 1, 4),
    minute(3, AT_NS, 3, 1),
    zone_minute(4, AT_NS, queue_s=30.0, max_queue=2),
    heat(5, AT_NS, AT_NS + 2, {0: 15, 4: 20}),
    health(6, AT_NS + 3, "moved"),
    zone_minute(7, AT_NS, zone="yard"),
]


def a_picture() -> Sample:
    """A picture with one person, as a node offers it."""
    people = Detections.of([[100, 100, 130, 180]], [0.9], [PERSON])
    return make_sample(Reading("door", AT_NS, 1, scenery(0)), people, {"low_margin": 0.5}, "v1")


def visit(api: ApiClient) -> OneVisit:
    box = ui.element("div")
    return OneVisit(api, Banner(box, ui.label(), {}), "test", box, Text("h1", ""))


def tables(client: Client) -> dict[str, list[dict[str, Any]]]:
    found = [each for each in client.elements.values() if isinstance(each, Table)]
    return {each.props["caption"]: each.props["rows"] or [] for each in found}


def texts(client: Client) -> set[str]:
    return {each.text for each in client.elements.values() if isinstance(each, Text)}


def test_the_pages_show_what_was_counted(tmp_path: Path) -> None:
    app = cast("AppUnderCheck", SimpleNamespace(spec=SPEC, received=EVENTS, results=[a_picture()]))

    refreshed: list[bool] = []

    async def taken() -> None:
        refreshed.append(True)

    async def build(api: ApiClient) -> None:
        core.loop = asyncio.get_running_loop()
        with Client(ui.page("/chain")) as client:
            await show_stores(visit(api))
        assert tables(client)["Stores"][0]["store"] == "berlin"
        with Client(ui.page("/store")) as client:
            await show_store(visit(api), "berlin", "2026-07-14")
        shown = tables(client)
        assert (shown["Lines"][0]["entered"], shown["Lines"][0]["left"]) == ("3", "1")
        assert shown["Zones"][0]["longest"] == "2"
        assert shown["Cameras"][0]["troubles"] == "silent, moved"
        with Client(ui.page("/sales")) as client:
            form = SalesForm(visit(api), "/v1/apps/retail/stores/berlin", taken)
            await form.send(b"begin,transactions\n2026-07-14T09:00,4\n2026-07-14T11:00,6\n")
            assert refreshed == [True]
            assert {"2 periods taken: 2 new, 0 corrected, 0 known."} <= texts(client)
            assert {"Open periods without sales, 1: 2026-07-14 10:00."} <= texts(client)
            await form.send(b"begin,transactions\n2026-07-14T09:00,x\n")
            refused = "The file was refused: line 2: 'x' is not a number of transactions."
            assert refused in texts(client)
            assert not any(text.startswith("Open periods") for text in texts(client))
        assert refreshed == [True]
        with Client(ui.page("/others")) as client:
            await show_stores(visit(api))
            await show_queues(visit(api), "berlin", "2026-07-14")
            await show_cameras(visit(api))
            await show_reports(visit(api))
        assert tables(client)["Cameras of all stores"][0]["troubles"] == "silent, moved"
        assert tables(client)["Stores compared"][0]["visits"] == "0"
        assert [each.text for each in client.elements.values() if isinstance(each, Text)].count(
            "Longest queue 2 people, longest wait 0 s."
        ) == 1
        assert "No queue on this day in door: yard." in texts(client)
        with Client(ui.page("/live")) as client:
            page = LivePage(visit(api), "berlin", await api.get(LIVE, camera="door"))
            page.build()
            await page.show_picture()  # The node is not enrolled.
            await page.refresh()
        assert [row["people"] for row in tables(client)["Zones"]] == []
        assert any("Nothing has come from it for" in text for text in texts(client))
        with Client(ui.page("/review")) as client:
            await show_review(visit(api), "")
        (box,) = tables(client)["Boxes"]
        assert (box["origin"], box["toggle"]) == ("proposed, score 0.90", "Take away")
        assert "1 of 1" in texts(client)
        with Client(ui.page("/nowhere")) as client:
            await show_live(visit(api), "berlin", "roof")
            await show_store(visit(api), "nowhere", "")
        assert tables(client) == {}

    async def edit(api: ApiClient) -> None:
        await api.post("/v1/nodes", {"node": "node-1", "site": "berlin", "allow_loopback": True})
        with Client(ui.page("/editor")) as client:
            await show_editor(visit(api), "node-1", "door")
        (drawn,) = [each for each in client.elements.values() if isinstance(each, ui.interactive_image)]
        assert drawn.source.startswith("data:image/svg+xml")  # No still is sent by default.
        texts = [each.text for each in client.elements.values() if isinstance(each, Text)]
        assert any("stills = true" in text for text in texts)
        with Client(ui.page("/nobody")) as client:
            await show_editor(visit(api), "absent", "door")
        assert tables(client) == {}

    async def run() -> None:
        with served(app, tmp_path / "cloud") as cloud:
            async with cloud.client() as client:
                await build(ApiClient(client, cloud.token))
                await edit(ApiClient(client, cloud.token))

    asyncio.run(run())

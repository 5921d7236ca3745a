"""The retail app's pages: all stores with their present day, and each store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.retail.pages import trend_charts
from apps.retail.pages.charts import is_incomplete
from apps.retail.pages.fleet import show_cameras, show_queues, show_reports
from apps.retail.pages.label_form import label_form
from apps.retail.pages.layout_editor import show_editor
from apps.retail.pages.live import show_live
from apps.retail.pages.pictures import show_pictures
from apps.retail.pages.review import show_review
from apps.retail.pages.store import API, show_store
from common.pages import Chart, Column, Pager, Site, Table, Tile, View, card

PAGE_STORES = 25
REFRESH_S = 5.0
COLUMNS = (
    Column("store", "Store", kind="link"),
    Column("visits", "Visits today", kind="number", hint="People who came in, less those who came back"),
    Column("left", "Went out", kind="number"),
    Column("outside", "Outside of hours", kind="number", hint="Of the visits"),
    Column("people", "Inside", kind="badge", hint="From the crossings since the last daily reset"),
    Column("complete", "Observed", kind="bar", hint="Minutes that all entrances observed without trouble"),
    Column("cameras", "Cameras", kind="badge"),
    Column("day", "Local day"),
    Column("last", "Last count", kind="ago"),
)
CAMERA_STATES = {"troubled": "in trouble", "silent": "silent"}
COMPARE_S = 60.0
COMPARED_COLUMNS = (
    Column("store", "Store", kind="link"),
    Column("visits", "Visits", kind="number"),
    Column("change", "Change", kind="number", hint="Against the days before"),
    Column("complete", "Observed", kind="bar"),
    Column("conversion", "Conversion", kind="number", hint="Transactions by visits"),
    Column("group_conversion", "by groups", kind="number", hint="Transactions by groups, where counted"),
    Column("capture", "Capture rate", kind="number", hint="Visits by passers-by"),
    Column("unusual", "Unusual day"),
)


def add_pages(site: Site) -> None:
    """Add the app's pages."""

    @site.page("", "Stores", icon="storefront")
    async def stores(view: View) -> None:
        await show_stores(view)

    @site.page("stores/{store:path}", "Store")
    async def one_store(view: View, store: str, day: str = "") -> None:
        await show_store(view, store, day)

    @site.page("cameras", "Cameras", icon="videocam")
    async def cameras(view: View) -> None:
        await show_cameras(view)

    @site.page("queues/{store:path}", "Queues")
    async def queues(view: View, store: str, day: str = "") -> None:
        await show_queues(view, store, day)

    @site.page("reports", "Reports", icon="summarize")
    async def reports(view: View) -> None:
        await show_reports(view)

    @site.page("layouts/{node}/{camera:path}", "Lines and zones")
    async def layout_of(view: View, node: str, camera: str) -> None:
        await show_editor(view, node, camera)

    @site.page("live/{store:path}", "Live counts")
    async def live(view: View, store: str, camera: str = "") -> None:
        await show_live(view, store, camera)

    @site.page("review", "Picture review", icon="rate_review")
    async def review(view: View, camera: str = "") -> None:
        await show_review(view, camera)

    @site.page("pictures", "Pictures sent", icon="privacy_tip")
    async def pictures(view: View) -> None:
        await show_pictures(view)

    site.label_form(label_form)


async def show_stores(view: View) -> None:
    """Build the front page."""
    with ui.element("div").classes("tiles"):
        visits, inside, troubled = (
            Tile(name) for name in ("Visits today", "Inside now", "Cameras in trouble")
        )
    with card("Stores", "With the present day in the time of each.", wide=True):
        table = Table(
            "Stores",
            COLUMNS,
            empty_text="No store has reported yet.",
            empty_hint="Enrol a node (edgeloop fleet enrol NAME --site STORE --out NAME.json), then run it: "
            "edgeloop node run --app retail --source virtual:entrance --enrolment NAME.json",
        )
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        page = await view.api.get(f"{API}/stores", limit=PAGE_STORES, cursor=pager.cursor)
        pager.show(page)
        items = page["items"]
        visits.show(f"{sum(item['visits'] for item in items):,}", f"of {len(items)} stores on this page")
        inside.show(f"{sum(item['people'] for item in items):,}", "by the crossings")
        bad = sum(item["troubled"] for item in items)
        troubled.show(str(bad), "their counts are incomplete" if bad else "none", "warn" if bad else "")
        table.show([store_row(item) for item in items])

    with card("Stores compared", "Whole local days up to yesterday, and as many before.", wide=True):
        chart = Chart("Visits by store, last 7 days and 7 days before", {"series": []})
        compared = Table("Stores compared", COMPARED_COLUMNS, empty_text="No store has reported yet.")

    async def compare() -> None:
        answer = await view.api.get(f"{API}/compare", limit=PAGE_STORES, cursor=pager.cursor)
        chart.show(trend_charts.compared(answer["items"], answer["days"]))
        compared.show([compared_row(item) for item in answer["items"]])

    await view.live(refresh, REFRESH_S)
    await view.live(compare, COMPARE_S)


def compared_row(store: Mapping[str, Any]) -> dict[str, Any]:
    """A store as a row of the comparison."""
    change, share = store["change_percent"], store["complete_share"]
    return {
        "id": store["site"],
        "store": store["title"],
        "store_href": f"/ui/apps/retail/stores/{quote(store['site'], safe='')}",
        "visits": f"{store['visits']:,}",
        "change": "–" if change is None else f"{change:+.1f} %",
        "complete": share,
        "complete_text": "no count" if share is None else f"{share:.0%}",
        "complete_tone": "warn" if is_incomplete(store) else "",
        "conversion": _share(store["conversion"]),
        "group_conversion": _share(store["group_conversion"]),
        "capture": _share(store["capture_rate"]),
        "unusual": store["unusual"][0] if store["unusual"] else "",
    }


def cameras_text(store: Mapping[str, Any]) -> str:
    """Number of a store's cameras, of those in trouble, and of silent ones."""
    states = [f"{store[each]} {name}" for each, name in CAMERA_STATES.items() if store[each]]
    return f"{store['cameras']}: {', '.join(states)}" if states else str(store["cameras"])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def store_row(store: Mapping[str, Any]) -> dict[str, Any]:
    """A store as a row of the table."""
    limit, share = store["max_people"], store["complete_share"]
    return {
        "id": store["site"],
        "store": store["title"],
        "store_href": f"/ui/apps/retail/stores/{quote(store['site'], safe='')}",
        "visits": f"{store['visits']:,}",
        "left": f"{store['left']:,}",
        "outside": f"{store['outside']:,}",
        "people": f"{store['people']} of {limit}" if limit else str(store["people"]),
        "people_tone": "bad" if limit and store["people"] > limit else "",
        "complete": share,
        "complete_text": "no count" if share is None else f"{share:.0%}",
        "complete_tone": "warn" if is_incomplete(store) else "",
        "cameras": cameras_text(store),
        "cameras_tone": "warn" if store["troubled"] or store["silent"] else "",
        "day": f"{store['day']} ({store['time_zone']})",
        "last": store["last_ns"],
    }

"""The ECG app's pages: patients, a patient's day, strips on ECG paper, and the review queue.

Each page shows that this is a reference application, not a medical device, and marks virtual data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.ecg.cloud import formatting
from apps.ecg.pages.day import DayPage
from apps.ecg.pages.label_form import label_form
from apps.ecg.pages.review_desk import API, patient_href
from apps.ecg.pages.reviews import ReviewPage, StripPage
from apps.ecg.pages.strip_view import STYLE
from common.pages import Column, Pager, Site, Table, Text, Tile, View, card

PAGE_PATIENTS = 25
REFRESH_S = 2.0
COLUMNS = (
    Column("patient", "Patient", kind="link", hint="A pseudonym made on the device"),
    Column("virtual", "Source", kind="badge", hint="Whether the signal is simulated"),
    Column("node", "Node", kind="link"),
    Column("rhythm", "Rhythm now", kind="badge"),
    Column("rate", "Heart rate", kind="number"),
    Column("alarms", "Open alarms", kind="badge", hint="Raised, or latched and not reset"),
    Column("burden", "AF burden", kind="bar", hint="Of the good signal of the newest day"),
    Column("strips", "To review", kind="number", hint="Unreviewed strips"),
    Column("last", "Last seen", kind="ago"),
)


def add_pages(site: Site) -> None:
    """Add the app's pages and style sheet."""
    ui.add_css(STYLE, shared=True)

    @site.page("", "Patients", icon="monitor_heart")
    async def patients(view: View) -> None:
        await show_patients(view)

    @site.page("patients/{patient}", "Patient")
    async def one_patient(view: View, patient: str, day: str | None = None) -> None:
        await DayPage(view, patient, day).build()

    @site.page("review", "ECG review", icon="rate_review")
    async def review(view: View) -> None:
        await ReviewPage(view).build()

    @site.page("strips/{strip}", "Strip")
    async def one_strip(view: View, strip: str) -> None:
        await StripPage(view, strip).build()

    site.label_form(label_form)
    site.subject_page(patient_href)


async def show_patients(view: View) -> None:
    """Build the front page."""

    with view.head:
        Text("span", formatting.DISCLAIMER).classes("about")
    with ui.element("div").classes("tiles"):
        shown, open_alarms, af, waiting = (
            Tile(name)
            for name in ("Patients", "With open alarms", "In atrial fibrillation", "Strips to review")
        )
    with card("Patients", "Most recent data first. Names are pseudonyms made on the device.", wide=True):
        table = Table(
            "Patients",
            COLUMNS,
            empty_text="No patient data yet.",
            empty_hint="Enrol a node (edgeloop fleet enrol NAME --site SITE --out NAME.json), then run it: "
            'edgeloop node run --app ecg --source "virtual:patient?seed=1" --enrolment NAME.json',
        )
        table.classes("ecg-names")
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        page = await view.api.get(f"{API}/patients", limit=PAGE_PATIENTS, cursor=pager.cursor)
        items = page["items"]
        pager.show(page)
        whole = "" if pager.whole else "on this page"
        shown.show(str(len(items)), whole)
        with_alarms = sum(1 for each in items if each["open_alarms"])
        open_alarms.show(str(with_alarms), whole, "bad" if with_alarms else "")
        fibrillating = sum(1 for each in items if each["rhythm"] == "AF")
        af.show(str(fibrillating), whole, "warn" if fibrillating else "")
        unreviewed = sum(each["unreviewed_strips"] for each in items)
        waiting.show(str(unreviewed), whole or "on the page ECG review")
        table.show([patient_row(each) for each in items])

    await view.live(refresh, REFRESH_S)


def patient_row(patient: Mapping[str, Any]) -> dict[str, Any]:
    """A patient as a row of the table."""
    alarms, burden = patient["open_alarms"], patient["af_burden_percent"]
    return {
        "id": patient["patient"],
        "patient": patient["patient"],
        "patient_href": patient_href(patient["patient"]),
        "virtual": "virtual" if patient["virtual"] else "",
        "virtual_tone": "info",
        "node": patient["node"],
        "node_href": f"/ui/nodes/{quote(patient['node'], safe='')}",
        "rhythm": formatting.rhythm(patient["rhythm"]),
        "rhythm_tone": formatting.RHYTHM_TONES.get(patient["rhythm"], ""),
        "rate": formatting.figure(patient["heart_rate_bpm"], "bpm"),
        "alarms": f"{alarms} open" if alarms else "",
        "alarms_tone": "bad",
        "burden": None if burden is None else burden / 100,
        "burden_text": formatting.percent(burden),
        "burden_tone": "warn" if burden else "",
        "strips": patient["unreviewed_strips"] or "",
        "last": patient["last_ns"],
    }

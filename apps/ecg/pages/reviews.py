"""Pages of strips: the review queue, and a single strip."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.ecg.cloud import formatting
from apps.ecg.pages.review_desk import API, ReviewDesk, beat_counts, patient_href, strip_href, verdict
from common.pages import ApiError, Badge, Column, Table, Text, View, card, empty

QUEUE = 50
REFRESH_S = 3.0
Json = Mapping[str, Any]
QUEUE_COLUMNS = (
    Column("began", "From (UTC)"),
    Column("strip", "Strip", kind="link"),
    Column("priority", "Priority", kind="badge"),
    Column("rhythm", "Rhythm by the edge"),
    Column("beats", "Beats by the edge"),
    Column("reason", "Rank", kind="bar", hint="By alarm priority, then the lowest beat probability"),
    Column("patient", "Patient", kind="link"),
)
EMPTY_TEXT = "No strips to review."
EMPTY_HINT = (
    "A node sends 10 s of signal around an alarm if its setting consent allows it: "
    "EDGELOOP_SETTINGS__CONSENT=strips edgeloop node run --app ecg ..."
)


class ReviewPage:
    """One visit of the queue: the form of the first strip, and the list of those after it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._desk: ReviewDesk | None = None
        self._shown: str | None = None
        """Id of the strip in the form, kept until reviewed or skipped; empty while there is none."""
        self._skipped: set[str] = set()
        self._waiting: list[dict[str, Any]] = []

    async def build(self) -> None:
        """Build the page, and keep it up to date."""
        with self._view.head:
            self._virtual = Badge()
            Text("span", formatting.DISCLAIMER).classes("about")
        with card("Review", "Reviews become training labels.", wide=True) as self._card:
            self._box = ui.element("div").classes("stack")
            with self._box:
                Text("p", "Loading…").classes("hint waiting")
        with card(
            "Queue", "Highest alarm priority first, then lowest beat probability.", wide=True
        ) as listed:
            self._table = Table("Strips to review", QUEUE_COLUMNS, empty_text=EMPTY_TEXT)
            self._table.classes("ecg-names")
        self._listed = listed
        await self._view.live(self._refresh, REFRESH_S)

    async def _refresh(self) -> None:
        page = await self._view.api.get(f"{API}/review", limit=QUEUE)
        self._waiting = page["items"]
        self._table.show([queue_row(strip) for strip in self._waiting])
        self._listed.set_visibility(bool(self._waiting))
        if not self._shown:
            await self._show_next()

    async def _show_next(self) -> None:
        """Show the first strip that was not skipped; after the last one, start over."""
        left = [strip for strip in self._waiting if strip["id"] not in self._skipped]
        if not left:
            self._skipped.clear()
            left = self._waiting
        if not left:
            if self._shown is None or self._desk is not None:
                self._clear()
                with self._box:
                    empty(EMPTY_TEXT, EMPTY_HINT, icon="task_alt")
            return
        strip, patient = await read_strip(self._view, left[0]["id"])
        self._virtual.show("virtual" if patient["virtual"] else "", "info")
        try:
            if self._desk is None:
                self._clear()
                with self._box:
                    self._desk = ReviewDesk(self._view, strip, self._stored, self._skip)
            else:
                self._desk.show(strip)
            self._shown = strip["id"]
        except ValueError as error:
            self._clear()
            self._skipped.add(strip["id"])
            with self._box:
                empty("This strip cannot be drawn.", str(error), icon="broken_image")

    def _clear(self) -> None:
        self._box.clear()
        self._desk, self._shown = None, ""

    async def _stored(self) -> None:
        self._shown = ""
        with suppress(ApiError):  # the next refresh shows the error
            await self._refresh()

    async def _skip(self) -> None:
        self._skipped.add(self._shown or "")
        with suppress(ApiError):
            await self._show_next()


class StripPage:
    """One visit of a strip's page: the strip with its review form."""

    def __init__(self, view: View, strip: str) -> None:
        self._view = view
        self._id = strip

    async def build(self) -> None:
        """Build the page."""
        with self._view.head:
            Text("span", formatting.DISCLAIMER).classes("about")
        try:
            strip, patient = await read_strip(self._view, self._id)
        except ApiError as error:
            known = "A patient's page lists the strips of a day."
            empty(str(error), known if error.status == 404 else "Try again in a moment.")
            return
        self._view.name(f"{formatting.alarm(strip['alarm'])}, {formatting.clock(strip['began_ns'])} UTC")
        with self._view.head:
            if patient["virtual"]:
                Badge("virtual", "info")
            with ui.element("nav").classes("crumbs").props('aria-label="Breadcrumb"'):
                Text("a", "All patients").props("href=/ui/apps/ecg")
                Text("span", " · ")
                day = formatting.stamp(strip["began_ns"])[:10]
                Text("a", strip["patient"]).props["href"] = patient_href(strip["patient"], day)
                Text("span", " · ")
                Text("a", "Review queue").props("href=/ui/apps/ecg/review")
        with card("Strip", "Reviews become training labels.", wide=True):
            try:
                self._desk = ReviewDesk(self._view, strip, self._reload)
            except ValueError as error:
                empty("This strip cannot be drawn.", str(error), icon="broken_image")

    async def _reload(self) -> None:
        with suppress(ApiError):
            strip, _ = await read_strip(self._view, self._id)
            self._desk.show(strip)


async def read_strip(view: View, strip: str) -> tuple[Json, Json]:
    """A strip with its samples, and its patient. Raises `ApiError`."""
    found = await view.api.get(f"{API}/strips/{quote(strip, safe='')}")
    return found, await view.api.get(f"{API}/patients/{quote(found['patient'], safe='')}")


def queue_row(strip: Json) -> dict[str, Any]:
    """A strip as a row of a table."""
    state, tone = verdict(strip)
    return {
        "id": strip["id"],
        "began": formatting.marked(
            formatting.stamp(strip["began_ns"]).removesuffix(" UTC"), strip["time_quality"]
        ),
        "strip": formatting.alarm(strip["alarm"]),
        "strip_href": strip_href(strip["id"]),
        "priority": strip["priority"],
        "priority_tone": formatting.PRIORITY_TONES.get(strip["priority"], ""),
        "rhythm": formatting.rhythm(strip["rhythm"]),
        "beats": beat_counts(strip),
        "reason": strip["reason"] / 3,
        "reason_text": f"{strip['reason']:.2f}",
        "patient": strip["patient"],
        "patient_href": patient_href(strip["patient"], formatting.stamp(strip["began_ns"])[:10]),
        "verdict": state,
        "verdict_tone": tone,
    }

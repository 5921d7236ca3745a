"""Page of a patient's day: trend, burdens, alarms, strips, episodes, intervals and signal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.ecg.cloud import formatting
from apps.ecg.pages import charts, day_rows
from apps.ecg.pages.review_desk import API, patient_href
from apps.ecg.pages.reviews import queue_row
from common.pages import ApiError, Badge, Chart, Column, Table, Text, Tile, View, action, card, empty

DAYS = 60
STRIPS = 50
REFRESH_S = 5.0
TODAY = ""
"""Choice of the newest day."""
_DAY_NS = 86_400 * 10**9
_FINE_S, _COARSE_S, _FINE_SPAN_S = 10, 60, 3 * 3600.0
TILES = ("Heart rate", "Rhythm", "AF burden", "Ectopic beats", "Open alarms", "Signal")
Json = Mapping[str, Any]


class DayPage:
    """One visit of a patient's page; ``day`` (``2026-11-24``) is the day shown, None for the newest."""

    def __init__(self, view: View, patient: str, day: str | None = None) -> None:
        self._view = view
        self._patient = patient
        self._path = f"{API}/patients/{quote(patient, safe='')}"
        self._chosen = day or TODAY
        self._state: Json = {}

    async def build(self) -> None:
        """Build the page, and keep it up to date."""
        self._view.name(self._patient)
        with self._view.head:
            Text("span", formatting.DISCLAIMER).classes("about")
        try:
            self._state, days = await asyncio.gather(
                self._view.api.get(self._path), self._view.api.get(f"{self._path}/days", limit=DAYS)
            )
            await self._view.api.get(f"{self._path}/days/{self._day}")
        except ApiError as error:
            if error.status == 404:
                empty(str(error), "The page Patients lists all known patients.")
            else:
                empty(str(error), "Choose a day on the patient's page, or try again in a moment.")
            return
        self._draw_head([each["day"] for each in days["items"]])
        with ui.element("div").classes("tiles"):
            self._tiles = {name: Tile(name) for name in TILES}
        with card(
            "Heart rate and rhythm",
            "Mean and range, over the rhythms detected at the edge. Grey: bad signal, findings withheld.",
            wide=True,
        ):
            self._trend = Chart(f"Heart rate of {self._patient}", {"series": []}, height_px=320)
        with ui.element("div").classes("grid"):
            with card(
                "Burden by hour",
                "Atrial fibrillation as a share of the good signal, ectopic beats as a share of all beats.",
            ):
                self._af = Chart("Atrial fibrillation by hour", {"series": []}, height_px=150)
                self._ectopic = Chart("Ectopic beats by hour", {"series": []}, height_px=180)
            with card("Heart rate variability", "Over 5 minutes of normal beats (Task Force 1996)."):
                self._hrv = Chart("SDNN and RMSSD over the day", {"series": []}, height_px=280)
                self._hrv_summary = Text("p", "").classes("hint")
        with card("Alarms", wide=True):
            self._alarms = _table("Alarms", day_rows.ALARM_COLUMNS, "No alarm was raised on this day.")
        with card("Strips", "10 s of signal around alarms, sent with the patient's consent.", wide=True):
            self._strips = _table(
                "Strips",
                day_rows.STRIP_COLUMNS,
                "No strip was sent on this day.",
                "A node sends one at each alarm if its setting consent is strips or learning.",
            )
        with card("Rhythm", "Episodes that overlap the day.", wide=True):
            self._episodes = _table("Episodes of rhythm", day_rows.EPISODE_COLUMNS, "No episode on this day.")
        with ui.element("div").classes("grid"):
            with card("Intervals", "Hourly means of averaged beats."):
                self._intervals = _table(
                    "Intervals by hour",
                    day_rows.INTERVAL_COLUMNS,
                    "No interval was measured.",
                    "Intervals need a minute of good signal with enough normal beats.",
                )
            with card("Signal", "Quality per lead, and findings."):
                self._signal = _table(
                    "Quality changes and findings",
                    day_rows.SIGNAL_COLUMNS,
                    "No quality change and no finding.",
                )
        await self._view.live(self._refresh, REFRESH_S)

    def _draw_head(self, days: list[str]) -> None:
        with self._view.head:
            if self._state["virtual"]:
                Badge("virtual", "info")
            with ui.element("nav").classes("crumbs").props('aria-label="Breadcrumb"'):
                Text("a", "All patients").props("href=/ui/apps/ecg")
                Text("span", " · node ")
                node = self._state["node"]
                Text("a", node).props["href"] = f"/ui/nodes/{quote(node, safe='')}"
                Text("span", f" · site {self._state['site']}")
        names = (
            {TODAY: "Newest day"} | {day: day for day in days} | {self._chosen: self._chosen or "Newest day"}
        )
        with ui.element("div").classes("row-of"):
            ui.select(names, value=self._chosen, label="Day (UTC)", on_change=self._choose).props(
                "outlined dense"
            )
            self._report = (
                ui.element("a").classes("action").style("text-decoration: none").props("target=_blank")
            )
            with self._report:
                Text("span", "Report (PDF)")
            action("Review queue", self._to_review)

    @property
    def _day(self) -> str:
        return self._chosen or self._state["day"]

    async def _to_review(self) -> None:
        ui.run_javascript("location.assign('/ui/apps/ecg/review')")

    async def _choose(self, event: Any) -> None:
        self._chosen = event.value
        href = patient_href(self._patient, self._chosen)
        ui.run_javascript(f"history.replaceState(history.state, '', '{href}')")
        with suppress(ApiError):  # the next refresh shows the error
            await self._refresh()

    async def _refresh(self) -> None:
        self._state = await self._view.api.get(self._path)
        chosen = self._day
        day = await self._view.api.get(f"{self._path}/days/{chosen}")
        began_ns = day["totals"]["began_ns"]
        bucket_s = bucket_of(day["hours"])
        span = {"since_ns": began_ns, "until_ns": began_ns + _DAY_NS}
        trend, strips = await asyncio.gather(
            self._view.api.get(f"{self._path}/trend", **span, bucket_s=bucket_s),
            self._view.api.get(f"{self._path}/strips", **span, limit=STRIPS),
        )
        if chosen != self._day:
            return  # another day was chosen in the meantime
        self._report.props["href"] = f"{self._path}/days/{chosen}/report.pdf"
        self._report.update()
        for name, shown in day_rows.tiles(self._state, day).items():
            self._tiles[name].show(*shown)
        self._trend.show(charts.trend(trend["points"], bucket_s, day["episodes"], day["alarms"]))
        self._af.show(charts.fibrillation(day["hours"]))
        self._ectopic.show(charts.ectopy(day["hours"]))
        self._hrv.show(charts.variability(day["hrv"]))
        self._hrv_summary.text = day_rows.hrv_summary(day["hrv"])
        self._alarms.show([day_rows.alarm_row(alarm, strips["items"]) for alarm in reversed(day["alarms"])])
        self._strips.show([queue_row(strip) for strip in strips["items"]])
        self._episodes.show([day_rows.episode_row(each) for each in reversed(day["episodes"])])
        self._intervals.show([day_rows.interval_row(each) for each in day["intervals"]])
        self._signal.show(day_rows.signal_rows(day["quality"], day["findings"]))


def bucket_of(hours: list[Json]) -> int:
    """Bucket of the trend in seconds: fine for days with few hours of data."""
    return _FINE_S if len(hours) * 3600.0 <= _FINE_SPAN_S else _COARSE_S


def _table(caption: str, columns: tuple[Column, ...], empty_text: str, empty_hint: str = "") -> Table:
    return Table(caption, columns, empty_text=empty_text, empty_hint=empty_hint)

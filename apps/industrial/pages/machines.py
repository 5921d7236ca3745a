"""The industrial app's pages: machines by horizon, and each machine with its runs and work orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.industrial.domain import RUL_CAP_CYCLES
from apps.industrial.pages import charts
from apps.industrial.pages.machine import MachinePage
from apps.industrial.pages.machine_text import life_of, machine_href
from apps.industrial.pages.work_order_form import label_form
from common.pages import Chart, Column, Pager, Site, Table, Tile, View, VirtualNodes, card
from common.time_notes import time_note

API = "/v1/apps/industrial"
PAGE_MACHINES = 25
REFRESH_S = 2.0
COLUMNS = (
    Column("machine", "Machine", kind="link"),
    Column("virtual", "Source", kind="badge", hint="Whether the readings are simulated"),
    Column("node", "Node", kind="link"),
    Column("site", "Site"),
    Column(
        "left",
        "Remaining cycles",
        kind="bar",
        hint=f"Bar: the lower bound, of {RUL_CAP_CYCLES:g} cycles; red under the horizon",
    ),
    Column("sensors", "Sensors", kind="badge", hint="Sensors with a fault: their values are not used"),
    Column("novelty", "Novelty", kind="number", hint="Above 1: unlike what the model knows"),
    Column("alarm", "Alarm", kind="badge", hint="With the sensors behind it, strongest first"),
    Column("version", "Model", kind="code"),
    Column("cycle", "Run, cycle", kind="number"),
    Column("time", "Last cycle", kind="ago"),
)


def add_pages(site: Site) -> None:
    """Add the app's pages and its label form."""

    @site.page("", "Machines", icon="precision_manufacturing")
    async def machines(view: View) -> None:
        await show_machines(view)

    @site.page("machines/{machine:path}", "Machine")
    async def one_machine(view: View, machine: str, run: int | None = None) -> None:
        await MachinePage(view, machine, run).build()

    site.label_form(label_form)
    site.subject_page(machine_href)


async def show_machines(view: View) -> None:
    """Build the front page."""
    nodes = VirtualNodes(view.api)

    with ui.element("div").classes("tiles"):
        count, due, lowest, unknown, novel, faulty = (
            Tile(n)
            for n in ("Machines", "Due now", "Lowest remaining life", "Not known", "Novel", "Sensor faults")
        )
    with card(
        "Remaining life",
        "The machines with the least certain life first; those of unknown life are not drawn.",
        wide=True,
    ) as drawn:
        chart = Chart("Remaining cycles of each machine against its horizon", {"series": []})
    with card("Machines by horizon", "Unknown remaining life first, then by its lower bound.", wide=True):
        table = Table(
            "Machines by horizon",
            COLUMNS,
            empty_text="No machine has reported yet.",
            empty_hint="Enrol a node (edgeloop fleet enrol NAME --site SITE --out NAME.json), then run it: "
            "edgeloop node run --app industrial --source ... --enrolment NAME.json",
        )
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        summary, page = await asyncio.gather(
            view.api.get(f"{API}/summary"),
            view.api.get(f"{API}/machines", limit=PAGE_MACHINES, cursor=pager.cursor),
        )
        items = page["items"]
        pager.show(page)
        virtual = await nodes.among([machine["node"] for machine in items])
        count.show(f"{summary['machines']:,}", "that have reported")
        alarms, unlike = summary["due"], summary["novel"]
        due.show(
            str(alarms), "with an open maintenance alarm" if alarms else "no alarm", "bad" if alarms else ""
        )
        novel.show(str(unlike), "unlike what the model knows", "warn" if unlike else "")
        unknown.show(str(summary["unknown"]), "remaining life withheld", "warn" if summary["unknown"] else "")
        faulty.show(
            str(summary["faulty"]), "machines with a faulty sensor", "warn" if summary["faulty"] else ""
        )
        first = summary["lowest_rul"]
        if first is not None:
            tone = "bad" if first["due"] else ""
            lowest.show(f"{first['lower_cycles']:.0f} cycles", f"lower bound, {first['machine']}", tone)
        known = sum(machine["rul_cycles"] is not None for machine in items)
        drawn.set_visibility(known > 0)
        chart.element.style(f"height: {90 + 24 * min(known, charts.CHART_MACHINES)}px")
        chart.show(charts.intervals(items))
        table.show([machine_row(machine, virtual) for machine in items])

    await view.live(refresh, REFRESH_S)


def machine_row(machine: Mapping[str, Any], virtual: set[str]) -> dict[str, Any]:
    """A machine as a row of the table."""
    lower, horizon = machine["lower_cycles"], machine["horizon_cycles"]
    novelty = machine["novelty"]
    return {
        "id": machine["machine"],
        "machine": machine["machine"],
        "machine_href": machine_href(machine["machine"]),
        "virtual": "virtual" if machine["node"] in virtual else "",
        "virtual_tone": "info",
        "node": machine["node"],
        "node_href": f"/ui/nodes/{quote(machine['node'], safe='')}",
        "site": machine["site"],
        "left": 0.0 if lower is None else lower / RUL_CAP_CYCLES,
        "left_text": life_of(machine),
        "left_tone": "bad" if lower is not None and lower < horizon else "",
        "sensors": ", ".join(sorted(machine["sensor_faults"])),
        "sensors_tone": "warn",
        "novelty": f"{novelty:.2f}" + (" novel" if novelty > 1 else ""),
        "alarm": ": ".join(filter(None, ("due", ", ".join(machine["explanation"]))))
        if machine["due"]
        else "",
        "alarm_tone": "bad",
        "version": machine["version"],
        "cycle": f"{machine['run']}, {machine['cycle']}",
        "time": machine["time_ns"],
        "time_note": time_note(machine["time_quality"]),
    }

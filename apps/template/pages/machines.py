"""The template app's page: machines with their risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from apps.template.pages.label_form import label_form
from common.pages import Column, Pager, Site, Table, View, VirtualNodes, card
from common.time_notes import time_note

PAGE_MACHINES = 25
COLUMNS = (
    Column("machine", "Machine"),
    Column("virtual", "Source", kind="badge", hint="Whether the readings are simulated"),
    Column("node", "Node", kind="link"),
    Column("risk", "Risk", kind="bar", hint="Probability of a fault"),
    Column("novelty", "Novelty", kind="number", hint="Above 1: unlike what the model knows"),
    Column("alarm", "Alarm", kind="badge"),
    Column("version", "Model", kind="code"),
    Column("time", "Last reading", kind="ago"),
)


def add_pages(site: Site) -> None:
    """Add the page and the label form."""

    @site.page("", "Machines", icon="settings")
    async def machines(view: View) -> None:
        await show_machines(view)

    site.label_form(label_form)


async def show_machines(view: View) -> None:
    """Build the page."""
    nodes = VirtualNodes(view.api)
    with card("Machines", "By name.", wide=True):
        table = Table(
            "Machines",
            COLUMNS,
            empty_text="No machine has reported yet.",
            empty_hint="Enrol a node (edgeloop fleet enrol NAME --site SITE --out NAME.json), then run it: "
            "edgeloop node run --app template --source virtual:machine --enrolment NAME.json",
        )
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        page = await view.api.get("/v1/apps/template/machines", limit=PAGE_MACHINES, cursor=pager.cursor)
        pager.show(page)
        virtual = await nodes.among([row["node"] for row in page["items"]])
        table.show([machine_row(row, row["node"] in virtual) for row in page["items"]])

    await view.live(refresh)


def machine_row(machine: Mapping[str, Any], virtual: bool) -> dict[str, Any]:
    """A machine as a row of the table."""
    return {
        "id": machine["machine"],
        "machine": machine["machine"],
        "virtual": "virtual" if virtual else "",
        "virtual_tone": "info",
        "node": machine["node"],
        "node_href": f"/ui/nodes/{quote(machine['node'], safe='')}",
        "risk": machine["risk"],
        "risk_text": f"{machine['risk']:.0%}",
        "risk_tone": "bad" if machine["alarm"] else "",
        "novelty": f"{machine['novelty']:.2f}",
        "alarm": "alarm" if machine["alarm"] else "",
        "alarm_tone": "bad",
        "version": machine["version"],
        "time": machine["time_ns"],
        "time_note": time_note(machine["time_quality"]),
    }

"""The form that labels a window of readings on the page *Learning*."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from apps.template.domain import CHANNELS, CONDITION
from common.pages import ApiError, Chart, Text, View, action
from common.pages.site import Refresh


async def label_form(view: View, sample: dict[str, Any], stored: Refresh) -> None:
    """Show the readings of one sample, and take whether the machine was faulty."""
    try:
        rows = (await view.api.get(f"/v1/samples/{sample['id']}/content"))["arrays"]["values"]
    except (ApiError, KeyError) as error:
        Text("p", f"This sample cannot be shown: {error}").classes("hint")
        return
    Chart(f"Readings of {sample['group']}", chart(rows), height_px=200)
    faulty = ui.select({False: "Sound", True: "Faulty"}, value=False, label="Condition")
    faulty.props("outlined dense")

    async def save() -> None:
        label = {
            "subject": sample["subject"],
            "group": sample["group"],
            "kind": CONDITION,
            "body": {"faulty": faulty.value},
        }
        if await view.act(view.api.post("/v1/apps/template/labels", label), "Labelled."):
            await stored()

    action("Save the label", save, tone="main", icon="check")


def chart(rows: list[list[float]]) -> dict[str, Any]:
    """Readings ``(readings, channels)`` as options of a chart, one line a channel."""
    return {
        "xAxis": {"type": "category", "name": "reading"},
        "yAxis": {"type": "value"},
        "series": [
            {"type": "line", "name": CHANNELS.title(name), "data": [row[column] for row in rows]}
            for column, name in enumerate(CHANNELS)
        ],
    }

"""The sensors of a run as small charts, where its node has uploaded it; where not, that they stayed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from apps.industrial.domain import USED_CHANNELS
from apps.industrial.pages import charts
from common.pages import ApiError, Chart, Text, View, empty

SMALL_CHART_PX = 110
_SMALL_CHARTS = (
    "display: grid; gap: 12px 16px; grid-template-columns: repeat(auto-fill, minmax(min(210px, 44%), 1fr))"
)


class RunSensors:
    """Sensor values of one run of ``machine``; drawn again only after a change."""

    def __init__(self, view: View, machine: str) -> None:
        self._view = view
        self._machine = machine
        self._drawn: tuple[int, str] | None = None
        """The run that is drawn, and its sample."""
        self._box = ui.element("div").classes("stack")

    async def show(self, run: int, goes_on: bool) -> None:
        """Draw the sensors of ``run``; ``goes_on`` where it has not ended. Raises `ApiError`."""
        if self._drawn is not None and self._drawn[0] == run and self._drawn[1]:
            return
        group = f"{self._machine}/run-{run}"
        found = await self._view.api.get("/v1/samples", app="industrial", group=group, limit=1)
        sample = next(iter(found["items"]), None)
        drawn = (run, sample["id"] if sample else "")
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self._box.clear()
        with self._box:
            if sample is not None:
                await self._draw(sample)
            elif goes_on:
                empty(
                    "The sensor values of this run are on the node.",
                    "The run continues. After its end the node uploads it if it is useful for training.",
                    icon="lock",
                )
            else:
                empty(
                    "The sensor values of this run stayed on the node.",
                    "The privacy policy: a run is uploaded only where it may be worth learning from.",
                    icon="lock",
                )

    async def _draw(self, sample: Mapping[str, Any]) -> None:
        drawn = self._drawn
        problem = "they are not those of a turbofan's sensors"
        run = None
        try:
            content = await self._view.api.get(f"/v1/samples/{sample['id']}/content")
            run = charts.SensorRun.of(sample, content)
        except ApiError as error:
            problem = str(error)
        if drawn != self._drawn:
            return  # another run was chosen meanwhile
        if run is None:
            Text("p", f"The sensor values of this run cannot be drawn: {problem}").classes("hint")
            return
        reasons = ", ".join(f"{name} {score:.2f}" for name, score in sample["reasons"].items())
        size = f"{sample['size'] / 1000:.1f} kB"
        Text("p", f"Uploaded as a sample, {size}, because of: {reasons}.").classes("hint")
        with ui.element("div").style(_SMALL_CHARTS):
            for name in USED_CHANNELS:
                with ui.element("div"):
                    Text("h3", charts.titled(name))
                    about = f"{name} over the cycles of the run"
                    Chart(about, charts.sensor(run, name), height_px=SMALL_CHART_PX)

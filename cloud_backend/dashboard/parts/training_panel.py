"""The training part of *Learning*: start a job, follow the newest, list the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.layout.per_app import MoreButton
from cloud_backend.dashboard.pages.jobs import (
    JOB_COLUMNS,
    JOB_STATE_TEXTS,
    JOB_TONES,
    OPEN,
    JobPanel,
    cancel,
    job_row,
)
from cloud_backend.dashboard.parts import formatting
from common.pages import Table, Text, View, action
from common.pages.blocks import Tone

LARGEST_SEED = 2**31 - 1


class Training:
    """The form, the newest job, and the list of jobs of one app."""

    def __init__(self, view: View, app: str) -> None:
        self._view = view
        self._app = app
        self._place = f"/v1/apps/{quote(app, safe='')}/jobs"
        self._jobs: Sequence[Mapping[str, Any]] = []
        with ui.element("div").classes("row-of"):
            self._seed = ui.number("Seed", value=0, min=0, max=LARGEST_SEED, precision=0)
            self._parameters = ui.input("Parameters as JSON (empty: defaults)")
            for field in (self._seed, self._parameters):
                field.props("outlined dense")
            self._parameters.style("flex: 1 1 260px")
            action("Start training", self._start, icon="model_training", tone="main")
        self._wrong = Text("p", "").props("role=alert").classes("field-error")
        self._wrong.set_visibility(False)
        with ui.element("div").classes("stack") as self._newest:
            self._head = Text("h3", "")
            self._panel = JobPanel(view, named=True)
        self._newest.set_visibility(False)
        Text("h3", "Jobs")
        self._table = Table(
            "Training jobs",
            JOB_COLUMNS,
            empty_text="No training jobs yet.",
            empty_hint="Label some samples above, then start a training job.",
        )
        self._table.on_action(self._cancel)
        self._older = MoreButton(self.refresh)

    async def refresh(self) -> None:
        """Update the jobs."""
        page = await self._view.api.get(self._place, limit=self._older.shown)
        self._jobs = page["items"]
        self._table.show([job_row(job) for job in self._jobs])
        self._older.show(page)
        current = current_job(self._jobs)
        self._newest.set_visibility(current is not None)
        if current is not None:
            self._head.text = "Running job" if current["state"] == "running" else "Newest job"
            await self._panel.refresh(self._app, current["id"])

    def running_tile(self) -> tuple[str, str, Tone]:
        """Whether a job is running."""
        running = [job for job in self._jobs if job["state"] == "running"]
        queued = sum(job["state"] == "queued" for job in self._jobs)
        note = f"{formatting.plural(queued, 'job')} waiting" if queued else ""
        if not running:
            return ("none" if not queued else "queued"), note, ""
        return f"{100 * running[0]['progress']:.0f} %", note or running[0]["message"], ""

    def newest_tile(self) -> tuple[str, str, Tone]:
        """Result of the newest finished job."""
        ended = next((job for job in self._jobs if job["state"] not in OPEN), None)
        if ended is None:
            return formatting.NONE, "no training jobs yet", ""
        state = ended["state"]
        return JOB_STATE_TEXTS.get(state, state), ended["version"], JOB_TONES.get(state, "")

    async def _start(self) -> None:
        try:
            body = job_body(self._seed.value, self._parameters.value)
        except ValueError as error:
            self._wrong.text = str(error)
            self._wrong.set_visibility(True)
            return
        self._wrong.set_visibility(False)
        if await self._view.act(self._view.api.post(self._place, body), "The job is queued."):
            await self.refresh()

    async def _cancel(self, id: str, _column: str) -> None:
        await cancel(self._view, self._app, id)


def current_job(jobs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The job to show in full: the running one, else the newest."""
    return next((job for job in jobs if job["state"] == "running"), jobs[0] if jobs else None)


def job_body(seed: Any, parameters: Any) -> dict[str, Any]:
    """The request that starts a job. Raises ``ValueError`` naming the invalid field."""
    number = 0 if seed is None or seed == "" else int(seed)
    if not 0 <= number <= LARGEST_SEED:
        raise ValueError(f"The seed is a whole number from 0 to {LARGEST_SEED}.")
    text = str(parameters or "").strip()
    if not text:
        return {"seed": number}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f'The parameters are not JSON, such as {{"trees": 200}}: {error}') from None
    if not isinstance(values, dict):
        raise ValueError('The parameters are a JSON object, such as {"trees": 200}.')
    return {"seed": number, "parameters": values}

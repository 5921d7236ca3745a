"""Training jobs: progress, tail of the log, report of the gate; and the page of one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.pages.model import breadcrumbs
from cloud_backend.dashboard.parts import comparison, formatting
from cloud_backend.dashboard.parts.dialogs import confirm
from cloud_backend.dashboard.parts.lineage import job_path, version_path
from common.pages import ApiError, Badge, Column, Details, Site, Table, Text, View, action, card, empty
from common.pages.blocks import Tone

LOG_BYTES = 32 * 1024
LOG_LINES = 400
OPEN = ("queued", "running")
"""States of an unfinished job."""
JOB_TONES: Mapping[str, Tone] = {
    "queued": "",
    "running": "info",
    "done": "good",
    "refused": "bad",
    "failed": "bad",
    "cancelled": "warn",
}
JOB_STATE_TEXTS: Mapping[str, str] = {"done": "approved", "refused": "refused by the gate"}
GATE_COLUMNS = (
    Column("name", "Figure or slice"),
    Column("own", "Candidate", kind="number"),
    Column("other", "Production", kind="number"),
    Column("change", "The candidate is", kind="badge"),
    Column("verdict", "Gate", kind="badge"),
    Column("note", "Note"),
)
JOB_COLUMNS = (
    Column("job", "Job", kind="link"),
    Column("state", "State", kind="badge"),
    Column("progress", "Progress", kind="bar"),
    Column("message", "Message"),
    Column("version", "Candidate", kind="link"),
    Column("seed", "Seed", kind="number"),
    Column("began", "Submitted", kind="ago"),
    Column("took", "Duration", kind="number"),
    Column("cancel", "", kind="action"),
)


def add_pages(site: Site) -> None:
    """Add the page of one job."""

    @site.page("learning/{app}/jobs/{id}", "Training job")
    async def show(view: View, app: str, id: str) -> None:
        view.name(id)
        try:
            await view.api.get(job_api(app, id))
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            empty(f"{app} has no job {id}.", "The page Learning lists the jobs.", "search_off")
            return
        breadcrumbs(("Learning", f"/ui/learning/{quote(app, safe='')}"))
        with card("Training job", wide=True):
            panel = JobPanel(view, named=False)

        async def refresh() -> None:
            await panel.refresh(app, id)

        await view.live(refresh)


def job_api(app: str, id: str) -> str:
    """The job in the API."""
    return f"/v1/apps/{quote(app, safe='')}/jobs/{quote(id, safe='')}"


async def cancel(view: View, app: str, id: str) -> None:
    """Cancel a job after a confirmation."""

    async def send() -> bool:
        return await view.act(view.api.post(f"{job_api(app, id)}/cancel"), f"{id} is being cancelled.")

    await confirm(f"Cancel {id}?", "Its progress is lost.", "Cancel the job", send)


class JobPanel:
    """One job, live. ``named`` adds a link to its page."""

    def __init__(self, view: View, *, named: bool) -> None:
        self._view = view
        self._named = named
        self._job = ("", "")
        self._linked = ("", False)
        self._log_of = ("", "")
        with ui.element("div").classes("stack") as self._box:
            with ui.element("div").classes("row-of"):
                self._state = Badge()
                self._text = Text("span", "")
                self._cancel = action("Cancel", self._ask_cancel, icon="stop", tone="bad")
            with ui.element("div").classes("progress") as self._track:
                self._bar = ui.element("div")
            self._track.props("role=progressbar aria-valuemin=0 aria-valuemax=100")
            self._track.props["aria-label"] = "Progress of the job"
            self._share = -1
            self._links = ui.element("div").classes("row-of")
            self._details = Details({})
            self._gate_head = Text("h3", "Report of the gate")
            self._gate = Table("Candidate compared with production", GATE_COLUMNS)
            with ui.element("details") as self._more:
                Text("summary", "All figures of both versions")
                columns = (GATE_COLUMNS[0], *GATE_COLUMNS[1:4])
                self._figures = Table("All figures", columns, empty_text="No figures.")
            Text("h3", "Log")
            with (
                ui.element("div").classes("log-box").props('tabindex=0 role=log aria-label="End of the log"')
            ):
                self._log = Text("pre", "").classes("log")

    async def refresh(self, app: str, id: str) -> None:
        """Show the job ``id``; its log is read only while it can grow."""
        job = await self._view.api.get(job_api(app, id))
        self._show(job)
        seen = (id, job["state"])
        if job["state"] in OPEN or seen != self._log_of:
            text = await self._view.api.text(f"{job_api(app, id)}/log", last_bytes=LOG_BYTES)
            self._log.text = log_tail(text)
            self._log_of = seen

    def _show(self, job: Mapping[str, Any]) -> None:
        self._job = (job["app"], job["id"])
        linked = (job["id"], bool(job["gate"]))
        if linked != self._linked:
            self._linked = linked
            self._links.clear()
            with self._links:
                for name, href in links_of(job, named=self._named):
                    Text("a", name).props["href"] = href
        self._state.show(JOB_STATE_TEXTS.get(job["state"], job["state"]), JOB_TONES.get(job["state"], ""))
        self._text.text = message(job)
        self._cancel.set_visibility(job["state"] in OPEN)
        share = round(100 * min(1.0, max(0.0, job["progress"])))
        if share != self._share:
            self._share = share
            self._bar.style(f"width: {share}%")
            self._track.props["aria-valuenow"] = share
            self._track.update()
        self._details.show(details_of(job))
        gauge = comparison.gauge_of([job])
        gate = job["gate"]
        for part in (self._gate_head, self._gate, self._more):
            part.set_visibility(bool(gate))
        if gate:
            self._gate.show(comparison.gate_rows(gate, gauge))
            own, other = gate.get("figures", {}), gate.get("production_figures", {})
            directions = {name: gauge.direction(name) for name in [*own, *other]}
            self._figures.show(comparison.rows(own, other, directions))

    async def _ask_cancel(self) -> None:
        await cancel(self._view, *self._job)


def details_of(job: Mapping[str, Any]) -> dict[str, str]:
    """Request and training data of a job."""
    gate = job["gate"]
    held_out, training = (formatting.number(gate, name) for name in ("held_out_samples", "training_samples"))
    later = "known after the gate" if job["state"] in OPEN else formatting.NONE
    parameters = ", ".join(f"{name} {value}" for name, value in job["parameters"].items())
    return {
        "Candidate": job["version"] or formatting.NONE,
        "From": job["parent"] or ("known when it starts" if job["state"] == "queued" else "no parent"),
        "Seed": str(job["seed"]),
        "Parameters": parameters or "defaults of the app",
        "Trained on": later if training is None else formatting.plural(training, "sample"),
        "Evaluated on": later if held_out is None else f"{formatting.plural(held_out, 'sample')} held out",
        "Basis of the verdict": gate.get("basis") or (later if not gate else formatting.NONE),
        "Duration": duration(job),
    }


def links_of(job: Mapping[str, Any], *, named: bool) -> list[tuple[str, str]]:
    """Links to a job's page, and to its candidate once the registry has it."""
    links = [(job["id"], job_path(job["app"], job["id"]))] if named else []
    if job["gate"]:
        links.append((f"Candidate {job['version']}", version_path(job["app"], job["version"])))
    return links


def job_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the list of jobs."""
    known = bool(job["gate"])
    return {
        "id": job["id"],
        "job": job["id"],
        "job_href": job_path(job["app"], job["id"]),
        "state": JOB_STATE_TEXTS.get(job["state"], job["state"]),
        "state_tone": JOB_TONES.get(job["state"], ""),
        "progress": job["progress"],
        "progress_text": f"{100 * job['progress']:.0f} %",
        "message": message(job) or verdict(job["gate"]),
        "version": job["version"],
        "version_href": version_path(job["app"], job["version"]) if known else "",
        "seed": str(job["seed"]),
        "began": job["created_ns"],
        "took": duration(job),
        "cancel": "Cancel" if job["state"] in OPEN else "",
        "about": f"job {job['id']}",
    }


def message(job: Mapping[str, Any]) -> str:
    """The message of a job, unless it repeats the state."""
    return "" if job["message"] in (job["state"], JOB_STATE_TEXTS.get(job["state"])) else job["message"]


def verdict(gate: Mapping[str, Any]) -> str:
    """The gate's main result: ``rul_fleet_rmse better by 76 %``."""
    if not gate:
        return ""
    gauge = comparison.gauge_of([{"gate": gate}])
    text, _ = comparison.change(gate.get("candidate"), gate.get("production"), gauge.higher_is_better)
    return f"{gate.get('figure', '')} {text}".strip()


def duration(job: Mapping[str, Any]) -> str:
    """``30 s``; a dash for an unfinished job."""
    if not job["started_ns"] or not job["ended_ns"]:
        return formatting.NONE
    seconds = (job["ended_ns"] - job["started_ns"]) / 1e9
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def log_tail(text: str) -> str:
    """The last `LOG_LINES` lines, without an incomplete first one."""
    lines = text.splitlines()
    if len(text.encode()) >= LOG_BYTES:
        lines = lines[1:]
    return "\n".join(lines[-LOG_LINES:]) or "(empty)"

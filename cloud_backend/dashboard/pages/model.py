"""The page of one version: details, figures, comparison with another version, lineage, rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import comparison, lineage
from cloud_backend.dashboard.parts.comparison_panel import ComparisonPanel, job_of
from cloud_backend.dashboard.parts.dialogs import DEPLOYABLE_STATES, ask_reason, start_rollout
from cloud_backend.dashboard.parts.manifest import COLUMNS_SHOWN, details_of, origins, tensor_rows
from cloud_backend.dashboard.parts.waves import history_row
from common.pages import (
    ApiError,
    Badge,
    Chart,
    Column,
    Details,
    Site,
    Table,
    Text,
    View,
    action,
    card,
    empty,
)
from common.pages.blocks import Tone

STATE_TONES: Mapping[str, Tone] = {
    "production": "good",
    "approved": "info",
    "candidate": "",
    "refused": "bad",
    "retired": "",
}
ROLLOUTS = 100
SLOWER_S = 3.0
TENSOR_COLUMNS = (
    Column("name", "Name", kind="code"),
    Column("way", "Direction"),
    Column("shape", "Shape"),
    Column("unit", "Unit"),
    Column("content", "Content"),
)
LINEAGE_COLUMNS = (
    Column("version", "Version", kind="link"),
    Column("what", "Input"),
    Column("name", "Name", kind="link"),
    Column("detail", "Digest or detail", kind="code"),
)
ROLLOUT_COLUMNS = (
    Column("rollout", "Rollout", kind="link"),
    Column("state", "State", kind="badge"),
    Column("reason", "Reason"),
    Column("began", "Started", kind="ago"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("models/{app}/{version}", "Model")
    async def show(view: View, app: str, version: str) -> None:
        view.name(version)
        path = f"/v1/apps/{quote(app, safe='')}/models/{quote(version, safe='')}"
        try:
            found = await view.api.get(path)
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            empty(f"{app} has no version {version}.", "The page Models lists the versions.", "search_off")
            return
        await _show_model(view, path, found)


async def approve(view: View, app: str, version: str) -> bool:
    """Approve a version in the person's name, with a reason. Returns whether it was approved."""
    path = f"/v1/apps/{quote(app, safe='')}/models/{quote(version, safe='')}/promote"

    async def send(reason: str) -> bool:
        if not reason:
            ui.notify("An approval by hand needs a reason.", type="negative")
            return False
        body = {"by": view.person, "reason": reason}
        return await view.act(view.api.post(path, body), f"{version} is approved by {view.person}.")

    return await ask_reason(
        f"Approve {version}?",
        "It can be rolled out then, whatever the verdict of the gate. Your name and the reason are recorded.",
        "Approve",
        send,
    )


async def _show_model(view: View, path: str, found: Mapping[str, Any]) -> None:
    app, version, manifest = found["app"], found["version"], found["manifest"]
    about = f"/v1/apps/{quote(app, safe='')}"
    chain, jobs, job = await asyncio.gather(
        view.api.get(f"{path}/lineage"),
        view.api.get(f"{about}/jobs", limit=20),
        job_of(view.api, found),
    )
    judged = [job] if job else []
    gauge = comparison.gauge_of([*judged, *jobs["items"]])
    breadcrumbs(("Models", "/ui/models"), (app, "/ui/models"))
    with view.head:
        badge = Badge()
        with ui.element("div").classes("row-of"):
            out = action(
                "Roll out", lambda: start_rollout(view, app, version), icon="rocket_launch", tone="main"
            )
            promote = action("Approve", lambda: approve(view, app, version), icon="verified")
    verdict = Text("p", "")
    with ui.element("div").classes("row-of"):
        for name, href in origins(found):
            Text("a", name).props["href"] = href
    details = Details({})
    with ui.element("div").classes("grid uneven"):
        with card("Measured", measured_hint(gauge)):
            _show_measured(found, gauge)
        with card("Comparison with another version"):
            panel = ComparisonPanel(view.api, about, found, job, gauge)
        with card("Lineage", lineage.sentence(chain["chain"]), wide=True):
            _show_lineage(app, chain["chain"])
        with card("Rollouts of this version"):
            rollouts = Table(
                "Rollouts of this version",
                ROLLOUT_COLUMNS,
                empty_text="No rollouts of this version.",
                empty_hint="The button above rolls out an approved version.",
            )
        with card("Inputs and outputs", "Tensors of the model on the node."):
            _show_tensors(manifest)

    async def refresh() -> None:
        now, listed = await asyncio.gather(
            view.api.get(path), view.api.get(f"{about}/rollouts", limit=ROLLOUTS)
        )
        own = [row for row in listed["items"] if row["version"] == version]
        badge.show(now["state"], STATE_TONES.get(now["state"], ""))
        verdict.text = state_sentence(now, job, own)
        details.show(details_of(now))
        out.set_visibility(now["state"] in DEPLOYABLE_STATES and bool(now["created_ns"]))
        promote.set_visibility(now["state"] in ("candidate", "refused"))
        rollouts.show([history_row(row) for row in own])

    await view.live(refresh, SLOWER_S)
    await panel.fill()


def breadcrumbs(*pages: tuple[str, str]) -> None:
    """Breadcrumbs between the banner and the page's heading."""
    with ui.element("nav").classes("crumbs row-of").props('aria-label="Breadcrumbs"') as trail:
        for number, (name, href) in enumerate(pages):
            if number:
                Text("span", "›").props("aria-hidden=true")
            Text("a", name).props["href"] = href
    trail.move(target_index=1)


def _show_measured(found: Mapping[str, Any], gauge: comparison.Gauge) -> None:
    names = sorted(found["figures"], key=lambda name: name != gauge.figure)
    Table(
        "Figures",
        (Column("name", "Figure"), Column("value", "Value", kind="number"), Column("note", "", kind="badge")),
        empty_text="No figures.",
    ).show(
        [
            {
                "id": name,
                "name": name,
                "value": comparison.figure(found["figures"][name]),
                "note": "the gate's figure" if name == gauge.figure else "",
                "note_tone": "info",
            }
            for name in names
        ]
    )
    slice_columns = (Column("name", "Slice"), Column("bar", gauge.figure or "Value", kind="bar"))
    Table("Slices", slice_columns, empty_text="No slices.").show(comparison.bars(found["slices"]))


def _show_lineage(app: str, chain: Sequence[Mapping[str, Any]]) -> None:
    drawn = lineage.drawing(chain)
    with (
        ui.element("div").classes("wide-drawing").props('tabindex=0 role=region aria-label="Lineage"') as box
    ):
        box.style("overflow-x: auto; max-width: 100%")
        chart = Chart(lineage.sentence(chain), drawn.options, height_px=drawn.height_px)
        chart.element.style(f"width: {drawn.width_px}px; min-width: {drawn.width_px}px")
    if len(chain) > lineage.DRAWN:
        Text("p", f"The drawing shows the newest {lineage.DRAWN} versions, the text all.").classes("hint")
    with ui.element("details"):
        Text("summary", "Lineage as text, with whole digests")
        Table("Lineage as text", LINEAGE_COLUMNS).show(lineage.text_rows(app, chain))


def _show_tensors(manifest: Mapping[str, Any]) -> None:
    Table("Inputs and outputs", TENSOR_COLUMNS).show(tensor_rows(manifest))
    for tensor in [*manifest.get("inputs", []), *manifest.get("outputs", [])]:
        names = tensor.get("columns", [])
        if len(names) > COLUMNS_SHOWN:
            with ui.element("details"):
                Text("summary", f"All {len(names)} columns of {tensor['name']}")
                Text("p", ", ".join(names)).classes("hint")


def measured_hint(gauge: comparison.Gauge) -> str:
    """Origin of the figures, and the gate's figure with its better direction."""
    if not gauge.figure:
        return "Measured on data that no training job used, when the version was made."
    way = {True: ": higher is better", False: ": lower is better", None: ""}[gauge.higher_is_better]
    return (
        f"Measured on data that no training job used, when the version was made. Gate: {gauge.figure}{way}."
    )


def state_sentence(
    found: Mapping[str, Any], job: Mapping[str, Any] | None, rollouts: Sequence[Mapping[str, Any]]
) -> str:
    """The state of a version, with its reason."""
    by = found["approved_by"]
    state = found["state"]
    if state == "production":
        return "In production: nodes run it unless a rollout assigns another version."
    if state == "approved":
        why = f", {found['approval_reason']}" if found.get("approval_reason") else ""
        return f"Approved by {by or 'an unnamed person'}{why}: it can be rolled out."
    if state == "candidate":
        return "A candidate without approval."
    if state == "retired":
        return "Formerly in production."
    reverted = next((row for row in rollouts if row["state"] == "reverted"), None)
    if reverted is not None:
        return f"Refused after rollout {reverted['id']} was reverted: {reverted['reason']}."
    reasons = (job or {}).get("gate", {}).get("reasons") or []
    return f"Refused by the gate: {'; '.join(map(str, reasons))}." if reasons else "Refused."

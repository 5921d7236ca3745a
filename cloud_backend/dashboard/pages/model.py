"""The page of one version: what it is, how good, where it came from, and against another version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import comparison, lineage
from cloud_backend.dashboard.parts.comparison_panel import Comparison, job_of
from cloud_backend.dashboard.parts.dialogs import CAN_GO_OUT, ask_reason, ask_rollout
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
    Column("way", "Way"),
    Column("shape", "Shape"),
    Column("unit", "Unit"),
    Column("holds", "Holds"),
)
LINEAGE_COLUMNS = (
    Column("version", "Version", kind="link"),
    Column("what", "Made from"),
    Column("name", "Name", kind="link"),
    Column("detail", "Digest or detail", kind="code"),
)
ROLLOUT_COLUMNS = (
    Column("rollout", "Rollout", kind="link"),
    Column("state", "State", kind="badge"),
    Column("reason", "Reason"),
    Column("began", "Begun", kind="ago"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("models/{app}/{version}", "Model")
    async def show(view: View, app: str, version: str) -> None:
        view.name(version)
        place = f"/v1/apps/{quote(app, safe='')}/models/{quote(version, safe='')}"
        try:
            found = await view.api.get(place)
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            empty(f"{app} has no version {version}.", "The page Models lists the versions.", "search_off")
            return
        await _show_model(view, place, found)


async def approve(view: View, app: str, version: str) -> bool:
    """Ask why a version is approved, and approve it in the person's name. Returns whether that was done."""
    place = f"/v1/apps/{quote(app, safe='')}/models/{quote(version, safe='')}/promote"

    async def send(reason: str) -> bool:
        if not reason:
            ui.notify("An approval by hand needs a reason.", type="negative")
            return False
        body = {"by": view.person, "reason": reason}
        return await view.act(view.api.post(place, body), f"{version} is approved by {view.person}.")

    return await ask_reason(
        f"Approve {version}?",
        "It may be rolled out from then on, whatever the gate found. Your name and the reason stay in its "
        "record.",
        "Approve",
        send,
    )


async def _show_model(view: View, place: str, found: Mapping[str, Any]) -> None:
    app, version, manifest = found["app"], found["version"], found["manifest"]
    about = f"/v1/apps/{quote(app, safe='')}"
    chain, jobs, job = await asyncio.gather(
        view.api.get(f"{place}/lineage"),
        view.api.get(f"{about}/jobs", limit=20),
        job_of(view.api, found),
    )
    judged = [job] if job else []
    gauge = comparison.gauge_of([*judged, *jobs["items"]])
    crumbs(("Models", "/ui/models"), (app, "/ui/models"))
    with view.head:
        badge = Badge()
        with ui.element("div").classes("row-of"):
            out = action(
                "Roll out", lambda: ask_rollout(view, app, version), icon="rocket_launch", tone="main"
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
        with card("Against another version"):
            panel = Comparison(view.api, about, found, job, gauge)
        with card("Lineage", lineage.sentence(chain["chain"]), wide=True):
            _show_lineage(app, chain["chain"])
        with card("Rollouts of this version"):
            rollouts = Table(
                "Rollouts of this version",
                ROLLOUT_COLUMNS,
                nothing="It was never rolled out.",
                what_to_do="An approved version can be rolled out with the button above.",
            )
        with card("Inputs and outputs", "What the model takes and gives on the node."):
            _show_tensors(manifest)

    async def refresh() -> None:
        now, listed = await asyncio.gather(
            view.api.get(place), view.api.get(f"{about}/rollouts", limit=ROLLOUTS)
        )
        own = [row for row in listed["items"] if row["version"] == version]
        badge.show(now["state"], STATE_TONES.get(now["state"], ""))
        verdict.text = state_sentence(now, job, own)
        details.show(details_of(now))
        out.set_visibility(now["state"] in CAN_GO_OUT and bool(now["created_ns"]))
        promote.set_visibility(now["state"] in ("candidate", "refused"))
        rollouts.show([history_row(row) for row in own])

    await view.live(refresh, SLOWER_S)
    await panel.fill()


def crumbs(*places: tuple[str, str]) -> None:
    """The way to this page, above its heading."""
    with ui.element("nav").classes("crumbs row-of").props('aria-label="Way to this page"') as way:
        for number, (name, href) in enumerate(places):
            if number:
                Text("span", "›").props("aria-hidden=true")
            Text("a", name).props["href"] = href
    way.move(target_index=0)


def _show_measured(found: Mapping[str, Any], gauge: comparison.Gauge) -> None:
    names = sorted(found["figures"], key=lambda name: name != gauge.figure)
    Table(
        "Figures",
        (Column("name", "Figure"), Column("value", "Value", kind="number"), Column("note", "", kind="badge")),
        nothing="Nothing was measured.",
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
    Table("Slices", slice_columns, nothing="No slice was measured.").show(comparison.bars(found["slices"]))


def _show_lineage(app: str, chain: Sequence[Mapping[str, Any]]) -> None:
    drawn = lineage.drawing(chain)
    with (
        ui.element("div").classes("wide-drawing").props('tabindex=0 role=region aria-label="Lineage"') as box
    ):
        box.style("overflow-x: auto; max-width: 100%")
        chart = Chart(lineage.sentence(chain), drawn.options, height_px=drawn.height_px)
        chart.element.style(f"width: {drawn.width_px}px; min-width: {drawn.width_px}px")
    if len(chain) > lineage.DRAWN:
        Text("p", f"The drawing shows the newest {lineage.DRAWN} versions; the text has all.").classes("hint")
    with ui.element("details"):
        Text("summary", "The same as text, with whole digests")
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
    """What was measured and which way is better."""
    if not gauge.figure:
        return "On what no training job saw, when the version was made."
    way = {True: ": higher is better", False: ": lower is better", None: ""}[gauge.higher_is_better]
    return f"On what no training job saw, when the version was made. The gate judges by {gauge.figure}{way}."


def state_sentence(
    found: Mapping[str, Any], job: Mapping[str, Any] | None, rollouts: Sequence[Mapping[str, Any]]
) -> str:
    """What the state of a version means, and why it is in it."""
    by = found["approved_by"]
    state = found["state"]
    if state == "production":
        return "In production: nodes run it unless a rollout gives them another one."
    if state == "approved":
        why = f", {found['approval_reason']}" if found.get("approval_reason") else ""
        return f"Approved by {by or 'nobody who is named'}{why}: it can be rolled out."
    if state == "candidate":
        return "A candidate that nobody has approved."
    if state == "retired":
        return "It was in production before."
    taken_back = next((row for row in rollouts if row["state"] == "reverted"), None)
    if taken_back is not None:
        return f"Refused after rollout {taken_back['id']} was reverted: {taken_back['reason']}."
    reasons = (job or {}).get("gate", {}).get("reasons") or []
    return f"Refused by the gate: {'; '.join(map(str, reasons))}." if reasons else "Refused."

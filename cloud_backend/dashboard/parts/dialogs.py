"""Dialogs that ask before something is done: for a reason, and what a rollout shall be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from nicegui import ui

from common.pages import ApiError, Text, View, action

REASON_CHARACTERS = 500
DEFAULT_WAVES = "34, 100"
CAN_GO_OUT = ("approved", "retired")
"""States of versions that may be rolled out."""
VERSIONS_OFFERED = 100
_WAVES_HINT = "Growing percentages, the last one 100, such as 10, 50, 100"


async def ask_reason(
    title: str,
    text: str,
    button: str,
    do: Callable[[str], Awaitable[bool]],
    *,
    label: str = "Reason",
    value: str = "",
) -> bool:
    """Ask for a line of text and do what it is for; the dialog stays open while that fails."""
    with ui.dialog() as dialog, ui.element("div").classes("card"):
        dialog.props["aria-label"] = title
        Text("h2", title)
        Text("p", text).classes("hint")
        line = ui.input(label, value=value).props(f"outlined dense autofocus maxlength={REASON_CHARACTERS}")

        async def yes() -> None:
            if await do((line.value or "").strip()):
                dialog.submit(True)

        async def no() -> None:
            dialog.submit(False)

        line.on("keydown.enter", yes)
        with ui.element("div").classes("row-of"):
            action(button, yes, tone="bad" if button == "Revert" else "main")
            action("Leave it", no)
    done = bool(await dialog)
    drop(dialog)
    return done


async def confirm(title: str, text: str, button: str, do: Callable[[], Awaitable[bool]]) -> bool:
    """Ask whether something shall be done that cannot be undone, and do it."""
    with ui.dialog() as dialog, ui.element("div").classes("card"):
        dialog.props["aria-label"] = title
        Text("h2", title)
        Text("p", text).classes("hint")

        async def yes() -> None:
            if await do():
                dialog.submit(True)

        async def no() -> None:
            dialog.submit(False)

        with ui.element("div").classes("row-of"):
            action(button, yes, tone="bad")
            action("Leave it", no)
    done = bool(await dialog)
    drop(dialog)
    return done


async def ask_rollout(view: View, app: str, version: str = "") -> None:
    """Ask what to roll out and how, start it, and go to its page."""
    place = f"/v1/apps/{quote(app, safe='')}"
    try:
        offered = versions_offered((await view.api.get(f"{place}/models", limit=VERSIONS_OFFERED))["items"])
    except ApiError as error:
        ui.notify(str(error), type="negative")
        return
    if version and version not in offered:
        offered = [version, *offered]
    started: list[str] = []
    with ui.dialog() as dialog, ui.element("div").classes("card"):
        dialog.props["aria-label"] = "Start a rollout"
        Text("h2", "Start a rollout")
        if not offered:
            Text("p", "No version is approved. Train one on the page Learning, or approve one on Models.")
        chosen = ui.select(offered, label="Version", value=version or next(iter(offered), None))
        waves = ui.input("Waves in percent", value=DEFAULT_WAVES)
        soak = ui.number("Soak in seconds (empty: as the cloud is set)", min=0, precision=1)
        sites = ui.input("Only these sites (empty: all)")
        nodes = ui.input("Only these nodes (empty: all)")
        for field in (chosen, waves, soak, sites, nodes):
            field.props("outlined dense")
        waves.props["hint"] = _WAVES_HINT
        wrong = Text("p", "").props("role=alert").classes("field-error")

        async def start() -> None:
            try:
                body = rollout_body(chosen.value, waves.value, soak.value, sites.value, nodes.value)
            except ValueError as error:
                wrong.text = str(error)
                return
            wrong.text = ""

            async def send() -> None:
                started.append((await view.api.post(f"{place}/rollouts", body))["id"])

            if await view.act(send(), f"{body['version']} is on its way."):
                dialog.submit(True)

        async def leave() -> None:
            dialog.submit(False)

        with ui.element("div").classes("row-of"):
            go = action("Start", start, tone="main", icon="rocket_launch")
            go.set_visibility(bool(offered))
            action("Leave it", leave)
    await dialog
    drop(dialog)
    if started:
        ui.navigate.to(f"/rollouts/{quote(app, safe='')}/{quote(started[0], safe='')}")


def drop(dialog: ui.dialog) -> None:
    """Remove a dialog that was answered; it is gone already where the page was left meanwhile."""
    if not dialog.is_deleted:
        dialog.delete()


def versions_offered(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Versions that may be rolled out, newest first."""
    return [model["version"] for model in models if model["state"] in CAN_GO_OUT and model["created_ns"]]


def rollout_body(version: Any, waves: Any, soak_s: Any, sites: Any, nodes: Any) -> dict[str, Any]:
    """The request that starts a rollout. Raises ``ValueError`` that says which field is wrong."""
    if not version:
        raise ValueError("Choose a version.")
    body: dict[str, Any] = {"version": str(version), "waves": parse_waves(str(waves or ""))}
    if soak_s is not None and soak_s != "":
        if float(soak_s) <= 0:
            raise ValueError("The soak takes more than 0 seconds.")
        body["soak_s"] = float(soak_s)
    constraint = {"sites": _names(sites), "nodes": _names(nodes)}
    if any(constraint.values()):
        body["constraint"] = {name: names for name, names in constraint.items() if names}
    return body


def parse_waves(text: str) -> list[float]:
    """``"34, 100"`` as shares ``[0.34, 1.0]``. Raises ``ValueError`` for what are no growing percentages."""
    try:
        percents = [float(part.strip().rstrip("%").strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"{text[:60]!r} are no waves. {_WAVES_HINT}.") from None
    growing = all(a < b for a, b in pairwise(percents))
    if not percents or not growing or percents[0] <= 0 or percents[-1] != 100:
        raise ValueError(f"{text[:60]!r} are no waves. {_WAVES_HINT}.")
    return [percent / 100 for percent in percents]


def _names(text: Any) -> list[str]:
    return [name for name in str(text or "").replace(",", " ").split() if name]

"""Dialogs: a reason, a confirmation, the parameters of a rollout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from nicegui import ui

from common.pages import ApiError, Text, View, action

REASON_CHARACTERS = 500
DEFAULT_WAVES = "34, 100"
DEPLOYABLE_STATES = ("approved", "retired")
"""States of versions that can be rolled out."""
VERSIONS_LIMIT = 100
_WAVES_HINT = "Growing percentages to 100, such as 10, 50, 100"


async def ask_reason(
    title: str,
    text: str,
    button: str,
    do: Callable[[str], Awaitable[bool]],
    *,
    label: str = "Reason",
    value: str = "",
) -> bool:
    """Ask for a line of text and pass it to ``do``; the dialog stays open until ``do`` returns True."""
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
            action("Close", no)
    done = bool(await dialog)
    delete(dialog)
    return done


async def confirm(title: str, text: str, button: str, do: Callable[[], Awaitable[bool]]) -> bool:
    """Ask for a confirmation, then call ``do``; the dialog stays open until ``do`` returns True."""
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
            action("Close", no)
    done = bool(await dialog)
    delete(dialog)
    return done


async def start_rollout(view: View, app: str, version: str = "") -> None:
    """Ask for the version, waves and nodes of a rollout, start it, and open its page."""
    place = f"/v1/apps/{quote(app, safe='')}"
    try:
        offered = deployable_versions((await view.api.get(f"{place}/models", limit=VERSIONS_LIMIT))["items"])
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
        soak = ui.number("Soak in seconds (empty: default)", min=0, precision=1)
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

            if await view.act(send(), f"The rollout of {body['version']} has started."):
                dialog.submit(True)

        async def leave() -> None:
            dialog.submit(False)

        with ui.element("div").classes("row-of"):
            go = action("Start", start, tone="main", icon="rocket_launch")
            go.set_visibility(bool(offered))
            action("Close", leave)
    await dialog
    delete(dialog)
    if started:
        ui.navigate.to(f"/rollouts/{quote(app, safe='')}/{quote(started[0], safe='')}")


def delete(dialog: ui.dialog) -> None:
    """Delete a closed dialog, unless it was deleted with its page."""
    if not dialog.is_deleted:
        dialog.delete()


def deployable_versions(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Versions that can be rolled out, newest first."""
    return [
        model["version"] for model in models if model["state"] in DEPLOYABLE_STATES and model["created_ns"]
    ]


def rollout_body(version: Any, waves: Any, soak_s: Any, sites: Any, nodes: Any) -> dict[str, Any]:
    """The request that starts a rollout. Raises ``ValueError`` naming the invalid field."""
    if not version:
        raise ValueError("Choose a version.")
    body: dict[str, Any] = {"version": str(version), "waves": parse_waves(str(waves or ""))}
    if soak_s is not None and soak_s != "":
        if float(soak_s) <= 0:
            raise ValueError("The soak must be longer than 0 seconds.")
        body["soak_s"] = float(soak_s)
    constraint = {"sites": _names(sites), "nodes": _names(nodes)}
    if any(constraint.values()):
        body["constraint"] = {name: names for name, names in constraint.items() if names}
    return body


def parse_waves(text: str) -> list[float]:
    """``"34, 100"`` as shares ``[0.34, 1.0]``. Raises ``ValueError`` unless the percentages grow to 100."""
    try:
        percents = [float(part.strip().rstrip("%").strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"Invalid waves {text[:60]!r}. {_WAVES_HINT}.") from None
    growing = all(a < b for a, b in pairwise(percents))
    if not percents or not growing or percents[0] <= 0 or percents[-1] != 100:
        raise ValueError(f"Invalid waves {text[:60]!r}. {_WAVES_HINT}.")
    return [percent / 100 for percent in percents]


def _names(text: Any) -> list[str]:
    return [name for name in str(text or "").replace(",", " ").split() if name]

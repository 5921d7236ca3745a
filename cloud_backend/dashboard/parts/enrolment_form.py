"""The form that enrols a node. Its enrolment file holds secrets: it is shown once and stored nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element

from cloud_backend.dashboard.parts.dialogs import confirm
from cloud_backend.runtime.addresses import host_of, is_local
from common.messages import NAME_PATTERN
from common.pages import ApiError, Text, View, action

_RULE = "Lower case letters, digits and . _ - ; at most 63"


class EnrolmentForm:
    """Fields for name and site, and the resulting enrolment file below them."""

    def __init__(self, view: View) -> None:
        self._view = view
        with ui.element("div").classes("row-of"):
            self._node, self._site = (
                ui.input(label, validation={_RULE: _fits}).props(
                    "outlined dense maxlength=63 hide-bottom-space"
                )
                for label in ("Name of the node", "Site")
            )
            action("Enrol", self._enrol, icon="add_link", tone="main")
        self._result = ui.element("div").classes("stack")

    async def _enrol(self) -> None:
        node, site = ((field.value or "").strip() for field in (self._node, self._site))
        self._node.value, self._site.value = node, site
        if not (self._node.validate() and self._site.validate()):
            return
        if not await self._is_enrolled(node):
            await self._send(node, site)
            return
        await confirm(
            f"{node} is enrolled already",
            "The node gets new credentials and needs the new file. The old credentials are revoked at once.",
            "New credentials",
            lambda: self._send(node, site),
        )

    async def _send(self, node: str, site: str) -> bool:
        self._result.clear()
        made: list[Mapping[str, Any]] = []

        async def send() -> None:
            made.append(await self._view.api.post("/v1/nodes", {"node": node, "site": site}))

        done = await self._view.act(send(), f"{node} is enrolled.")
        if done:
            show_enrolment(self._result, made[0])
        return done

    async def _is_enrolled(self, node: str) -> bool:
        try:
            await self._view.api.get(f"/v1/nodes/{quote(node, safe='')}")
        except ApiError:
            return False
        return True


def show_enrolment(place: Element, enrolment: Mapping[str, Any]) -> None:
    """Show an enrolment file in ``place`` until the person confirms to have it."""
    node = str(enrolment["node"])
    name = f"{node}.json"
    content = enrolment_file(enrolment)

    async def download() -> None:
        ui.download.content(content, name, "application/json")

    async def done() -> None:
        place.clear()

    with place:
        Text("h3", f"The enrolment file of {node}")
        Text(
            "p",
            "It holds the node's secrets and is shown only once. Restrict it to the node (mode 0600).",
        ).classes("hint")
        Text("p", reach(enrolment)).classes("hint")
        with ui.element("div").classes("row-of"):
            action("Download", download, icon="download", tone="main")
            action("I have it", done)
        Text("pre", content).classes("log").props('tabindex=0 aria-label="Enrolment file"')
        Text("p", "Then, on the node:").classes("hint")
        Text("pre", f"edgeloop node run --app APP --source URI --data DIR --enrolment {name}").classes(
            "log"
        ).props("tabindex=0")


def reach(enrolment: Mapping[str, Any]) -> str:
    """The machines on which a node with this enrolment works."""
    if is_local(host_of(enrolment["cloud_url"])) or is_local(enrolment["mqtt_host"]):
        return "Valid on the cloud's own machine only: its addresses are loopback."
    return f"The node must reach {enrolment['cloud_url']} and the broker {enrolment['mqtt_host']}."


def enrolment_file(enrolment: Mapping[str, Any]) -> str:
    """Content of the file, as written by ``edgeloop fleet enrol``."""
    return json.dumps(enrolment, indent=2) + "\n"


def _fits(value: str | None) -> bool:
    return NAME_PATTERN.fullmatch((value or "").strip()) is not None

"""Service actions of a node: replace its device, retire it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import confirm
from cloud_backend.dashboard.parts.enrolment_form import show_enrolment
from common.pages import Text, View, action


class NodeService:
    """Buttons that replace a node's device or retire the node, and the enrolment file of a new device."""

    def __init__(self, view: View, node: str) -> None:
        self._view = view
        self._node = node
        self._path = f"/v1/nodes/{quote(node, safe='')}"
        self._text = Text("p", "").classes("hint")
        with ui.element("div").classes("row-of"):
            action("Replace", self._replace, icon="swap_horiz")
            self._retire = action("Retire", self._ask_retire, icon="power_off", tone="bad")
        self._file = ui.element("div").classes("stack")

    def show(self, node: Mapping[str, Any]) -> None:
        """Update the text and the buttons."""
        self._text.text = service_text(node)
        self._retire.set_visibility(not node["retired_ns"])

    async def _replace(self) -> None:
        await confirm(
            f"Replace the device of {self._node}?",
            "The credentials of the current device are revoked at once. Its data is kept.",
            "Replace",
            self._send_replace,
        )

    async def _send_replace(self) -> bool:
        made: list[Mapping[str, Any]] = []

        async def send() -> None:
            made.append(await self._view.api.post(f"{self._path}/replace", {}))

        self._file.clear()
        done = await self._view.act(send(), f"{self._node} has a new enrolment.")
        if done:
            show_enrolment(self._file, made[0])
        return done

    async def _ask_retire(self) -> None:
        await confirm(
            f"Retire {self._node}?",
            "Its credentials are revoked for good. Its history is kept; counts and rollouts exclude it.",
            "Retire",
            lambda: self._view.act(self._view.api.post(f"{self._path}/retire"), f"{self._node} is retired."),
        )


def service_text(node: Mapping[str, Any]) -> str:
    """Whether a node is in service, and which node replaced it."""
    if not node["retired_ns"]:
        return "In service."
    successor = f"; replaced by {node['replaced_by']}" if node["replaced_by"] else ""
    since = formatting.since(node["retired_ns"], time.time_ns())
    return f"Retired {since}{successor}. The cloud accepts no data from it."

"""Commands to a node, and their outcome.

A command is a hint through the broker. Only the node's events answer it: `outcome` is the rule for which
event does; `NodeCommands` are the buttons and the line with the outcome.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import confirm
from common.pages import Badge, Text, View, action
from common.pages.blocks import Tone

Command = Literal["deployment", "golden", "revert"]
ANSWER_TIMEOUT_S = 20
"""Silence after which a node is shown as unresponsive."""
_TITLES: Mapping[Command, str] = {
    "deployment": "Check for updates",
    "golden": "Run golden cases",
    "revert": "Revert",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command so far: ``badge`` is a word for it."""

    badge: str
    text: str
    tone: Tone = ""


def outcome(command: Command, sent_ns: int, now_ns: int, events: Sequence[Mapping[str, Any]]) -> Outcome:
    """Outcome of ``command`` from a node's ``events``, newest first."""
    for event in events:
        if event["received_ns"] < sent_ns:
            break
        found = _outcome_in(command, event)
        if found is not None:
            return found
    if now_ns - sent_ns < ANSWER_TIMEOUT_S * 1_000_000_000:
        return Outcome("sent", "Waiting for the node's answer.", "info")
    if command == "deployment":
        return Outcome(
            "nothing new",
            "No adoption step since: the node runs the deployed version, or is disconnected.",
        )
    return Outcome(
        "no answer", "The node has not answered. Commands are not queued for a disconnected node.", "warn"
    )


def _outcome_in(command: Command, event: Mapping[str, Any]) -> Outcome | None:
    kind, data = event["type"], event["data"]
    if not isinstance(data, Mapping):
        return None
    text = formatting.summary(kind, data)
    if command == "golden" and kind == "edgeloop.golden":
        passed = data.get("passed") is True
        return Outcome("passed" if passed else "failed", text, "good" if passed else "bad")
    if kind != "edgeloop.adoption":
        return None
    step, ok = data.get("step"), data.get("ok") is not False
    if command == "revert" and step == "reverted":
        return Outcome("reverted", text, "good")
    if command == "revert" and step == "refused" and data.get("reason") == "operator":
        return Outcome("refused", text, "warn")
    if command == "deployment":
        return Outcome(str(step), text, "good" if step == "confirmed" else "info" if ok else "warn")
    return None


class NodeCommands:
    """The command buttons in the head of a node's page, and the line with the outcome."""

    def __init__(self, view: View, node: str) -> None:
        self._view = view
        self._node = node
        self._version = ""
        self._command: Command | None = None
        self._sent_ns = 0
        with view.head, ui.element("div").classes("row-of"):
            action("Check for updates", lambda: self._send("deployment"), icon="sync")
            action("Run golden cases", lambda: self._send("golden"), icon="fact_check")
            action("Revert", self._revert, icon="undo", tone="bad")
        with ui.element("div").classes("row-of").props("role=status") as self._line:
            self._badge = Badge()
            self._text = Text("span", "")
        self._line.set_visibility(False)

    def show(self, node: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        """Update the line from the node and its newest events."""
        self._version = node["version"]
        if self._command is None:
            return
        found = outcome(self._command, self._sent_ns, time.time_ns(), events)
        self._badge.show(found.badge, found.tone)
        self._text.text = f"{_TITLES[self._command]}: {found.text}"
        self._line.set_visibility(True)

    async def _send(self, command: Command) -> bool:
        sent_ns = time.time_ns()
        body = {"action": command} | (
            {"version": self._version} if command == "revert" and self._version else {}
        )
        request = self._view.api.post(f"/v1/nodes/{quote(self._node, safe='')}/hint", body)
        sent = await self._view.act(request, f"The command was sent to {self._node}.")
        if sent:
            self._command, self._sent_ns = command, sent_ns
        return sent

    async def _revert(self) -> None:
        await confirm(
            f"Revert {self._version or 'the model'} on {self._node}?",
            "The node returns to its previous, verified model. It refuses this version until a newer "
            "deployment assigns it.",
            "Revert",
            lambda: self._send("revert"),
        )

"""What a person can tell a node to do, and what came of it.

A command is a hint by the broker: nobody answers it but the node itself, by its events. `answer` is the rule
for which event is the answer; `Commands` are the buttons and the line that shows it.
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

Look = Literal["deployment", "golden", "revert"]
PATIENCE_S = 20
"""After this a node that says nothing is said to say nothing."""
_ASKED: Mapping[Look, str] = {
    "deployment": "Look for updates",
    "golden": "Run golden cases",
    "revert": "Revert",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command so far."""

    word: str
    text: str
    tone: Tone = ""


def answer(look: Look, asked_ns: int, now_ns: int, events: Sequence[Mapping[str, Any]]) -> Answer:
    """What came of ``look``, by a node's ``events`` (newest first, as the API gives them)."""
    for event in events:
        if event["received_ns"] < asked_ns:
            break
        found = _answer_in(look, event)
        if found is not None:
            return found
    if now_ns - asked_ns < PATIENCE_S * 1_000_000_000:
        return Answer("asked", "The node was told. What it does shows here.", "info")
    if look == "deployment":
        return Answer(
            "nothing new",
            "No step of adoption since: the node runs what its deployment asks for, or is away.",
        )
    return Answer(
        "no answer", "The node has not answered. A hint is not kept for a node that is away.", "warn"
    )


def _answer_in(look: Look, event: Mapping[str, Any]) -> Answer | None:
    kind, data = event["type"], event["data"]
    if not isinstance(data, Mapping):
        return None
    said = formatting.gist(kind, data)
    if look == "golden" and kind == "edgeloop.golden":
        passed = data.get("passed") is True
        return Answer("passed" if passed else "failed", said, "good" if passed else "bad")
    if kind != "edgeloop.adoption":
        return None
    step, ok = data.get("step"), data.get("ok") is not False
    if look == "revert" and step == "reverted":
        return Answer("reverted", said, "good")
    if look == "revert" and step == "refused" and data.get("reason") == "operator":
        return Answer("refused", said, "warn")
    if look == "deployment":
        return Answer(str(step), said, "good" if step == "confirmed" else "info" if ok else "warn")
    return None


class Commands:
    """The buttons for one node, in the head of its page, and a line below them."""

    def __init__(self, view: View, node: str) -> None:
        self._view = view
        self._node = node
        self._version = ""
        self._look: Look | None = None
        self._asked_ns = 0
        with view.head, ui.element("div").classes("row-of"):
            action("Look for updates", lambda: self._tell("deployment"), icon="sync")
            action("Run golden cases", lambda: self._tell("golden"), icon="fact_check")
            action("Revert", self._revert, icon="undo", tone="bad")
        with ui.element("div").classes("row-of").props("role=status") as self._line:
            self._badge = Badge()
            self._text = Text("span", "")
        self._line.set_visibility(False)

    def show(self, node: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        """Bring the line up to date from the node and its newest events."""
        self._version = node["version"]
        if self._look is None:
            return
        found = answer(self._look, self._asked_ns, time.time_ns(), events)
        self._badge.show(found.word, found.tone)
        self._text.text = f"{_ASKED[self._look]}: {found.text}"
        self._line.set_visibility(True)

    async def _tell(self, look: Look) -> bool:
        asked_ns = time.time_ns()
        body = {"action": look} | ({"version": self._version} if look == "revert" and self._version else {})
        doing = self._view.api.post(f"/v1/nodes/{quote(self._node, safe='')}/hint", body)
        told = await self._view.act(doing, f"{self._node} was told.")
        if told:
            self._look, self._asked_ns = look, asked_ns
        return told

    async def _revert(self) -> None:
        await confirm(
            f"Take {self._node} back from {self._version or 'its model'}?",
            "The node goes back to the model that it ran before, which it has verified. It does not take "
            "this version again until a newer deployment names it.",
            "Revert",
            lambda: self._tell("revert"),
        )

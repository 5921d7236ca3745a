"""Drift events of the nodes since a fault began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.engines.plant import Plant
from apps.demo.world.stage import Stage

DRIFT = "edgeloop.drift"
MIN_NODES = 2
"""Nodes that must report drift."""

EventKey = tuple[str, str, int]
"""Node, epoch and sequence number."""


@dataclass(slots=True)
class DriftWatch:
    """Distinguishes drift that began with the present fault from earlier drift."""

    stage: Stage
    plant: Plant
    earlier: set[EventKey] = field(default_factory=set)

    def start(self) -> None:
        """Mark all drift events so far as earlier ones."""
        self.earlier = {_key(event) for node in self.stage.nodes for event in self._drifts(node.name)}

    def wait_for_drift(self) -> str:
        """Wait until `MIN_NODES` nodes are in drift; returns their reports."""

        def reports() -> list[str]:
            drifts = {node.name: self._current(node.name) for node in self.stage.nodes}
            found = [
                f"{name}: novelty above its training quantile in {event['data']['exceed_rate']:.0%} of cycles"
                + (", since before this fault" if _key(event) in self.earlier else "")
                for name, event in drifts.items()
                if event
            ]
            return found if len(found) >= MIN_NODES else []

        return "\n".join(self.stage.wait(reports, "drift on two nodes"))

    def _drifts(self, node: str) -> list[dict[str, Any]]:
        events = self.stage.events(node, type=DRIFT)
        return [event for event in events if event["data"]["state"] == "drift"]

    def _current(self, node: str) -> dict[str, Any] | None:
        """Drift event of a node since `start`, or the earlier one that has not ended."""
        events = self.stage.events(node, type=DRIFT)
        drifts = [event for event in events if event["data"]["state"] == "drift"]
        new = next((event for event in drifts if _key(event) not in self.earlier), None)
        return new or (drifts[-1] if drifts and events[-1] is drifts[-1] else None)


def _key(event: dict[str, Any]) -> EventKey:
    return event["node"], event["epoch"], event["seq"]

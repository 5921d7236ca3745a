"""Areas: how many people are behind the entrances of the node's cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.retail.domain import CountingLine
from common.vision.lines import Occupancy

AREAS_LIMIT = 1000
"""Areas whose occupancy is kept; an area beyond that is not followed."""


class Areas:
    """Occupancy of each area: of those that entrances name, and of each camera's own."""

    def __init__(self) -> None:
        self._areas: dict[str, Occupancy] = {}

    def behind(self, camera: str, line: CountingLine) -> Occupancy | None:
        """People behind a line; None for no entrance, and beyond `AREAS_LIMIT`."""
        if not line.entrance:
            return None
        key = f"area {line.area}" if line.area else f"camera {camera}"
        if key not in self._areas and len(self._areas) < AREAS_LIMIT:
            self._areas[key] = Occupancy()
        return self._areas.get(key)

    def forget(self, camera: str) -> None:
        """Follow a camera's own area no more."""
        self._areas.pop(f"camera {camera}", None)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {key: [each.people, each.contradictions] for key, each in self._areas.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._areas = {}
        for key, (people, contradictions) in state.items():
            self._areas[key] = Occupancy(people)
            self._areas[key].contradictions = contradictions

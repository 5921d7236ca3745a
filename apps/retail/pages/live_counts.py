"""Counts of one camera from its newest events: since a page was opened, and of the day. No page, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Item = Mapping[str, Any]
"""An event, as the API gives it."""


class LiveCounts:
    """Crossings by line and direction, and the people of the newest minute by zone, of ``camera``."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._seen: set[tuple[str, int]] | None = None
        self.crossed: Counter[tuple[str, str]] = Counter()
        self.people: dict[str, int] = {}

    def take(self, crossings: Iterable[Item], minutes: Iterable[Item]) -> frozenset[str]:
        """Take in the newest events, newest first; lines that were crossed since the last call.

        Crossings that were there at the first call are not counted.
        """
        own = [each for each in crossings if each["subject"] == self._camera]
        known, self._seen = self._seen, {(each["epoch"], each["seq"]) for each in own}
        new = [] if known is None else [each for each in own if (each["epoch"], each["seq"]) not in known]
        self.crossed.update((each["data"]["line"], each["data"]["direction"]) for each in new)
        latest_ns: dict[str, int] = {}
        for each in minutes:
            zone = each["data"]["zone"]
            if each["subject"] == self._camera and each["time_ns"] > latest_ns.get(zone, -1):
                latest_ns[zone], self.people[zone] = each["time_ns"], each["data"]["max_people"]
        return frozenset(each["data"]["line"] for each in new)


def day_counts(
    camera: str, lines: Iterable[Item], crossings: Iterable[Item], day_begin_ns: int
) -> dict[str, tuple[int, int]]:
    """In and out by line on the day that begins at ``day_begin_ns``.

    ``lines`` are the sums of the minutes so far (``GET .../live``); crossings after their end are added.
    """
    sums = {each["line"]: each for each in lines}
    counts = Counter({(name, "in"): each["entered"] for name, each in sums.items()})
    counts.update({(name, "out"): each["left"] for name, each in sums.items()})
    for each in crossings:
        name = each["data"]["line"]
        counted_to_ns = sums[name]["counted_to_ns"] if name in sums else 0
        if each["subject"] == camera and each["time_ns"] >= max(counted_to_ns, day_begin_ns):
            counts[name, each["data"]["direction"]] += 1
    return {name: (counts[name, "in"], counts[name, "out"]) for name, _ in counts}

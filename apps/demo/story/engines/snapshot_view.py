"""Live view of the engines: remaining life with its interval, and its history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.demo.world.snapshot import SubjectView

FULL_CYCLES = 125.0
WIDTH = 26


def view_engines(get: Callable[..., Any], app: str) -> Mapping[str, SubjectView]:
    """The engine of each node."""
    return {
        engine["node"]: SubjectView(
            remaining_life(engine),
            f"run {engine['run']} cycle {engine['cycle']}",
            "MAINTENANCE" if engine["due"] else "",
            (engine["rul_cycles"] or 0.0) / FULL_CYCLES,
            (engine["run"], engine["cycle"]),
        )
        for engine in get(f"/v1/apps/{app}/machines", limit=100)["items"]
    }


def remaining_life(engine: Mapping[str, Any]) -> str:
    """Remaining life and its interval, on a scale and in cycles."""
    if engine["rul_cycles"] is None:
        return f"{'?' * WIDTH}  not known: {engine['withheld']}"
    numbers = [engine[name] for name in ("lower_cycles", "rul_cycles", "upper_cycles")]
    lower, middle, upper = (min(WIDTH - 1, max(0, int(n * WIDTH / FULL_CYCLES))) for n in numbers)
    scale = "".join("●" if i == middle else "─" if lower <= i <= upper else "·" for i in range(WIDTH))
    return f"{scale} {numbers[1]:4.0f} cycles left ({numbers[0]:.0f} to {numbers[2]:.0f})"

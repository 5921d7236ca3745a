"""Text of the industrial pages: a machine's state, its alarms and its runs in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from apps.industrial.domain import UNITS
from apps.industrial.pages import charts
from common.time_notes import time_note

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
WITHHELD = {
    "regime": "another operating regime",
    "novel": "unlike what the model knows",
    "history": "too little history",
    "sensors": "sensors without usable values",
}
"""Reasons of an unknown remaining life, by the word in the data."""


def life_of(machine: Mapping[str, Any]) -> str:
    """The remaining life of a machine with its interval, or why it is not known."""
    if machine["rul_cycles"] is None:
        why = WITHHELD.get(machine["withheld"], "")
        return f"not known: {why}" if why else "not known"
    return f"{machine['rul_cycles']:.0f} ({machine['lower_cycles']:.0f}–{machine['upper_cycles']:.0f})"


def doubts_of(state: Mapping[str, Any]) -> list[str]:
    """Reasons of a withheld remaining life, and sensor faults, in sentences."""
    texts = [f"The remaining life is withheld: {state['reason']}."] if state["rul_cycles"] is None else []
    if texts and state["due"]:
        texts.append("The maintenance alarm stays open: an unknown remaining life does not clear it.")
    texts += [f"Sensor fault: {text}. Its values are not used." for text in state["sensor_faults"].values()]
    return texts


def horizon_of(state: Mapping[str, Any]) -> str:
    """The horizon of a machine, and whether it is the default."""
    horizon = f"horizon {state['horizon_cycles']:g} cycles"
    return f"{horizon}, the default until its first alarm" if state["horizon_is_default"] else horizon


def machine_href(machine: str) -> str:
    """Path of a machine's page."""
    return f"/ui/apps/industrial/machines/{quote(machine, safe='')}"


def why(alarms: Sequence[Mapping[str, Any]]) -> str:
    """A run's newest alarm in words."""
    if not alarms:
        return "In this run no maintenance alarm was raised."
    alarm = alarms[0]
    text = (
        f"Raised at cycle {alarm['cycle']} by model {alarm['version']}: the lower bound stayed under the "
        f"horizon of {alarm['horizon_cycles']:g} cycles."
    )
    if alarm["cleared_cycle"] is None:
        text += " It is open."
    else:
        text += f" It ended at cycle {alarm['cleared_cycle']} ({alarm['reason'] or 'cleared'})."
    if len(alarms) > 1:
        text += f" It is the newest of {len(alarms)} in this run."
    return text


def sensor_rows(sensors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The sensors behind an alarm, each against the strongest."""
    largest = max((abs(cycles) for cycles in sensors.values()), default=0.0) or 1.0
    return [
        {
            "id": name,
            "sensor": charts.titled(name) if name in UNITS else name,
            "share": abs(cycles) / largest,
            "share_text": f"{cycles:.1f}",
        }
        for name, cycles in sensors.items()
    ]


def span_of(run: Mapping[str, Any] | None, points: Sequence[Mapping[str, Any]]) -> str:
    """Text of the seen and shown cycles of a run."""
    if run is None or not points:
        return ""
    text = f"Cycles {run['first_cycle']} to {run['last_cycle']}"
    if points[0]["cycle"] > run["first_cycle"]:
        text += f", of which the last {len(points)} are shown"
    return text + "."


def last_cycle_of(state: Mapping[str, Any]) -> str:
    """The last cycle, how long ago it was, and what speaks against that time."""
    note = time_note(state["time_quality"])
    return f"cycle {state['cycle']}, {ago(state['time_ns'])}" + (f" ({note})" if note else "")


def ago(time_ns: int) -> str:
    """Time that has passed, as the tables show it."""
    seconds = max(0, round((time.time_ns() - time_ns) / 1e9))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"

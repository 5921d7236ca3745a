"""Alarm state machine, after IEC 60601-1-8 and IEC 60601-2-27.

::

                    present for delay_s            absent for end_s
    quiet ──> pending ────────────────> raised ──────────────────────> ended      (not latching)
                                          ^  └───────────────────────> latched ──reset──> quiet
                                          └─────present for delay_s───────┘        (latching)

A raised alarm persists while its condition is *unknown* (the signal is withheld). A reset ends latched alarms
and leaves those with a present condition. A pause suppresses new alarms, for at most `PAUSE_LIMIT_S`;
conditions still present at its end are raised then.

Times are seconds of signal, in ascending order. Invariants of any sequence of calls:

- A continuously present condition is raised at the first call after its delay, at the latest.
- Between two raises of an alarm is its end (``ended``, ``latched`` or ``reset``).
- A latched alarm persists until a reset or a new raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

PAUSE_LIMIT_S = 180.0

AlarmPriority = Literal["high", "medium", "low"]
AlarmState = Literal["raised", "ended", "latched", "reset"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition of an alarm, with its delays.

    ``delay_s`` from presence of the condition to the alarm, ``end_s`` from its absence to the end.
    """

    name: str
    priority: AlarmPriority
    delay_s: float
    end_s: float
    latching: bool
    text: str
    """Display text with the placeholders ``{value}`` and ``{limit}``."""


class Observed(NamedTuple):
    """State of one condition; ``present`` is None if unknown."""

    name: str
    present: bool | None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A state change of an alarm at ``at_s``; raised at ``raised_s`` with the delay ``delay_s``."""

    condition: Condition
    state: AlarmState
    at_s: float
    raised_s: float
    delay_s: float
    value: float | None
    limit: float | None

    @property
    def text(self) -> str:
        """Display text."""
        value = "?" if self.value is None else f"{self.value:g}"
        limit = "?" if self.limit is None else f"{self.limit:g}"
        return self.condition.text.format(value=value, limit=limit)


@dataclass(slots=True)
class _Alarm:
    state: Literal["quiet", "raised", "latched"] = "quiet"
    present_since_s: float | None = None
    absent_since_s: float | None = None
    raised_s: float = 0.0
    delay_s: float = 0.0
    value: float | None = None
    limit: float | None = None


class Alarms:
    """The alarms of one patient."""

    def __init__(self, conditions: Iterable[Condition]) -> None:
        self._conditions = {condition.name: condition for condition in conditions}
        self._alarms = {name: _Alarm() for name in self._conditions}
        self._paused_until_s = float("-inf")

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the alarms that are raised."""
        return tuple([name for name, alarm in self._alarms.items() if alarm.state == "raised"])

    def observe(self, at_s: float, observed: Iterable[Observed]) -> list[Change]:
        """Apply the conditions at ``at_s``; others are unchanged."""
        changes: list[Change] = []
        for each in observed:
            alarm = self._alarms[each.name]
            if each.present or alarm.state == "raised":
                changes += self._observe(alarm, self._conditions[each.name], at_s, each)
            else:
                alarm.present_since_s = None
        return changes

    def reset(self, at_s: float) -> list[Change]:
        """End latched alarms."""
        return [self._leave(name, "reset", at_s) for name, a in self._alarms.items() if a.state == "latched"]

    def pause(self, at_s: float, seconds: float) -> None:
        """Raise nothing for ``seconds``, `PAUSE_LIMIT_S` at most; 0 ends a pause."""
        self._paused_until_s = at_s + min(max(0.0, seconds), PAUSE_LIMIT_S)

    def close(self, at_s: float) -> list[Change]:
        """End raised and latched alarms, at the end of a stream."""
        changes = [
            self._leave(name, "reset" if alarm.state == "latched" else "ended", at_s)
            for name, alarm in self._alarms.items()
            if alarm.state != "quiet"
        ]
        self._alarms = {name: _Alarm() for name in self._conditions}
        return changes

    def take_over(self, earlier: Alarms) -> None:
        """Continue raised and latched alarms of an earlier stream of the same patient."""
        for name, alarm in earlier._alarms.items():
            if alarm.state != "quiet" and name in self._alarms:
                self._alarms[name] = replace(alarm, present_since_s=None, absent_since_s=None)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "paused_until_s": self._paused_until_s,
            "alarms": {
                name: [a.state, a.present_since_s, a.absent_since_s, a.raised_s, a.delay_s, a.value, a.limit]
                for name, a in self._alarms.items()
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave; alarms that are not in this table are dropped."""
        self._paused_until_s = float(state["paused_until_s"])
        saved = state["alarms"]
        self._alarms = {
            name: _Alarm(*saved[name]) if name in saved else _Alarm() for name in self._conditions
        }

    # ------------------------------------------------------------------------------------------ private

    def _observe(self, alarm: _Alarm, condition: Condition, at_s: float, seen: Observed) -> list[Change]:
        if seen.present is None:
            alarm.present_since_s = alarm.absent_since_s = None
            return []
        if not seen.present:
            alarm.present_since_s = None
            if alarm.absent_since_s is None:
                alarm.absent_since_s = at_s
            if at_s - alarm.absent_since_s < condition.end_s:
                return []
            return [self._leave(condition.name, "latched" if condition.latching else "ended", at_s)]
        alarm.absent_since_s = None
        if alarm.present_since_s is None:
            alarm.present_since_s = at_s
        if alarm.state == "raised":
            return []
        waited_s = at_s - alarm.present_since_s
        if waited_s < condition.delay_s or at_s < self._paused_until_s:
            return []
        alarm.state, alarm.raised_s, alarm.delay_s = "raised", at_s, waited_s
        alarm.value, alarm.limit = seen.value, seen.limit
        return [_change(condition, alarm, "raised", at_s)]

    def _leave(self, name: str, state: AlarmState, at_s: float) -> Change:
        alarm = self._alarms[name]
        change = _change(self._conditions[name], alarm, state, at_s)
        alarm.state = "latched" if state == "latched" else "quiet"
        alarm.absent_since_s = None
        return change


def _change(condition: Condition, alarm: _Alarm, state: AlarmState, at_s: float) -> Change:
    return Change(condition, state, at_s, alarm.raised_s, alarm.delay_s, alarm.value, alarm.limit)

"""Figures and events in words, the same on every page.

What a node tells may be of any type and length: `number` and `gist` take it as it comes and never fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from common.pages.blocks import Tone

NONE = "–"
GIST_CHARACTERS = 220
GIST_VALUES = 8
_VALUE_CHARACTERS = 80
_LIST_VALUES = 4
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

PROBLEMS = {
    "rejected": "not authentic",
    "limited": "limited",
    "identity_shared": "identity shared",
    "forked": "copied data folder",
    "unprojected": "not projected",
    "refused": "refused",
}
"""What the cloud saw go wrong with a node (`cloud_backend.ingest.node_problems`)."""
STATE_TONES: Mapping[str, Tone] = {"online": "good", "offline": "bad"}
PRIORITY_TONES: Mapping[str, Tone] = {"alarm": "bad", "event": "info"}
STEP_TONES: Mapping[str, Tone] = {
    "confirmed": "good",
    "soak": "info",
    "switched": "info",
    "shadow": "info",
    "refused": "warn",
    "reverted": "warn",
}


def number(values: Any, name: str) -> float | None:
    """The finite number under ``name``; None for anything else."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
        return None
    return float(value) if math.isfinite(value) else None


def count(value: float | None) -> str:
    """``29,758``."""
    return NONE if value is None else f"{value:,.0f}"


def plural(value: float, one: str, many: str = "") -> str:
    """``1 node``, ``3 nodes``."""
    return f"{value:,.0f} {one if value == 1 else many or one + 's'}"


def size(bytes_: float | None) -> str:
    """Bytes in decimal units: ``82 kB``, ``4.6 MB``."""
    if bytes_ is None:
        return NONE
    value, unit = float(bytes_), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or abs(value) >= 99.5 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"


def figure(value: float | None) -> str:
    """A small number: two digits after the point below 1, one below 10, none above."""
    if value is None:
        return NONE
    digits = 0 if value >= 10 else 1 if value >= 1 else 2
    return f"{value:,.{digits}f}"


def milliseconds(value: float | None) -> str:
    """``0.22 ms``."""
    return NONE if value is None else f"{figure(value)} ms"


def percent(part: float | None, whole: float | None) -> str:
    """``71 %``; a dash where there is no whole."""
    if part is None or not whole:
        return NONE
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"


def since(then_ns: int, now_ns: int) -> str:
    """``12 s ago``; a dash for never."""
    if not then_ns:
        return NONE
    seconds = max(0, (now_ns - then_ns) // 1_000_000_000)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago" if seconds else "now"


def date_and_time(time_ns: int) -> str:
    """``2026-11-24 15:46 UTC``."""
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC"


def gist(kind: str, data: Any) -> str:
    """What an event says, in one line of at most `GIST_CHARACTERS`."""
    if not isinstance(data, Mapping):
        return _cut(_value(data), GIST_CHARACTERS)
    tell = _TELLERS.get(kind)
    return _cut(tell(data) if tell else _pairs(data), GIST_CHARACTERS)


def about(event: Mapping[str, Any]) -> str:
    """What an event of the API says, and of what, where that is not the node itself."""
    says = gist(event["type"], event["data"])
    subject = event["subject"]
    if subject == event["node"] or subject in says:
        return says
    return f"{_cut(subject, _VALUE_CHARACTERS)}: {says}"


def identity(event: Mapping[str, Any]) -> str:
    """What tells an event from all others, as text."""
    return f"{event['node']}/{event['epoch']}/{event['seq']}"


def _adoption(data: Mapping[str, Any]) -> str:
    said = f"{_word(data, 'step')} {_word(data, 'version')}".strip()
    reason, detail = _word(data, "reason"), _word(data, "detail", GIST_CHARACTERS)
    said += f" ({reason})" if reason else ""
    return f"{said}: {detail}" if detail else said


def _drift(data: Mapping[str, Any]) -> str:
    if data.get("state") != "drift":
        return "drift is over"
    return (
        f"drift: {_word(data, 'output')} beyond {_word(data, 'threshold')}, its limit in training, "
        f"in {percent(number(data, 'exceed_rate'), 1.0)} of the readings"
    )


def _golden(data: Mapping[str, Any]) -> str:
    if data.get("passed") is True:
        cases = count(number(data, "cases"))
        took = milliseconds(number(data, "latency_ms"))
        return f"{_word(data, 'version')} passes its {cases} golden cases on this device, {took} a run"
    return f"{_word(data, 'version')} fails its golden cases: {_word(data, 'detail', GIST_CHARACTERS)}"


def source(health: Mapping[str, Any]) -> str:
    """What a node's source does, and why."""
    parts = (_word(health, "source_state"), _word(health, "source_detail", GIST_CHARACTERS))
    return ": ".join(filter(None, parts)) or NONE


def local_alarms(health: Mapping[str, Any]) -> str:
    """Whether the outputs at the machine take alarms."""
    problem = _word(health, "local_alarms_problem", GIST_CHARACTERS)
    waiting = number(health, "local_alarms_waiting")
    if problem or waiting:
        return f"{count(waiting)} wait: {problem or 'being sent'}"
    return NONE if waiting is None else "all sent"


def own_problems(health: Mapping[str, Any]) -> str:
    """What a node says is wrong with it; "none" where it says so, a dash where it has not told."""
    problems = health.get("problems")
    if not isinstance(problems, list) or not isinstance(health.get("ok"), bool):
        return NONE
    told = [_value(problem, GIST_CHARACTERS) for problem in problems[:GIST_VALUES]]
    return "; ".join(told) or "none"


def unhealthy(health: Mapping[str, Any]) -> bool:
    """Whether a node says that something is wrong with it, or was lost within a day."""
    return health.get("ok") is False


def source_badge(health: Mapping[str, Any]) -> tuple[str, str]:
    """A word and a tone for a source that gives nothing any more; empty for one that does."""
    return _SOURCE_BADGES.get(_word(health, "source_state"), ("", ""))


def _problem(data: Mapping[str, Any]) -> str:
    times = number(data, "count") or 1
    said = ": ".join(filter(None, (_word(data, "problem"), _word(data, "detail", GIST_CHARACTERS))))
    return f"{said} ({count(times)} times)" if times > 1 else said


def _started(data: Mapping[str, Any]) -> str:
    return f"started with model {_word(data, 'version')} on {_word(data, 'profile')}"


_SOURCE_BADGES = {"ended": ("source ended", "warn"), "failed": ("source fails", "bad")}
_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "edgeloop.adoption": _adoption,
    "edgeloop.drift": _drift,
    "edgeloop.golden": _golden,
    "edgeloop.source": _problem,
    "edgeloop.inference": _problem,
    "edgeloop.uplink": _problem,
    "edgeloop.local_alarm": _problem,
    "edgeloop.outbox": _problem,
    "edgeloop.node.started": _started,
}


def _pairs(data: Mapping[str, Any]) -> str:
    told = [
        f"{name.replace('_', ' ')} {_value(value)}"
        for name, value in data.items()
        if not isinstance(value, Mapping) and value not in ("", None, []) and name != "version"
    ]
    more = ["…"] if len(told) > GIST_VALUES else []
    return ", ".join(told[:GIST_VALUES] + more)


def _word(data: Mapping[str, Any], name: str, characters: int = _VALUE_CHARACTERS) -> str:
    value = data.get(name, "")
    return "" if value is None else _value(value, characters)


def _value(value: Any, characters: int = _VALUE_CHARACTERS) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    if isinstance(value, list):
        plain = [each for each in value[:_LIST_VALUES] if not isinstance(each, list | Mapping)]
        shown = " ".join(_value(each) for each in plain)
        return f"{shown} …" if len(value) > _LIST_VALUES else shown
    return _cut(str(value), characters)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"

"""Figures and events as text, the same on every page.

A node's data may be of any type and length; `number` and `summary` accept all of it and never fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from common.json_bounds import finite_number
from common.pages.blocks import Tone
from common.pages.quantities import NONE
from common.pages.quantities import size as size

SUMMARY_CHARACTERS = 220
SUMMARY_VALUES = 8
_VALUE_CHARACTERS = 80
_LIST_VALUES = 4

PROBLEMS = {
    "rejected": "not authentic",
    "limited": "limited",
    "identity_shared": "identity shared",
    "forked": "copied data folder",
    "unprojected": "not projected",
    "refused": "refused",
}
"""Problems of a node as seen by the cloud (`cloud_backend.ingest.node_problems`)."""
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


def number(values: object, name: str) -> float | None:
    """The finite number under ``name``; None for anything else."""
    value = finite_number(values.get(name) if isinstance(values, Mapping) else None)
    return None if value is None else float(value)


def count(value: float | None) -> str:
    """``29,758``."""
    return NONE if value is None else f"{value:,.0f}"


def plural(value: float, one: str, many: str = "") -> str:
    """``1 node``, ``3 nodes``."""
    return f"{value:,.0f} {one if value == 1 else many or one + 's'}"


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


def summary(kind: str, data: Any) -> str:
    """One line of at most `SUMMARY_CHARACTERS` about an event's data."""
    if not isinstance(data, Mapping):
        return _cut(_value(data), SUMMARY_CHARACTERS)
    summarise = _SUMMARIES.get(kind, _pairs)
    return _cut(summarise(data), SUMMARY_CHARACTERS)


def event_summary(event: Mapping[str, Any]) -> str:
    """`summary` of an event of the API, with its subject unless that is the node itself."""
    text = summary(event["type"], event["data"])
    subject = event["subject"]
    if subject == event["node"] or subject in text:
        return text
    return f"{_cut(subject, _VALUE_CHARACTERS)}: {text}"


def identity(event: Mapping[str, Any]) -> str:
    """Identity of an event: ``node/epoch/seq``."""
    return f"{event['node']}/{event['epoch']}/{event['seq']}"


def _adoption(data: Mapping[str, Any]) -> str:
    text = f"{_word(data, 'step')} {_word(data, 'version')}".strip()
    reason, detail = _word(data, "reason"), _word(data, "detail", SUMMARY_CHARACTERS)
    text += f" ({reason})" if reason else ""
    return f"{text}: {detail}" if detail else text


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
    return f"{_word(data, 'version')} fails its golden cases: {_word(data, 'detail', SUMMARY_CHARACTERS)}"


def _settings(data: Mapping[str, Any]) -> str:
    parts = (_word(data, "reason"), _word(data, "detail", SUMMARY_CHARACTERS))
    text = f"version {count(number(data, 'version'))} of the settings {_word(data, 'outcome')}"
    return ": ".join(filter(None, (text, *parts)))


def source(health: Mapping[str, Any]) -> str:
    """State of a node's source, with its reason."""
    parts = (_word(health, "source_state"), _word(health, "source_detail", SUMMARY_CHARACTERS))
    return ": ".join(filter(None, parts)) or NONE


def local_alarms(health: Mapping[str, Any]) -> str:
    """State of the local alarm outputs."""
    problem = _word(health, "local_alarms_problem", SUMMARY_CHARACTERS)
    waiting = number(health, "local_alarms_waiting")
    if problem or waiting:
        return f"{count(waiting)} wait: {problem or 'being sent'}"
    return NONE if waiting is None else "all sent"


def node_problems(health: Mapping[str, Any]) -> str:
    """Problems that a node reports; ``none`` if it reports none, a dash without a report."""
    problems = health.get("problems")
    if not isinstance(problems, list) or not isinstance(health.get("ok"), bool):
        return NONE
    shown = [_value(problem, SUMMARY_CHARACTERS) for problem in problems[:SUMMARY_VALUES]]
    return "; ".join(shown) or "none"


def unhealthy(health: Mapping[str, Any]) -> bool:
    """Whether a node reports a problem, or a loss within the last day."""
    return health.get("ok") is False


def stopped_source(health: Mapping[str, Any]) -> tuple[str, Tone]:
    """State and tone of a source that has stopped; empty for one that works."""
    state = _word(health, "source_state")
    return (state, _STOPPED_SOURCES[state]) if state in _STOPPED_SOURCES else ("", "")


def _problem(data: Mapping[str, Any]) -> str:
    times = number(data, "count") or 1
    text = ": ".join(filter(None, (_word(data, "problem"), _word(data, "detail", SUMMARY_CHARACTERS))))
    return f"{text} ({count(times)} times)" if times > 1 else text


def _started(data: Mapping[str, Any]) -> str:
    return f"started with model {_word(data, 'version')} on {_word(data, 'profile')}"


_STOPPED_SOURCES: Mapping[str, Tone] = {"ended": "warn", "failed": "bad"}
_SUMMARIES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "edgeloop.adoption": _adoption,
    "edgeloop.drift": _drift,
    "edgeloop.golden": _golden,
    "edgeloop.settings": _settings,
    "edgeloop.source": _problem,
    "edgeloop.inference": _problem,
    "edgeloop.uplink": _problem,
    "edgeloop.local_alarm": _problem,
    "edgeloop.outbox": _problem,
    "edgeloop.node.started": _started,
}


def _pairs(data: Mapping[str, Any]) -> str:
    pairs = [
        _pair(name, value)
        for name, value in data.items()
        if not isinstance(value, Mapping) and value not in ("", None, []) and name != "version"
    ]
    more = ["…"] if len(pairs) > SUMMARY_VALUES else []
    return ", ".join(pairs[:SUMMARY_VALUES] + more)


def _pair(name: str, value: Any) -> str:
    if name.endswith("_ns") and type(value) is int and 0 <= value < 2**63:
        return f"{name.removesuffix('_ns').replace('_', ' ')} {date_and_time(value)}"
    return f"{name.replace('_', ' ')} {_value(value)}"


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

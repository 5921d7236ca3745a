"""Display texts of rhythms, alarms and figures, shared by the pages and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from common.time_notes import time_note

if TYPE_CHECKING:
    from common.pages.blocks import Tone

DISCLAIMER = "Reference application, not a medical device"
NONE = "–"
RHYTHMS: Mapping[str, str] = {
    "sinus": "Sinus rhythm",
    "AF": "Atrial fibrillation",
    "VT": "Ventricular tachycardia",
    "tachycardia": "Tachycardia",
    "bradycardia": "Bradycardia",
    "pause": "Pause",
    "unknown": "Unknown",
    "other": "Other rhythm",
}
RHYTHM_TONES: Mapping[str, Tone] = {
    "sinus": "good",
    "AF": "warn",
    "VT": "bad",
    "tachycardia": "warn",
    "bradycardia": "warn",
    "pause": "warn",
}
BEATS: Mapping[str, str] = {
    "N": "normal",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion",
    "Q": "unclassifiable",
}
"""Classes of ANSI/AAMI EC57."""
PRIORITY_TONES: Mapping[str, Tone] = {"high": "bad", "medium": "warn", "low": "info"}
STATES: Mapping[str, str] = {
    "raised": "active",
    "latched": "latched: ended, not reset",
    "ended": "ended",
    "reset": "reset",
}
VERDICTS: Mapping[str, str] = {
    "confirmed": "confirmed",
    "corrected": "corrected",
    "unreadable": "unreadable",
}


def rhythm(label: str) -> str:
    """The name of a rhythm; an unknown label as it is."""
    return RHYTHMS.get(label, label)


def alarm(name: str) -> str:
    """``ventricular_tachycardia`` as ``Ventricular tachycardia``."""
    return name.replace("_", " ").capitalize() if name else "No alarm"


def figure(value: float | None, unit: str = "", digits: int = 0) -> str:
    """``72 bpm``; a dash for None."""
    if value is None:
        return NONE
    return f"{value:,.{digits}f} {unit}".rstrip()


def percent(value: float | None) -> str:
    """A percentage; small ones are not rounded to zero."""
    if value is None:
        return NONE
    return f"{value:.0f} %" if value >= 10 or value == 0 else "< 0.1 %" if value < 0.05 else f"{value:.1f} %"


def span(seconds: float) -> str:
    """``8 s``, ``12 min``, ``3 h 5 min``."""
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 and seconds % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock(time_ns: int | None) -> str:
    """The time of day in UTC: ``14:05:09``."""
    return NONE if time_ns is None else datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%H:%M:%S")


def marked(time: str, quality: str) -> str:
    """A time with a note on its quality: ``14:05:09 (clock corrected)``."""
    note = time_note(quality)
    return f"{time} ({note})" if note else time


def stamp(time_ns: int) -> str:
    """Day and time in UTC: ``2026-11-24 14:05:09 UTC``."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasting(began_ns: int, ended_ns: int | None) -> str:
    """The duration of a span, or ``ongoing``."""
    return "ongoing" if ended_ns is None else span((ended_ns - began_ns) / 1e9)


def beat_counts(kinds: Sequence[str]) -> str:
    """``9 N, 2 V``."""
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in BEATS if kind in kinds) or "none"


def counted(count: int, what: str) -> str:
    """ "1 pause", "2 pauses"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

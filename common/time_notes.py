"""Words for times that are doubtful or were corrected: the same on pages, in reports and in records."""

from __future__ import annotations

from common.messages import TimeQuality

_NOTES = {
    TimeQuality.UNSYNCHRONISED: "clock not set",
    TimeQuality.CORRECTED: "clock corrected",
    TimeQuality.UNKNOWN: "clock not set, time unknown",
    TimeQuality.RECORDED: "time of the recording",
}
_STATEMENTS = {
    TimeQuality.CORRECTED: "The clock of the device was wrong; times were corrected by its error.",
    TimeQuality.UNKNOWN: "The clock of the device was wrong by an unknown error: true times are not known.",
    TimeQuality.UNSYNCHRONISED: "The clock of the device was not set: times are not certain.",
}
"""By how doubtful the times are, the least doubtful first, which is also the order of their names."""


def time_note(quality: str | None) -> str:
    """A few words on a time, to be shown beside it; empty where nothing speaks against it."""
    return next((note for each, note in _NOTES.items() if each == quality), "")


def time_statement(quality: str | None) -> str:
    """A sentence on doubtful times; empty where nothing speaks against them, and for those of a recording."""
    return next((text for each, text in _STATEMENTS.items() if each == quality), "")


def doubt_of(quality: str) -> str:
    """The quality of a time that is doubtful, else an empty text. The maximum of several is the worst."""
    return quality if time_statement(quality) else ""

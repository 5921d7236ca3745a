"""Hourly sums of windows of rates (`apps.ecg.cloud.tables.Hour`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from apps.ecg.cloud.tables import HOUR_NS, Hour
from common.app.projection import insert_into

Row = Mapping[str, Any]
SUMS = ("seconds", "good_seconds", "af_seconds", "rated_seconds", "bpm_seconds", "n", "s", "v", "f", "q")


def add_to_hours(session: Session, windows: Iterable[Row]) -> set[tuple[str, int]]:
    """Add new windows to their hours; returns the hours as ``(patient, began_ns)``.

    A window is a row of `RateWindow` with ``node``, ``version`` and ``time_quality``.
    """
    hours: dict[tuple[str, int], Row] = {}
    for window in windows:
        began_ns = window["began_ns"] - window["began_ns"] % HOUR_NS
        key = (window["patient"], began_ns)
        hours[key] = _added(hours.get(key), _as_hour(window, began_ns))
    _upsert(session, list(hours.values()))
    return set(hours)


def _as_hour(window: Row, began_ns: int) -> Row:
    good_s, bpm = window["seconds"] * window["good_share"], window["heart_rate_bpm"]
    rated_s = 0.0 if bpm is None else window["seconds"]
    return {
        "patient": window["patient"],
        "began_ns": began_ns,
        "seconds": window["seconds"],
        "good_seconds": good_s,
        "af_seconds": good_s if window["rhythm"] == "AF" else 0.0,
        "rated_seconds": rated_s,
        "bpm_seconds": (bpm or 0.0) * rated_s,
        "min_bpm": bpm,
        "max_bpm": bpm,
        **{name: window[name] for name in (*"nsvfq", "node", "version", "time_quality")},
    }


def _added(hour: Row | None, other: Row) -> Row:
    if hour is None:
        return other
    lowest = [bpm for bpm in (hour["min_bpm"], other["min_bpm"]) if bpm is not None]
    highest = [bpm for bpm in (hour["max_bpm"], other["max_bpm"]) if bpm is not None]
    return {
        **other,
        **{name: hour[name] + other[name] for name in SUMS},
        "min_bpm": min(lowest, default=None),
        "max_bpm": max(highest, default=None),
        "time_quality": max(hour["time_quality"], other["time_quality"]),
    }


def _upsert(session: Session, hours: Sequence[Row]) -> None:
    if not hours:
        return
    insert = insert_into(session, Hour)
    new: Any = insert.excluded
    set_ = {name: getattr(Hour, name) + new[name] for name in SUMS} | {
        "node": new.node,
        "version": new.version,
        "time_quality": more_doubtful(Hour, new),
    }
    for name, beyond in (
        ("min_bpm", new.min_bpm < col(Hour.min_bpm)),
        ("max_bpm", new.max_bpm > col(Hour.max_bpm)),
    ):
        known = getattr(Hour, name)
        set_[name] = sa.case(
            (sa.or_(known.is_(None), beyond), sa.func.coalesce(new[name], known)), else_=known
        )
    session.connection().execute(
        insert.on_conflict_do_update(index_elements=["patient", "began_ns"], set_=set_), list(hours)
    )


def more_doubtful(table: Any, new: Any) -> Any:
    """SQL: the more doubtful of a stored and a new time quality."""
    return sa.case((new.time_quality > table.time_quality, new.time_quality), else_=table.time_quality)

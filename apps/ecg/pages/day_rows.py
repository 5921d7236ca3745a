"""Tiles and table rows of a patient's day, from the API's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from apps.ecg.cloud import formatting
from apps.ecg.pages.review_desk import strip_href
from common.pages import Column

Json = Mapping[str, Any]
ALARM_COLUMNS = (
    Column("raised", "Raised (UTC)"),
    Column("alarm", "Alarm"),
    Column("priority", "Priority", kind="badge"),
    Column("state", "State", kind="badge"),
    Column("lasting", "Lasted", kind="number"),
    Column("delay", "Delay", kind="number", hint="From the onset of the condition to the alarm"),
    Column("text", "Text"),
    Column("strip", "Strip", kind="link"),
)
STRIP_COLUMNS = (
    Column("began", "From (UTC)"),
    Column("strip", "Strip", kind="link"),
    Column("rhythm", "Rhythm by the edge"),
    Column("beats", "Beats by the edge"),
    Column("verdict", "Review", kind="badge"),
)
EPISODE_COLUMNS = (
    Column("began", "From (UTC)"),
    Column("label", "Rhythm", kind="badge"),
    Column("lasting", "Lasted", kind="number"),
    Column("beats", "Beats", kind="number"),
    Column("rate", "Heart rate", kind="number"),
    Column("version", "Model", kind="code"),
)
INTERVAL_COLUMNS = (
    Column("hour", "Hour"),
    Column("rr", "RR", kind="number"),
    Column("pr", "PR", kind="number"),
    Column("qrs", "QRS", kind="number"),
    Column("qt", "QT", kind="number"),
    Column("bazett", "QTcB", kind="number", hint="QT corrected for heart rate after Bazett"),
    Column("fridericia", "QTcF", kind="number", hint="QT corrected for heart rate after Fridericia"),
)
SIGNAL_COLUMNS = (
    Column("at", "At (UTC)"),
    Column("lead", "Lead"),
    Column("what", "Finding", kind="badge"),
    Column("text", "Reason"),
)


def tiles(patient: Json, day: Json) -> dict[str, tuple[Any, ...]]:
    """Value, note and tone of each tile. The latest state in ``patient`` applies to its own day only."""
    totals, newest = day["totals"], patient["day"] == day["day"]
    rate = formatting.figure(totals["heart_rate_bpm"], "bpm")
    burden = totals["af_burden_percent"]
    beats = totals["beats"]
    opened = patient["open_alarms"] if newest else None
    rhythm = patient["rhythm"] if newest else "unknown"
    episodes = formatting.counted(len(day["episodes"]), "episode")
    share = totals["withheld_s"] / totals["monitored_s"] if totals["monitored_s"] else 0.0
    pauses = formatting.counted(sum(1 for each in day["episodes"] if each["label"] == "pause"), "pause")
    return {
        "Heart rate": (rate, f"mean; {range_of(totals['min_bpm'], totals['max_bpm'])}"),
        "Rhythm": (
            formatting.rhythm(rhythm) if newest else episodes,
            f"now; {episodes}, {pauses}" if newest else pauses,
            formatting.RHYTHM_TONES.get(rhythm, ""),
        ),
        "AF burden": (formatting.percent(burden), "of the good signal", "warn" if burden else ""),
        "Ectopic beats": (
            f"{beats['V'] + beats['S']:,}",
            f"{beats['V']:,} V ({formatting.percent(totals['v_percent'])}), "
            f"{beats['S']:,} S ({formatting.percent(totals['s_percent'])})",
        ),
        "Open alarms": (
            formatting.NONE if opened is None else str(opened),
            f"{len(day['alarms'])} raised on this day",
            "bad" if opened else "",
        ),
        "Signal": (
            formatting.span(totals["monitored_s"]),
            formatting.marked(
                f"{formatting.percent(100 * share)} withheld (bad signal)", totals["time_quality"]
            ),
            "warn" if share > 0.1 else "",
        ),
    }


def range_of(lower: float | None, upper: float | None) -> str:
    """``51 to 132``."""
    return formatting.NONE if lower is None or upper is None else f"{lower:.0f} to {upper:.0f}"


def hrv_summary(windows: Sequence[Json]) -> str:
    """The day's windows in one line."""
    if not windows:
        return "Not measured: needs 5 minutes of good signal with few ectopic beats."
    medians = ", ".join(
        f"{name} {formatting.figure(median_of(windows, key), unit, digits)}"
        for name, key, unit, digits in (
            ("mean NN", "mean_nn_ms", "ms", 0),
            ("SDNN", "sdnn_ms", "ms", 0),
            ("RMSSD", "rmssd_ms", "ms", 0),
            ("pNN50", "pnn50_percent", "%", 1),
            ("LF", "lf_ms2", "ms²", 0),
            ("HF", "hf_ms2", "ms²", 0),
            ("LF/HF", "lf_hf", "", 2),
        )
    )
    return f"Medians of {len(windows)} windows: {medians}."


def median_of(rows: Sequence[Json], key: str) -> float | None:
    """Median of the values under ``key``; None without any."""
    known = [row[key] for row in rows if row[key] is not None]
    return median(known) if known else None


def alarm_row(alarm: Json, strips: Sequence[Json]) -> dict[str, Any]:
    """Row of an alarm, with a link to its strip if that is in ``strips``."""
    raised_ns = alarm["raised_ns"]
    strip = strip_of(alarm, strips)
    return {
        "id": f"{alarm['alarm']}/{raised_ns}",
        "raised": formatting.marked(formatting.clock(raised_ns), alarm["time_quality"]),
        "alarm": formatting.alarm(alarm["alarm"]),
        "priority": alarm["priority"],
        "priority_tone": formatting.PRIORITY_TONES.get(alarm["priority"], ""),
        "state": formatting.STATES.get(alarm["state"], alarm["state"]),
        "state_tone": {"raised": "bad", "latched": "warn"}.get(alarm["state"], ""),
        "lasting": formatting.lasting(raised_ns, alarm["ended_ns"]),
        "delay": formatting.figure(alarm["delay_s"], "s", 1),
        "text": alarm["text"],
        "strip": "Strip" if strip else "",
        "strip_href": strip_href(strip["id"]) if strip else "",
    }


def strip_of(alarm: Json, strips: Sequence[Json]) -> Json | None:
    """The strip of an alarm; None without one."""
    return next(
        (
            strip
            for strip in strips
            if strip["alarm"] == alarm["alarm"]
            and strip["began_ns"] <= alarm["raised_ns"] <= strip["ended_ns"]
        ),
        None,
    )


def episode_row(episode: Json) -> dict[str, Any]:
    """Row of an episode of rhythm."""
    return {
        "id": episode["episode"],
        "began": formatting.marked(formatting.clock(episode["began_ns"]), episode["time_quality"]),
        "label": formatting.rhythm(episode["label"]),
        "label_tone": formatting.RHYTHM_TONES.get(episode["label"], ""),
        "lasting": formatting.lasting(episode["began_ns"], episode["ended_ns"]),
        "beats": f"{episode['beats']:,}",
        "rate": formatting.figure(episode["heart_rate_bpm"], "bpm"),
        "version": episode["version"],
    }


def interval_row(hour: Json) -> dict[str, Any]:
    """Row of the intervals of an hour."""
    return {
        "id": str(hour["began_ns"]),
        "hour": formatting.marked(formatting.clock(hour["began_ns"])[:5], hour["time_quality"]),
        "rr": formatting.figure(hour["rr_ms"], "ms"),
        "pr": formatting.figure(hour["pr_ms"], "ms"),
        "qrs": formatting.figure(hour["qrs_ms"], "ms"),
        "qt": formatting.figure(hour["qt_ms"], "ms"),
        "bazett": formatting.figure(hour["qtc_bazett_ms"], "ms"),
        "fridericia": formatting.figure(hour["qtc_fridericia_ms"], "ms"),
    }


def signal_rows(quality: Sequence[Json], findings: Sequence[Json]) -> list[dict[str, Any]]:
    """Rows of quality changes and findings, newest first."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"{change['lead']}/{change['at_ns']}",
            "at_ns": change["at_ns"],
            "lead": change["lead"],
            "what": "good" if change["good"] else "bad, withheld",
            "what_tone": "good" if change["good"] else "warn",
            "text": ", ".join(reason.replace("_", " ") for reason in change["reasons"]),
            "time_quality": change["time_quality"],
        }
        for change in quality
    ]
    rows += [
        {
            "id": f"{finding['finding']}/{finding['lead']}/{finding['at_ns']}",
            "at_ns": finding["at_ns"],
            "lead": finding["lead"] or formatting.NONE,
            "what": finding["finding"].replace("_", " "),
            "what_tone": "info",
            "text": finding["text"],
            "time_quality": finding["time_quality"],
        }
        for finding in findings
    ]
    rows.sort(key=lambda row: row["at_ns"], reverse=True)
    return [
        row | {"at": formatting.marked(formatting.clock(row["at_ns"]), row.pop("time_quality"))}
        for row in rows
    ]

"""Tables of the report: rows of text, each with a header row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from apps.ecg.cloud import formatting
from apps.ecg.cloud.schemas import Day, EpisodePublic, IntervalsPublic

Rows = list[list[str]]


def summary(day: Day) -> list[tuple[str, list[tuple[str, str]]]]:
    """The day in four groups of names and values; medians of variability, means of intervals."""
    totals, beats = day.totals, day.totals.beats
    withheld = totals.withheld_s / totals.monitored_s * 100 if totals.monitored_s else None
    rate = formatting.figure
    heart = [
        ("Mean", rate(totals.heart_rate_bpm, "bpm")),
        ("Minimum", rate(totals.min_bpm, "bpm")),
        ("Maximum", rate(totals.max_bpm, "bpm")),
        ("Monitored", formatting.span(totals.monitored_s)),
        ("Withheld", f"{formatting.percent(withheld)}: bad signal"),
    ]
    rhythm = [
        ("AF burden", formatting.percent(totals.af_burden_percent)),
        ("AF", _episodes(day, "AF")),
        ("VT", _episodes(day, "VT")),
        ("Pauses", _episodes(day, "pause")),
        ("Tachycardia", _episodes(day, "tachycardia")),
        ("Bradycardia", _episodes(day, "bradycardia")),
    ]
    ectopy = [
        ("Beats", f"{sum(beats.values()):,}"),
        ("Ventricular, V", f"{beats['V']:,} ({formatting.percent(totals.v_percent)})"),
        ("Supraventr., S", f"{beats['S']:,} ({formatting.percent(totals.s_percent)})"),
        ("Fusion, F", f"{beats['F']:,}"),
        ("Unclassifiable, Q", f"{beats['Q']:,}"),
        ("Alarms", f"{len(day.alarms)}"),
    ]
    measured = [
        ("SDNN (5 min)", rate(_median(w.sdnn_ms for w in day.hrv), "ms")),
        ("RMSSD", rate(_median(w.rmssd_ms for w in day.hrv), "ms")),
        ("LF/HF", rate(_median(w.lf_hf for w in day.hrv), "", 2)),
        ("PR, QRS", f"{_mean(day.intervals, 'pr_ms')}, {_mean(day.intervals, 'qrs_ms')}"),
        ("QT", _mean(day.intervals, "qt_ms")),
        (
            "QTcB, QTcF",
            f"{_mean(day.intervals, 'qtc_bazett_ms')}, {_mean(day.intervals, 'qtc_fridericia_ms')}",
        ),
    ]
    return [
        ("Heart rate", heart),
        ("Rhythm", rhythm),
        ("Beats", ectopy),
        ("Variability, intervals", measured),
    ]


def alarms(day: Day) -> Rows:
    """Alarms in order of time."""
    rows = [["Raised", "Alarm", "Priority", "State", "Lasted", "Delay", "Text"]]
    for alarm in day.alarms:
        rows.append(
            [
                formatting.marked(formatting.clock(alarm.raised_ns), alarm.time_quality),
                formatting.alarm(alarm.alarm),
                alarm.priority,
                formatting.STATES.get(alarm.state, alarm.state),
                formatting.lasting(alarm.raised_ns, alarm.ended_ns),
                formatting.figure(alarm.delay_s, "s", 1),
                alarm.text,
            ]
        )
    return rows


def episodes(day: Day) -> Rows:
    """Episodes of rhythm in order of time."""
    rows = [["From", "Rhythm", "Lasted", "Beats", "Heart rate", "Model"]]
    for episode in day.episodes:
        rows.append(
            [
                formatting.marked(formatting.clock(episode.began_ns), episode.time_quality),
                formatting.rhythm(episode.label),
                formatting.lasting(episode.began_ns, episode.ended_ns),
                f"{episode.beats:,}",
                formatting.figure(episode.heart_rate_bpm, "bpm"),
                episode.version,
            ]
        )
    return rows


def hours(day: Day) -> Rows:
    """Rates, burdens and intervals by hour."""
    names = [
        "Hour",
        "Signal",
        "Mean",
        "Min. to max.",
        "AF burden",
        "V",
        "S",
        "PR",
        "QRS",
        "QT",
        "QTcB",
        "QTcF",
    ]
    rows = [names]
    intervals = {each.began_ns: each for each in day.intervals}
    for hour in day.hours:
        found = intervals.get(hour.began_ns)
        measured = ("pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms")
        span = formatting.NONE
        if hour.min_bpm is not None and hour.max_bpm is not None:
            span = f"{hour.min_bpm:.0f} to {hour.max_bpm:.0f} bpm"
        rows.append(
            [
                formatting.marked(formatting.clock(hour.began_ns)[:5], hour.time_quality),
                formatting.span(hour.monitored_s - hour.withheld_s),
                formatting.figure(hour.heart_rate_bpm, "bpm"),
                span,
                formatting.percent(hour.af_burden_percent),
                formatting.percent(hour.v_percent),
                formatting.percent(hour.s_percent),
                *(
                    formatting.figure(getattr(found, name), "ms") if found else formatting.NONE
                    for name in measured
                ),
            ]
        )
    return rows


def signal(day: Day) -> Rows:
    """Quality changes and findings of the signal, in order of time."""
    changes = [
        (
            change.at_ns,
            change.lead,
            "good" if change.good else "bad, withheld",
            ", ".join(change.reasons),
            change.time_quality,
        )
        for change in day.quality
    ]
    changes += [
        (each.at_ns, each.lead or formatting.NONE, each.finding, each.text, each.time_quality)
        for each in day.findings
    ]
    rows = [["At", "Lead", "Finding", "Reason"]]
    for at_ns, lead, what, why, quality in sorted(changes):
        at = formatting.marked(formatting.clock(at_ns), quality)
        rows.append([at, lead, what.replace("_", " "), why.replace("_", " ")])
    return rows


def _episodes(day: Day, label: str) -> str:
    """Number and longest duration of episodes."""
    found = [episode for episode in day.episodes if episode.label == label]
    if not found:
        return "none"
    ended = [(each.ended_ns - each.began_ns) / 1e9 for each in found if each.ended_ns is not None]
    longest = f", longest {formatting.span(max(ended))}" if ended else ""
    ongoing = ", one ongoing" if _is_ongoing(found) else ""
    return f"{len(found)}{longest}{ongoing}"


def _is_ongoing(episodes: Sequence[EpisodePublic]) -> bool:
    return any(episode.ended_ns is None for episode in episodes)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _mean(hours: Sequence[IntervalsPublic], name: str) -> str:
    """Mean over the hours, weighted by beats."""
    found = [(getattr(hour, name), hour.beats) for hour in hours if getattr(hour, name) is not None]
    weight = sum(beats for _, beats in found)
    return formatting.figure(sum(value * beats for value, beats in found) / weight if weight else None, "ms")

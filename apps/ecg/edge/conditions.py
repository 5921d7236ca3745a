"""The table of alarms, how it stands with each of them, and the limits of episodes.

=============================  ========  ==================================================================
``asystole``                   high      no beat for ``asystole_s`` on good signal
``ventricular_tachycardia``    high      an episode of it, however short, on signal that stays good for 4 s
``extreme_tachycardia``        high      heart rate above its limit for ``rate_delay_s``
``extreme_bradycardia``        high      heart rate under its limit for ``rate_delay_s``
``atrial_fibrillation``        medium    an episode of it
``pause``                      medium    no beat for ``pause_alarm_s`` on good signal
``frequent_ventricular_beats`` medium    more than so many in the last minute that the model is sure of
``lead_off``                   low       no lead is connected for ``lead_off_s`` (a technical alarm)
=============================  ========  ==================================================================

What an alarm is about is over only where the signal shows it: a beat after a standstill, `LEAST_BEATS` after
a run, a decision on the rhythm after fibrillation. Signal that is bad, missing or has just come back shows
nothing, and the alarm stays.

With what judging a beat takes (1.2 s) and the half second at which alarms are looked at, each is raised well
within the 10 s that monitors are given for standstill and rate.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from apps.ecg.app import EcgSettings
from apps.ecg.edge.alarms import Condition, Observed
from apps.ecg.edge.episodes import EpisodeLimits

RATE_HYSTERESIS_BPM = 5.0
RUN_DELAY_S = 4.0
"""A run waits so long for what quality says of its signal: an electrode that moves looks like one, and half
of the time it takes quality 4 s to say so."""
LEAST_BEATS = 4
"""Beats on good signal without which a run is not over."""
LEAST_GOOD_SHARE = 0.5
"""Nothing is said of a minute of which less could be judged."""
OF_THE_HEART = (
    "asystole", "ventricular_tachycardia", "extreme_tachycardia", "extreme_bradycardia",
    "atrial_fibrillation", "pause", "frequent_ventricular_beats",
)  # fmt: skip


def episode_limits(settings: EcgSettings, parameters: Mapping[str, Any]) -> EpisodeLimits:
    """From where on an episode is one, by the settings and a bundle's ``parameters``."""
    usual = EpisodeLimits()
    return EpisodeLimits(
        vt_beats=settings.vt_beats,
        vt_bpm=settings.vt_bpm,
        pause_s=settings.pause_s,
        tachycardia_bpm=settings.tachycardia_bpm,
        bradycardia_bpm=settings.bradycardia_bpm,
        af_on=float(parameters.get("af_on", usual.af_on)),
        af_off=float(parameters.get("af_off", usual.af_off)),
    )


def alarm_table(settings: EcgSettings) -> tuple[Condition, ...]:
    """The alarms under these settings."""
    keep, rate_s = settings.latching, settings.rate_delay_s
    return (
        Condition("asystole", "high", 0.0, 0.0, keep, "No beat for {value} s (limit {limit} s)"),
        Condition("ventricular_tachycardia", "high", RUN_DELAY_S, 2.0, keep, "Ventricular run, {value}/min"),
        Condition("extreme_tachycardia", "high", rate_s, 5.0, keep, "Heart rate {value}/min, over {limit}"),
        Condition("extreme_bradycardia", "high", rate_s, 5.0, keep, "Heart rate {value}/min, under {limit}"),
        Condition("atrial_fibrillation", "medium", 0.0, 5.0, False, "Atrial fibrillation, {value}/min"),
        Condition("pause", "medium", 0.0, 0.0, False, "Pause of {value} s (limit {limit} s)"),
        Condition(
            "frequent_ventricular_beats", "medium", 0.0, 30.0, False,
            "{value} ventricular beats in a minute (limit {limit})",
        ),
        Condition("lead_off", "low", settings.lead_off_s, 2.0, False, "No lead is connected"),
    )  # fmt: skip


class Standing(NamedTuple):
    """How a patient is, as far as the beats that are known say. ``silent_s`` is since the last beat."""

    withheld: bool
    lead_off: bool
    silent_s: float
    heart_rate_bpm: float | None
    episodes: Container[str]
    ventricular_beats: int
    good_share: float
    """Of the last minute: how much of it could be judged."""
    beats_seen: int
    """Since the signal has been good."""
    rhythm_decided: bool


def observe(standing: Standing, settings: EcgSettings, raised: Container[str]) -> list[Observed]:
    """How it stands with each alarm; nothing but ``lead_off`` is known while the signal is withheld."""
    lead_off = Observed("lead_off", standing.lead_off)
    if standing.withheld:
        return [*(Observed(name, None) for name in OF_THE_HEART), lead_off]
    bpm = None if standing.heart_rate_bpm is None else round(standing.heart_rate_bpm, 1)
    silent_s = round(standing.silent_s, 1)
    fast, slow = settings.extreme_tachycardia_bpm, settings.extreme_bradycardia_bpm
    fast_end = fast - RATE_HYSTERESIS_BPM * ("extreme_tachycardia" in raised)
    slow_end = slow + RATE_HYSTERESIS_BPM * ("extreme_bradycardia" in raised)
    most = settings.ventricular_beats_per_minute
    count = standing.ventricular_beats
    many = count > most if standing.good_share >= LEAST_GOOD_SHARE else None

    def seen(present: bool, enough: bool) -> bool | None:
        return True if present else False if enough else None

    beat = standing.beats_seen > 0
    still = seen(standing.silent_s >= settings.asystole_s, beat)
    paused = seen(standing.silent_s >= settings.pause_alarm_s, beat)
    run = seen("VT" in standing.episodes, standing.beats_seen >= LEAST_BEATS)
    fibrillates = seen("AF" in standing.episodes, standing.rhythm_decided)
    return [
        Observed("asystole", still, silent_s, settings.asystole_s),
        Observed("ventricular_tachycardia", run, bpm, settings.vt_bpm),
        Observed("extreme_tachycardia", None if bpm is None else bpm > fast_end, bpm, fast),
        Observed("extreme_bradycardia", None if bpm is None else bpm < slow_end, bpm, slow),
        Observed("atrial_fibrillation", fibrillates, bpm),
        Observed("pause", paused, silent_s, settings.pause_alarm_s),
        Observed("frequent_ventricular_beats", many, float(count), float(most)),
        lead_off,
    ]

"""Table of alarms, their conditions, and the limits of episodes.

=============================  ========  ==================================================================
``asystole``                   high      no beat for ``asystole_s`` on good signal
``ventricular_tachycardia``    high      an episode of any length, on signal that stays good for 4 s
``extreme_tachycardia``        high      heart rate above its limit for ``rate_delay_s``
``extreme_bradycardia``        high      heart rate below its limit for ``rate_delay_s``
``atrial_fibrillation``        medium    an episode of it
``pause``                      medium    no beat for ``pause_alarm_s`` on good signal
``frequent_ventricular_beats`` medium    more than the limit in the last minute, of probability `SURE_P`
``lead_off``                   low       no lead is connected for ``lead_off_s`` (a technical alarm)
=============================  ========  ==================================================================

An alarm ends only on evidence in the signal: a beat after asystole, `MIN_BEATS` after a run, a rhythm
decision after fibrillation. Bad, missing or just returned signal is no evidence, and the alarm stays.

With the delay of a beat's classification (1.2 s) and the alarm interval (0.5 s), each is raised well within
the 10 s that the standard grants for asystole and rate.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from apps.ecg.app import EcgSettings
from apps.ecg.edge.alarms import Condition, Observed
from apps.ecg.edge.episodes import EpisodeLimits

RATE_HYSTERESIS_BPM = 5.0
RUN_DELAY_S = 4.0
"""Delay of the VT alarm for signal quality: a moving electrode resembles a run, and quality takes up to 4 s
to detect it in half of the cases."""
MIN_BEATS = 4
"""Minimum number of beats on good signal that end a run."""
MIN_GOOD_SHARE = 0.5
"""Minimum share of good signal in a minute for a statement on it."""
HEART_ALARMS = (
    "asystole", "ventricular_tachycardia", "extreme_tachycardia", "extreme_bradycardia",
    "atrial_fibrillation", "pause", "frequent_ventricular_beats",
)  # fmt: skip


def episode_limits(settings: EcgSettings, parameters: Mapping[str, Any]) -> EpisodeLimits:
    """Limits of episodes, by the settings and a bundle's ``parameters``."""
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


class PatientState(NamedTuple):
    """State of a patient by the known beats. ``silent_s`` is the time since the last beat."""

    withheld: bool
    lead_off: bool
    silent_s: float
    heart_rate_bpm: float | None
    episodes: Container[str]
    ventricular_beats: int
    good_share: float
    """Share of good signal in the last minute."""
    beats_seen: int
    """Number of beats since the signal has been good."""
    rhythm_decided: bool


def observe(state: PatientState, settings: EcgSettings, raised: Container[str]) -> list[Observed]:
    """Conditions of all alarms; only ``lead_off`` is known while the signal is withheld."""
    lead_off = Observed("lead_off", state.lead_off)
    if state.withheld:
        return [*(Observed(name, None) for name in HEART_ALARMS), lead_off]
    bpm = None if state.heart_rate_bpm is None else round(state.heart_rate_bpm, 1)
    silent_s = round(state.silent_s, 1)
    fast, slow = settings.extreme_tachycardia_bpm, settings.extreme_bradycardia_bpm
    fast_end = fast - RATE_HYSTERESIS_BPM * ("extreme_tachycardia" in raised)
    slow_end = slow + RATE_HYSTERESIS_BPM * ("extreme_bradycardia" in raised)
    limit = settings.ventricular_beats_per_minute
    count = state.ventricular_beats
    many = count > limit if state.good_share >= MIN_GOOD_SHARE else None

    def known(present: bool, enough: bool) -> bool | None:
        return True if present else False if enough else None

    beat = state.beats_seen > 0
    still = known(state.silent_s >= settings.asystole_s, beat)
    paused = known(state.silent_s >= settings.pause_alarm_s, beat)
    run = known("VT" in state.episodes, state.beats_seen >= MIN_BEATS)
    fibrillates = known("AF" in state.episodes, state.rhythm_decided)
    return [
        Observed("asystole", still, silent_s, settings.asystole_s),
        Observed("ventricular_tachycardia", run, bpm, settings.vt_bpm),
        Observed("extreme_tachycardia", None if bpm is None else bpm > fast_end, bpm, fast),
        Observed("extreme_bradycardia", None if bpm is None else bpm < slow_end, bpm, slow),
        Observed("atrial_fibrillation", fibrillates, bpm),
        Observed("pause", paused, silent_s, settings.pause_alarm_s),
        Observed("frequent_ventricular_beats", many, float(count), float(limit)),
        lead_off,
    ]

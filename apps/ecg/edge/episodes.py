"""Episodes of rhythm, from a stream of beats.

====================  ================================================================================
``VT``                ``vt_beats`` ventricular beats in a row at ``vt_bpm`` or more, whose mean probability is
                      `SURE_P`; ends when two of the last four beats are not ventricular
``pause``             no beat for ``pause_s`` while the signal is good; ends with the next beat
``tachycardia``       the heart rate beyond its limit for ``rate_confirm_s``; ends when it is
``bradycardia``       `RATE_HYSTERESIS_BPM` within the limit for the same time
``AF``                a probability of atrial fibrillation from ``af_on`` in `AF_CONFIRM` consecutive
                      decisions; ends when it is below ``af_off`` in as many
====================  ================================================================================

Times are sample numbers. Bad signal (`Episodes.withhold`) ends runs and pauses, as their end is not
observable, and restarts all counts; the slower episodes last until beats end them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Label = Literal["VT", "pause", "AF", "tachycardia", "bradycardia"]
LABELS: tuple[Label, ...] = ("VT", "pause", "AF", "tachycardia", "bradycardia")
"""In order of precedence."""

RATE_BEATS = 8
"""Intervals of the heart rate: their mean without the shortest and the longest."""
RATE_HYSTERESIS_BPM = 5.0
AF_CONFIRM = 2
SURE_P = 0.7
"""Minimum probability of ventricular beats for a run, and for the count of a minute; false ones by noise have
lower probabilities."""
MEMORY_BEATS = 64
"""Number of kept beat times, to count those of an episode before it was known."""
MEMORY_EPISODES = 64
"""Number of kept ended episodes; more than fit into 30 s."""


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """Limits of episodes."""

    vt_beats: int = 3
    vt_bpm: float = 100.0
    pause_s: float = 2.0
    tachycardia_bpm: float = 120.0
    bradycardia_bpm: float = 45.0
    rate_confirm_s: float = 10.0
    af_on: float = 0.6
    af_off: float = 0.4


@dataclass(frozen=True, slots=True)
class EpisodeChange:
    """An episode began (``ended`` is None) or ended."""

    label: Label
    began: int
    ended: int | None
    beats: int
    heart_rate_bpm: float | None


@dataclass(slots=True)
class _Open:
    """An ongoing episode."""

    began: int
    beats: int
    first: int
    last: int


class VentricularRun:
    """The newest ventricular beats in a row."""

    def __init__(self, rate_hz: float, limits: EpisodeLimits) -> None:
        self._rate_hz = rate_hz
        self._limits = limits
        self._beats: list[tuple[int, float]] = []
        self._others: deque[bool] = deque(maxlen=4)

    @property
    def last(self) -> int:
        """Sample of the last ventricular beat."""
        return self._beats[-1][0]

    def add(self, sample: int, kind: str, probability: float, ongoing: bool) -> int | None:
        """Add a beat; the first sample of a run of tachycardia that it completes."""
        self._others.append(kind != "V")
        if kind != "V":
            return None
        self._beats.append((sample, probability))
        del self._beats[: -self._limits.vt_beats]
        if len(self._beats) < self._limits.vt_beats or ongoing:
            return None
        samples, sure = zip(*self._beats, strict=True)
        spanned_s = (samples[-1] - samples[0]) / self._rate_hz
        if 60 * (len(samples) - 1) < self._limits.vt_bpm * spanned_s or sum(sure) / len(sure) < SURE_P:
            return None
        self._others.clear()
        return samples[0]

    def is_interrupted(self, ongoing: bool) -> bool:
        """Whether the last beat ends the run; in an ongoing tachycardia, two of the last four must."""
        return self._others[-1] and (not ongoing or sum(self._others) >= 2)

    def clear(self) -> None:
        """Begin a new run."""
        self._beats.clear()

    def forget(self) -> None:
        """Forget all beats."""
        self._beats.clear()
        self._others.clear()

    def snapshot(self) -> list[list[Any]]:
        """The state, for `restore`."""
        return [[list(each) for each in self._beats], list(self._others)]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over a state of `snapshot`."""
        beats, others = state
        self._beats = [(int(sample), float(p)) for sample, p in beats]
        self._others = deque(others, maxlen=4)


class Episodes:
    """The episodes of one patient."""

    def __init__(self, rate_hz: float, limits: EpisodeLimits) -> None:
        self._rate_hz = rate_hz
        self._limits = limits
        self._open: dict[Label, _Open] = {}
        self._over: deque[tuple[Label, int, int]] = deque(maxlen=MEMORY_EPISODES)
        self._recent: deque[int] = deque(maxlen=MEMORY_BEATS)
        self._rr_s: deque[float] = deque(maxlen=RATE_BEATS)
        self._bpm: float | None = None
        self._last: int | None = None
        self._run = VentricularRun(rate_hz, limits)
        self._beyond: dict[Label, int] = {}
        self._within: dict[Label, int] = {}
        self._af_count = 0
        self._af_began = 0
        self._seen = 0
        self._decisions = 0

    @property
    def going_on(self) -> tuple[Label, ...]:
        """Labels of ongoing episodes."""
        return tuple([label for label in LABELS if label in self._open]) if self._open else ()

    def during(self, begin: int, end: int) -> tuple[Label, ...]:
        """Labels of the known episodes that overlap two samples."""
        found = {label for label, began, ended in self._over if began < end and ended >= begin}
        found |= {label for label, episode in self._open.items() if episode.began < end}
        return tuple(label for label in LABELS if label in found)

    @property
    def last_beat(self) -> int | None:
        """The last beat since the signal has been good; None before the first."""
        return self._last

    @property
    def heart_rate_bpm(self) -> float | None:
        """Of the last beats; None for fewer than three intervals."""
        return self._bpm

    @property
    def beats_seen(self) -> int:
        """Number of beats since the signal has been good, evidence for the end of alarms."""
        return self._seen

    @property
    def rhythm_decided(self) -> bool:
        """Whether there were enough decisions to detect atrial fibrillation."""
        return self._decisions >= AF_CONFIRM

    def beat(self, sample: int, kind: str, probability: float = 1.0) -> list[EpisodeChange]:
        """Add the next beat on good signal; ``kind`` is its AAMI class, of ``probability``."""
        changes: list[EpisodeChange] = []
        if "pause" in self._open:
            changes.append(self._end("pause", sample))
        if self._last is not None:
            self._rr_s.append((sample - self._last) / self._rate_hz)
            self._bpm = _rate_bpm(self._rr_s)
        self._last = sample
        self._seen += 1
        self._recent.append(sample)
        for episode in self._open.values():
            episode.beats, episode.last = episode.beats + 1, sample
        changes += self._ventricular(sample, kind, probability)
        changes += self._rates(sample)
        return changes

    def rhythm(self, began: int, at: int, probability: float) -> list[EpisodeChange]:
        """Add a decision on atrial fibrillation over ``began`` to ``at``."""
        limits, going_on = self._limits, "AF" in self._open
        self._decisions += 1
        changes = probability < limits.af_off if going_on else probability >= limits.af_on
        if not changes:
            self._af_count = 0
            return []
        if not self._af_count:
            self._af_began = at if going_on else began
        self._af_count += 1
        if self._af_count < AF_CONFIRM:
            return []
        self._af_count = 0
        return [self._end("AF", self._af_began) if going_on else self._begin("AF", self._af_began)]

    def wait(self, known_to: int) -> list[EpisodeChange]:
        """Detect a pause: all beats up to ``known_to`` have been added."""
        silent_s = 0.0 if self._last is None else (known_to - self._last) / self._rate_hz
        if silent_s < self._limits.pause_s or "pause" in self._open or self._last is None:
            return []
        changes = [self._end("VT", self._run.last)] if "VT" in self._open else []
        self._run.clear()
        return [*changes, self._begin("pause", self._last)]

    def withhold(self, at: int) -> list[EpisodeChange]:
        """The signal is bad from ``at`` on, until the next beat."""
        changes = [
            self._end(label, self._run.last if label == "VT" else at)
            for label in ("VT", "pause")
            if label in self._open
        ]
        self._last = None
        self._seen = 0
        self._run.forget()
        self._rr_s.clear()
        self._bpm = None
        self._beyond.clear()
        self._within.clear()
        self._af_count = 0
        return changes

    def close(self, at: int) -> list[EpisodeChange]:
        """End all episodes, at the end of the stream."""
        return [self._end(label, at) for label in self.going_on]

    # ------------------------------------------------------------------------------------------ private

    def _ventricular(self, sample: int, kind: str, probability: float) -> list[EpisodeChange]:
        ongoing = "VT" in self._open
        began = self._run.add(sample, kind, probability, ongoing)
        if began is not None:
            return [self._begin("VT", began)]
        if not self._run.is_interrupted(ongoing):
            return []
        changes = [self._end("VT", self._run.last)] if ongoing else []
        self._run.clear()
        return changes

    def _rates(self, sample: int) -> list[EpisodeChange]:
        bpm, limits = self._bpm, self._limits
        if bpm is None or len(self._rr_s) < RATE_BEATS:
            return []
        fast, slow = limits.tachycardia_bpm, limits.bradycardia_bpm
        return [
            *self._rate("tachycardia", sample, bpm > fast, bpm < fast - RATE_HYSTERESIS_BPM),
            *self._rate("bradycardia", sample, bpm < slow, bpm > slow + RATE_HYSTERESIS_BPM),
        ]

    def _rate(self, label: Label, sample: int, beyond: bool, within: bool) -> list[EpisodeChange]:
        going_on = label in self._open
        since = self._within if going_on else self._beyond
        if not (within if going_on else beyond):
            since.pop(label, None)
            return []
        first = since.setdefault(label, sample)
        if sample - first < self._limits.rate_confirm_s * self._rate_hz:
            return []
        del since[label]
        return [self._end(label, first) if going_on else self._begin(label, first)]

    def _begin(self, label: Label, began: int) -> EpisodeChange:
        inside = [sample for sample in self._recent if sample >= began]
        first, last = (inside[0], inside[-1]) if inside else (began, began)
        self._open[label] = _Open(began, len(inside), first, last)
        return self._change(label, self._open[label], None)

    def _end(self, label: Label, ended: int) -> EpisodeChange:
        episode = self._open.pop(label)
        self._over.append((label, episode.began, ended))
        return self._change(label, episode, ended)

    def _change(self, label: Label, episode: _Open, ended: int | None) -> EpisodeChange:
        spanned = episode.last - episode.first
        bpm = 60 * self._rate_hz * (episode.beats - 1) / spanned if spanned > 0 else None
        return EpisodeChange(label, episode.began, ended, episode.beats, bpm)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "open": {label: [o.began, o.beats, o.first, o.last] for label, o in self._open.items()},
            "over": [list(each) for each in self._over],
            "recent": list(self._recent),
            "rr_s": list(self._rr_s),
            "last": self._last,
            "run": self._run.snapshot(),
            "beyond": dict(self._beyond),
            "within": dict(self._within),
            "af": [self._af_count, self._af_began],
            "seen": [self._seen, self._decisions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._open = {label: _Open(*state["open"][label]) for label in LABELS if label in state["open"]}
        self._over = deque(((label, b, e) for label, b, e in state["over"]), maxlen=MEMORY_EPISODES)
        self._recent = deque(state["recent"], maxlen=MEMORY_BEATS)
        self._rr_s = deque(state["rr_s"], maxlen=RATE_BEATS)
        self._bpm = _rate_bpm(self._rr_s)
        self._last = state["last"]
        self._run.restore(state["run"])
        self._beyond = dict(state["beyond"])
        self._within = dict(state["within"])
        self._af_count, self._af_began = state["af"]
        self._seen, self._decisions = state.get("seen", (0, 0))


def _rate_bpm(rr_s: Collection[float]) -> float | None:
    if len(rr_s) < 3:
        return None
    chosen = sorted(rr_s)[1:-1]
    return 60 * len(chosen) / sum(chosen)

"""Episodes of rhythm, from beats as they become known.

====================  ================================================================================
``VT``                ``vt_beats`` ventricular beats in a row at ``vt_bpm`` or more, whose mean probability is
                      `SURE_P`; over when two of the last four beats are not ventricular
``pause``             no beat for ``pause_s`` while the signal is good; over with the next beat
``tachycardia``       the heart rate over its limit for ``rate_confirm_s``; over when it is
``bradycardia``       `RATE_HYSTERESIS_BPM` inside the limit again for as long
``AF``                the probability of atrial fibrillation over ``af_on`` in `AF_CONFIRM` decisions in
                      a row; over when it is under ``af_off`` in as many
====================  ================================================================================

Times are sample numbers. Bad signal (`Episodes.withhold`) ends runs and pauses, for it hides what comes next,
and starts counting anew; the slower episodes go on until beats speak against them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Label = Literal["VT", "pause", "AF", "tachycardia", "bradycardia"]
LABELS: tuple[Label, ...] = ("VT", "pause", "AF", "tachycardia", "bradycardia")
"""In the order of what is told where several are present."""

RATE_BEATS = 8
"""Intervals of which the heart rate is the mean, without the shortest and the longest."""
RATE_HYSTERESIS_BPM = 5.0
AF_CONFIRM = 2
SURE_P = 0.7
"""Ventricular beats are a run, or count in their minute, from this probability on. Noise makes beats that are
called ventricular with less."""
MEMORY_BEATS = 64
"""Beats whose times are kept, to count those of an episode that began before it was known."""
MEMORY_EPISODES = 64
"""Episodes that are over and whose times are kept, more than fit into a strip of 30 s."""


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """From where on an episode is one."""

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
    """An episode began (``ended`` is None) or is over."""

    label: Label
    began: int
    ended: int | None
    beats: int
    heart_rate_bpm: float | None


@dataclass(slots=True)
class _Open:
    """An episode that is going on."""

    began: int
    beats: int
    first: int
    last: int


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
        self._run: list[tuple[int, float]] = []
        self._others: deque[bool] = deque(maxlen=4)
        self._beyond: dict[Label, int] = {}
        self._within: dict[Label, int] = {}
        self._af_count = 0
        self._af_began = 0
        self._seen = 0
        self._decisions = 0

    @property
    def going_on(self) -> tuple[Label, ...]:
        """Labels of the episodes that are going on."""
        return tuple([label for label in LABELS if label in self._open]) if self._open else ()

    def during(self, begin: int, end: int) -> tuple[Label, ...]:
        """Labels of the episodes that took place between two samples, as far as they are known now."""
        found = {label for label, began, ended in self._over if began < end and ended >= begin}
        found |= {label for label, episode in self._open.items() if episode.began < end}
        return tuple(label for label in LABELS if label in found)

    @property
    def last_beat(self) -> int | None:
        """The last beat since when the signal has been good; None before it."""
        return self._last

    @property
    def heart_rate_bpm(self) -> float | None:
        """Of the last beats; None before there are three intervals."""
        return self._bpm

    @property
    def beats_seen(self) -> int:
        """Beats since the signal has been good: without some of them nothing is over."""
        return self._seen

    @property
    def rhythm_decided(self) -> bool:
        """Whether atrial fibrillation would have been found by now."""
        return self._decisions >= AF_CONFIRM

    def beat(self, sample: int, kind: str, probability: float = 1.0) -> list[EpisodeChange]:
        """Take in the next beat on good signal; ``kind`` is its AAMI class, of ``probability``."""
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
        """Take in a decision on atrial fibrillation over ``began`` to ``at``."""
        limits, going_on = self._limits, "AF" in self._open
        self._decisions += 1
        against = probability < limits.af_off if going_on else probability >= limits.af_on
        if not against:
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
        """Take in that all beats up to ``known_to`` have been given."""
        silent_s = 0.0 if self._last is None else (known_to - self._last) / self._rate_hz
        if silent_s < self._limits.pause_s or "pause" in self._open or self._last is None:
            return []
        changes = [self._end("VT", self._run[-1][0])] if "VT" in self._open else []
        self._run.clear()
        return [*changes, self._begin("pause", self._last)]

    def withhold(self, at: int) -> list[EpisodeChange]:
        """The signal cannot be judged from ``at`` on, until the next beat."""
        changes = [
            self._end(label, self._run[-1][0] if label == "VT" else at)
            for label in ("VT", "pause")
            if label in self._open
        ]
        self._last = None
        self._seen = 0
        self._run.clear()
        self._rr_s.clear()
        self._bpm = None
        self._beyond.clear()
        self._within.clear()
        self._others.clear()
        self._af_count = 0
        return changes

    def close(self, at: int) -> list[EpisodeChange]:
        """End all episodes: the stream is over, or begins anew."""
        return [self._end(label, at) for label in self.going_on]

    # ------------------------------------------------------------------------------------------ private

    def _ventricular(self, sample: int, kind: str, probability: float) -> list[EpisodeChange]:
        self._others.append(kind != "V")
        if kind != "V":
            if "VT" in self._open and sum(self._others) < 2:
                return []
            changes = [self._end("VT", self._run[-1][0])] if "VT" in self._open else []
            self._run.clear()
            return changes
        self._run.append((sample, probability))
        del self._run[: -self._limits.vt_beats]
        if len(self._run) < self._limits.vt_beats or "VT" in self._open:
            return []
        samples, sure = zip(*self._run, strict=True)
        spanned_s = (samples[-1] - samples[0]) / self._rate_hz
        if 60 * (len(samples) - 1) < self._limits.vt_bpm * spanned_s or sum(sure) / len(sure) < SURE_P:
            return []
        self._others.clear()
        return [self._begin("VT", samples[0])]

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
            "run": [list(each) for each in self._run],
            "others": list(self._others),
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
        self._run = [(int(sample), float(p)) for sample, p in state["run"]]
        self._others = deque(state["others"], maxlen=4)
        self._beyond = dict(state["beyond"])
        self._within = dict(state["within"])
        self._af_count, self._af_began = state["af"]
        self._seen, self._decisions = state.get("seen", (0, 0))


def _rate_bpm(rr_s: Collection[float]) -> float | None:
    if len(rr_s) < 3:
        return None
    chosen = sorted(rr_s)[1:-1]
    return 60 * len(chosen) / sum(chosen)

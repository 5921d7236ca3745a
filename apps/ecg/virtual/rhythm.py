"""Rhythm of the virtual heart: episodes, and their beats.

Rhythm is layers of episodes: the base rhythm, episodes drawn at random, scheduled ones, injected ones; at
any time the topmost counts. Each episode has its own beats, made in blocks of about a minute from (seed,
episode, block) alone, so any time of a long recording is computed without its past, and no
state is kept.

In sinus rhythm RR follows the rate, with variability in the LF and HF bands of the Task Force (1996) and a
slow drift. A ventricular ectopic beat comes early and leaves the sinus node alone, so the pause behind it
compensates fully; an atrial one resets the node. RR in AF is drawn independently, log-normal and not below
the refractory 0.3 s.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.ecg.virtual.traits import Traits, slow_fibrillation
from apps.ecg.virtual.waves import ABERRANT, ATRIAL, FIBRILLATING, FUSION, NORMAL, VENTRICULAR

RHYTHMS = ("sinus", "AF", "VT", "pause", "bradycardia", "tachycardia", "PVC", "PAC", "PAC_runs", "slow_AF")
"""Rhythms of episodes. ``PVC`` and ``PAC`` are sinus rhythm with every fifth beat ectopic; in ``PAC_runs``
atrial ectopic beats come in runs of 1 to 16 between a few sinus beats, and the sinus node is slow to take
over again; ``slow_AF`` is AF under drugs, with the ventricles slow and nearly regular."""
FIBRILLATION = ("AF", "slow_AF")

KINDS = "NSVFQ"
"""AAMI classes of beats; no virtual beat is Q."""

_MEAN_LENGTH_S = {
    "AF": 600.0, "VT": 6.0, "pause": 4.0, "bradycardia": 120.0, "tachycardia": 180.0, "PVC": 60.0,
    "PAC": 60.0, "PAC_runs": 300.0, "slow_AF": 600.0,
}  # fmt: skip
_TRUTH_NAMES = {"PVC": "sinus", "PAC": "sinus", "PAC_runs": "sinus", "slow_AF": "AF"}
"""Rhythms with another name in the ground truth."""
_HOUR_S, _BLOCK_S = 3600.0, 60.0
_ECTOPIC_SHARE, _FUSION_SHARE = 0.2, 0.06
_LONGEST_RUN = 16
_SHORTEST_RR_S = 0.3
_MARGIN_S = 4.0
"""Distance from a change of rhythm within which beats may depend on it."""
_LETTERS = np.array([0, 1, 2, 3, 0, 0])
"""Index in `KINDS` by shape: conducted beats of AF are N, also wide ones."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A rhythm from ``began_s`` until before ``ended_s``, in seconds of the recording."""

    rhythm: str
    began_s: float
    ended_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Span:
    """The true rhythm of a time span."""

    rhythm: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Beats:
    """Beats in order: R peaks in seconds, shapes (of `apps.ecg.virtual.waves`), and RR for QT to follow."""

    time_s: NDArray[np.float64]
    shape: NDArray[np.intp]
    rr_s: NDArray[np.float64]

    @property
    def kind(self) -> NDArray[np.intp]:
        """Index in `KINDS` of each beat."""
        return _LETTERS[self.shape]

    def within(self, began_s: float, ended_s: float) -> Beats:
        """Those at ``began_s`` or later and before ``ended_s``."""
        part = slice(*np.searchsorted(self.time_s, (began_s, ended_s)))
        return Beats(self.time_s[part], self.shape[part], self.rr_s[part])


@dataclass(frozen=True, slots=True)
class Heart:
    """A patient's heart: all parameters of its beats."""

    seed: int
    traits: Traits
    rhythm: str = "sinus"
    pvc_share: float = 0.0
    pac_share: float = 0.0
    scheduled: tuple[Episode, ...] = ()
    burden: tuple[tuple[str, float], ...] = ()
    """Share of time by rhythm in episodes drawn at random (about: later rhythms cover earlier ones)."""
    injected: Path | None = None
    """A file with lines ``SECOND RHYTHM [SECONDS]``: an episode from that second on."""

    def spans(self, began_s: float, ended_s: float) -> Iterator[Span]:
        """The rhythm between two times, in order and without a gap, as `_TRUTH_NAMES` calls it."""
        held: Span | None = None
        for hour in range(int(began_s // _HOUR_S), math.ceil(ended_s / _HOUR_S)):
            first, last = max(began_s, hour * _HOUR_S), min(ended_s, (hour + 1) * _HOUR_S)
            for episode, start, end in self._layers(first, last):
                true = _TRUTH_NAMES.get(episode.rhythm, episode.rhythm)
                if held is not None and true == held.rhythm:
                    held = Span(true, held.began_s, end)
                    continue
                if held is not None:
                    yield held
                held = Span(true, start, end)
        if held is not None:
            yield held

    def beats(self, began_s: float, ended_s: float) -> Beats:
        """The beats between two times."""
        parts, changed = [], False
        for episode, start, end in self._layers(max(0.0, began_s - _MARGIN_S), ended_s + _MARGIN_S):
            parts.append(self._part(episode, start, end, changed))
            changed = True
        beats = Beats(
            np.concatenate([part.time_s for part in parts]),
            np.concatenate([part.shape for part in parts]),
            np.concatenate([part.rr_s for part in parts]),
        )
        return beats.within(began_s, ended_s)

    def fibrillating(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Strength of atrial fibrillation at ``time_s`` ``(n,)``: 0 to 1, with ramps of 0.2 s."""
        strength = np.zeros(len(time_s))
        known = {self.rhythm, *(e.rhythm for e in self.scheduled), *(rhythm for rhythm, _ in self.burden)}
        if known.isdisjoint(FIBRILLATION) and self.injected is None:
            return strength
        for episode, start, end in self._layers(max(0.0, time_s[0] - _MARGIN_S), time_s[-1] + _MARGIN_S):
            if episode.rhythm in FIBRILLATION:
                strength += np.clip((time_s - start) / 0.2, 0, 1) * np.clip((end - time_s) / 0.2, 0, 1)
        return strength

    def _part(self, episode: Episode, start: float, end: float, changed: bool) -> Beats:
        """The beats of ``episode`` while it is on top.

        A change of rhythm is at a beat of the new one. Beats of the old one too close before it, and of an
        episode that reappears too close behind it, are left out.
        """
        beats = _episode_beats(self, episode, start, end)
        mean_rr = float(np.mean(beats.rr_s)) if len(beats.rr_s) else 1.0
        last = end - 0.4 * mean_rr if end < episode.ended_s else end
        if not changed or start == episode.began_s:
            return beats.within(start, last)
        rest = beats.within(start + 0.6 * mean_rr, last)
        shape = VENTRICULAR if episode.rhythm == "VT" else NORMAL
        if episode.rhythm in FIBRILLATION:
            shape = FIBRILLATING
        return Beats(
            np.concatenate([[start], rest.time_s]),
            np.concatenate([[shape], rest.shape]).astype(np.intp),
            np.concatenate([[mean_rr], rest.rr_s]),
        )

    def _layers(self, began_s: float, ended_s: float) -> list[tuple[Episode, float, float]]:
        """The topmost episodes between two times, each with its span."""
        layers = [Episode(self.rhythm, 0.0)]
        for hour in range(int(began_s // _HOUR_S), int(ended_s // _HOUR_S) + 1):
            layers += _random_episodes(self.seed, self.burden, hour)
        layers += [*self.scheduled, *self._injected()]
        layers = [e for e in layers if e.began_s < ended_s and e.ended_s > began_s]
        edges = {began_s, ended_s}
        edges |= {edge for e in layers for edge in (e.began_s, e.ended_s) if began_s < edge < ended_s}
        cuts = sorted(edges)
        found: list[tuple[Episode, float, float]] = []
        for start, end in itertools.pairwise(cuts):
            top = next(e for e in reversed(layers) if e.began_s <= start and e.ended_s >= end)
            if found and found[-1][0] == top:
                found[-1] = (top, found[-1][1], end)
            else:
                found.append((top, start, end))
        return found

    def _injected(self) -> list[Episode]:
        if self.injected is None or not self.injected.is_file():
            return []
        episodes = []
        for line in self.injected.read_text("utf-8").splitlines():
            words = line.split()
            if len(words) in (2, 3) and words[1] in RHYTHMS:
                try:
                    began_s, length_s = float(words[0]), float(words[2]) if len(words) == 3 else math.inf
                except ValueError:
                    continue
                if began_s >= 0 and length_s > 0:
                    episodes.append(Episode(words[1], began_s, began_s + length_s))
        return episodes


@lru_cache(maxsize=8)
def _random_episodes(seed: int, burden: tuple[tuple[str, float], ...], hour: int) -> list[Episode]:
    episodes = []
    for rhythm, share in burden:
        random = np.random.default_rng([seed, zlib.crc32(rhythm.encode()), hour])
        mean_s = _MEAN_LENGTH_S[rhythm]
        for _ in range(random.poisson(share * _HOUR_S / mean_s)):
            length_s = mean_s * random.uniform(0.5, 1.5)
            began_s = hour * _HOUR_S + random.uniform(0.0, _HOUR_S - length_s)
            episodes.append(Episode(rhythm, round(began_s, 3), round(began_s + length_s, 3)))
    return episodes


def _episode_beats(heart: Heart, episode: Episode, start: float, end: float) -> Beats:
    """The beats of ``episode`` between two times, from the blocks that hold them."""
    length_s = _BLOCK_S
    if episode.rhythm == "pause" or episode.ended_s - episode.began_s < 1.5 * _BLOCK_S:
        length_s = episode.ended_s - episode.began_s
    elif episode.ended_s < math.inf:
        whole_s = episode.ended_s - episode.began_s
        length_s = whole_s / round(whole_s / _BLOCK_S)
    first = int((start - episode.began_s) // length_s) if length_s < math.inf else 0
    last = math.ceil((end - episode.began_s) / length_s) if length_s < math.inf else 1
    blocks = [
        _block(heart.seed, heart.traits, episode.rhythm, heart.pvc_share, heart.pac_share,
               round(episode.began_s + k * length_s, 6), length_s)
        for k in range(first, max(last, first + 1))
    ]  # fmt: skip
    return Beats(
        np.concatenate([block.time_s for block in blocks]),
        np.concatenate([block.shape for block in blocks]),
        np.concatenate([block.rr_s for block in blocks]),
    )


@lru_cache(maxsize=64)
def _block(
    seed: int, traits: Traits, rhythm: str, pvc: float, pac: float, began_s: float, length_s: float
) -> Beats:
    """Beats from ``began_s`` on whose last RR ends with the block."""
    random = np.random.default_rng([seed, zlib.crc32(rhythm.encode()), round(began_s * 1000)])
    if rhythm == "pause":
        return Beats(np.array([began_s]), np.array([NORMAL]), np.ones(1))
    if rhythm in FIBRILLATION:
        slowed = slow_fibrillation(traits) if rhythm == "slow_AF" else traits
        rr, shape = _af(random, slowed, pvc, began_s, length_s)
    elif rhythm == "VT":
        rr = _fitted(
            60.0 / traits.vt_bpm * (1 + 0.02 * random.standard_normal(_max_beats(length_s, 0.25))), length_s
        )
        shape = np.full(len(rr), VENTRICULAR)
    else:
        rr = _sinus(random, traits, rhythm, began_s, length_s)
        share = (_ECTOPIC_SHARE if rhythm == "PVC" else pvc, _ECTOPIC_SHARE if rhythm == "PAC" else pac)
        if rhythm == "PAC_runs":
            rr, shape = _with_runs(random, traits, rr)
        else:
            rr, shape = _with_ectopics(random, traits, rr, *share)
        rr *= length_s / rr.sum()
    time_s = began_s + np.concatenate([[0.0], np.cumsum(rr[:-1])])
    before = np.concatenate([[rr.mean()], rr[:-1]])
    return Beats(time_s, shape.astype(np.intp), 0.7 * rr.mean() + 0.3 * before)


def _max_beats(length_s: float, shortest_s: float) -> int:
    return int(length_s / shortest_s) + 4


def _fitted(rr: NDArray[np.float64], length_s: float) -> NDArray[np.float64]:
    """As many of ``rr`` as come nearest to ``length_s``, stretched to it."""
    ends = np.cumsum(rr)
    count = int(np.argmin(np.abs(ends - length_s))) + 1
    return rr[:count] * (length_s / ends[count - 1])


def _sinus(
    random: np.random.Generator, traits: Traits, rhythm: str, began_s: float, length_s: float
) -> NDArray[np.float64]:
    """RR of sinus rhythm: beats where the phase of the varying rate is whole."""
    time_s = began_s + np.linspace(0.0, length_s, max(9, int(8 * length_s)))
    bpm = {"bradycardia": traits.bradycardia_bpm, "tachycardia": traits.tachycardia_bpm}.get(
        rhythm, traits.heart_rate_bpm
    )
    variability = 0.3 if rhythm == "tachycardia" else 1.0
    variation = 1 + variability * (traits.lf.at(time_s) + traits.hf.at(time_s))
    rate_hz = bpm * (1 + variability * traits.slow.at(time_s)) / 60.0 / np.clip(variation, 0.5, 1.6)
    steps = 0.5 * (rate_hz[1:] + rate_hz[:-1]) * np.diff(time_s)
    phase = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(1, round(phase[-1]))
    rr = np.diff(np.interp(np.linspace(0.0, phase[-1], count + 1), phase, time_s))
    rr += traits.jitter_s * random.standard_normal(count)
    return np.maximum(rr, 0.05)


def _with_ectopics(
    random: np.random.Generator, traits: Traits, rr: NDArray[np.float64], pvc: float, pac: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    shape, rr = np.full(len(rr), NORMAL), rr.copy()
    drawn, early, fused = random.random(len(rr)), random.standard_normal(len(rr)), random.random(len(rr))
    free = 1
    for beat in np.flatnonzero(drawn < pvc + pac):
        if beat < free:
            continue
        before = rr[beat - 1]
        if drawn[beat] < pvc:
            shape[beat] = FUSION if fused[beat] < _FUSION_SHARE else VENTRICULAR
            coupling = 0.94 if shape[beat] == FUSION else traits.pvc_coupling + 0.025 * early[beat]
            rr[beat - 1] = max(coupling * before, _SHORTEST_RR_S)
            rr[beat] += before - rr[beat - 1]
        else:
            shape[beat] = ATRIAL
            rr[beat - 1] = max((traits.pac_coupling + 0.035 * early[beat]) * before, _SHORTEST_RR_S)
            rr[beat] *= 1.08
        free = int(beat) + 2
    return rr, shape


def _with_runs(
    random: np.random.Generator, traits: Traits, rr: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Runs of atrial ectopic beats, each followed by a pause that grows with the run (overdrive).

    How long the runs may be changes from block to block, from pairs to what a sick sinus node lets through.
    """
    shape, rr = np.full(len(rr), NORMAL), rr.copy()
    longest = int(random.integers(2, _LONGEST_RUN + 1))
    beat = 1 + int(random.integers(3))
    while beat < len(rr) - 1:
        last = min(beat + int(random.integers(longest)), len(rr) - 2)
        usual = rr[beat - 1]
        for at in range(beat, last + 1):
            shape[at] = ATRIAL
            coupling = traits.pac_coupling + 0.05 * random.standard_normal()
            rr[at - 1] = max(coupling * usual, _SHORTEST_RR_S)
        rr[last] *= 1.05 + 0.12 * (last - beat + 1) * random.random()
        beat = last + 2 + int(random.integers(4))
    return rr, shape


def _af(
    random: np.random.Generator, traits: Traits, pvc: float, began_s: float, length_s: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rate = traits.af_bpm * (1 + float(traits.slow.at(np.array([began_s]))[0]))
    drawn = 60.0 / rate * np.exp(traits.af_rr_variation * random.standard_normal(_max_beats(length_s, 0.25)))
    rr = _fitted(np.maximum(drawn, _SHORTEST_RR_S), length_s)
    shape = np.full(len(rr), FIBRILLATING)
    if traits.aberrant:  # Ashman 1947: a short cycle behind a long one finds the right bundle refractory
        mean = rr.mean()
        wide = (rr[1:-1] < 0.9 * mean) & (rr[:-2] > 1.1 * mean)
        shape[2:][wide] = ABERRANT
    for beat in np.flatnonzero(random.random(len(rr)) < pvc):
        if beat > 0:
            shape[beat] = VENTRICULAR
    return rr, shape

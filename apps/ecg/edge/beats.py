"""Beats of one lead: features of each, as the signal and its R peaks come in, and their classes.

>>> beats = BeatFeatures(360.0)
>>> rows = beats.push(chunk_mv, peaks)    # (n,) mV without NaN, and the R peaks now known -> BeatRows

The features of a beat (`FEATURE_NAMES`) are taken from the past and from what follows within `AHEAD_S`,
never more: a beat is given by the push that brings the sample ``AHEAD_S + DELAY_S`` after its R peak at the
latest (`BeatFeatures.delay_samples`; the second term is what the detector may take), and sooner where the
next R peak is known sooner. They are

- timing: the RR intervals before and after, against the patient's running medians, mean, normal interval,
  and the interval of beats that come late;
- shape: the QRS complex, the PR segment and the T wave against those of the running template of the patient's
  dominant beat, in units of that template's amplitude, and against how far off they usually are;
- how usual the beat is: beats are grouped by the correlation of their QRS complexes (a group is a running
  template), and the share of a beat's group, and how early its beats usually come, are features.

Running statistics of the same patient are the reference that a reader of an ECG uses as well (de Chazal,
O'Dwyer, Reilly 2004; Llamedo, Martinez 2011); the model's weights do not change. State is bounded (about
60 kB at 360 Hz) and depends on samples and peaks only, not on how they were cut into chunks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.filters import Filter, Floats, Past, butterworth, check_rate
from apps.ecg.edge.peaks import DELAY_S

KINDS = "NSVFQ"
"""AAMI classes in the order of the model's output ``beat_p`` (ANSI/AAMI EC57)."""

AHEAD_S = 1.0
"""The next R peak counts up to so long after a beat's own; the wave up to `REACH_S`."""
REACH_S = 0.5
MOST_RR_S = 3.0
FIRST_RR_S = 0.8
"""Taken as the interval before the first beat."""

_STEP_S = 0.005
_SHIFT_S = 0.06
"""A beat is aligned with the group that it is like, up to so far: the R peak of a QRS complex with two nearly
equal peaks is now the one and now the other."""
_SHIFTS = round(_SHIFT_S / _STEP_S)
_LINE_S = np.arange(-round(REACH_S / _STEP_S) - _SHIFTS, round(REACH_S / _STEP_S) + _SHIFTS + 1) * _STEP_S
_WAVE_S = _LINE_S[_SHIFTS:-_SHIFTS]
_WIDE = len(_WAVE_S)


def _between(begin_s: float, end_s: float) -> slice:
    return slice(*np.searchsorted(_WAVE_S, [begin_s - 1e-9, end_s + 1e-9]).tolist())


_QRS, _P, _T = _between(-0.10, 0.14), _between(-0.30, -0.07), _between(0.14, 0.5)
_POINTS = [part.stop - part.start for part in (_QRS, _P, _T)]
_PARTS = np.array([_QRS.start, _QRS.stop, _P.start, _P.stop, _T.start])
"""For ``reduceat``: of what it gives, every other is of a part; the T wave goes to the end."""
_SLIDING = np.arange(2 * _SHIFTS + 1)[:, np.newaxis] + np.arange(_QRS.start, _QRS.stop)
_SHIFT_COST = 0.002 * np.abs(np.arange(-_SHIFTS, _SHIFTS + 1))[:, np.newaxis]
_BAND_HZ = (0.5, 40.0)
GROUPS = 5
_ALIKE = 0.92
"""Correlation of QRS complexes from which a beat belongs to a group."""
_UNLIKE = 0.85
_FADE = 0.995
_SLOWEST = 0.05
_MEMORY = 60
_NEAR = 10
_NORMAL_LOG = 0.15
_LOST = 12
"""So many beats in a row unlike the normal interval, and it is sought again."""
_LATE_RISE, _LATE_FALL, _LATE_MOST = 0.3, 0.01, 1.3
"""The interval of beats that come late rises fast, by no pause further than so many times, and falls slowly:
where most beats come early, in runs, the few between the runs tell what the sinus node would do."""

_TIMING = (
    "rr/median10", "rr/median60", "rr/mean10", "rr/normal", "next/median60", "next/normal", "rr/previous",
    "next/rr", "previous/median60", "second/median60", "pair/normal", "rr_s", "next_s", "median10_s",
    "median60_s", "normal_s", "jitter", "jitter60", "rmssd", "late", "early_share", "rr/rmssd", "rr/jitter",
    "next/rmssd", "rr/late", "next/late",
)  # fmt: skip
_USUAL = (
    "alike_dominant", "alike_group", "group_share", "dominant_share", "group_rr", "group_rr/dominant",
    "group_pair", "size/dominant", "alike_before", "alike_mean10", "unlike_share", "shift",
)  # fmt: skip
_SHAPE = (
    "p_alike", "p_off", "p_height", "p_height_dominant", "p_off/usual", "t_alike", "t_off", "t_height",
    "t_height_dominant", "t_off/usual", "qrs_off", "qrs_off/usual", "width_s", "width_dominant_s",
    "width/dominant", "area", "area/dominant", "p_usual", "p_alike/usual", "rough", "rough/usual",
)  # fmt: skip
FEATURE_NAMES = (
    *_TIMING,
    *_USUAL,
    *_SHAPE,
)
FEATURES = len(FEATURE_NAMES)
OF_PERSON = (
    "width_dominant_s", "p_height_dominant", "t_height_dominant", "rr_s", "median10_s", "median60_s",
    "normal_s", "dominant_share",
)  # fmt: skip
"""Features that tell patients apart rather than beats. Trees that see them learn the few patients that there
are by heart (by folds over DS1, F1 of V falls from 0.86 to 0.80), so only the rest of the model uses them."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat: sample of its R peak, RR interval before it, AAMI class, and whether the signal was good."""

    sample: int
    rr_s: float
    kind: str
    probability: float
    good: bool


@dataclass(frozen=True, slots=True)
class BeatRows:
    """Beats whose features are complete: R peaks ``(n,)``, RR before ``(n,)``, features ``(n, FEATURES)``."""

    samples: NDArray[np.int64]
    rr_s: Floats
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.samples)


def decided(probabilities: NDArray[Any], odds: Mapping[str, float]) -> NDArray[np.int64]:
    """Index in `KINDS` of each beat's class, ``(n,)``, from ``(n, 5)``.

    ``odds`` weigh the classes against each other (a bundle's ``operating_point``), 1 where not named.
    """
    weights = [odds.get(kind, 1.0) for kind in KINDS]
    return (np.asarray(probabilities, np.float64) * weights).argmax(axis=1)


class _Groups:
    """Running templates of the beats' shapes, the dominant one being that of most beats lately."""

    def __init__(self) -> None:
        self.waves = np.zeros((GROUPS, _WIDE))
        self.shapes = np.zeros((GROUPS, _QRS.stop - _QRS.start))  # QRS without its mean, of length 1
        self.sizes = [1.0] * GROUPS
        self.counts = [0.0] * GROUPS
        self.rr = [1.0] * GROUPS
        self.pair = [1.0] * GROUPS

    def match(self, line: Floats) -> tuple[int, list[float], float]:
        """Best shift ``0 .. 2 * _SHIFTS``, each group's correlation at its own, and the size."""
        windows = line.take(_SLIDING)
        windows -= np.add.reduce(windows, axis=1, keepdims=True) / windows.shape[1]
        sizes = np.sqrt(np.add.reduce(windows * windows, axis=1, keepdims=True)) + 1e-6
        alike = windows @ self.shapes.T / sizes - _SHIFT_COST
        best = int(alike.argmax()) // GROUPS
        return best, np.maximum.reduce(alike, axis=0).tolist(), float(sizes[best, 0])

    def add(self, wave: Floats, rr: float, pair: float, best: int, alike: float) -> None:
        self.counts = [count * _FADE for count in self.counts]
        if alike > _ALIKE:
            gain = max(_SLOWEST, 1 / (self.counts[best] + 1))
            self.waves[best] += gain * (wave - self.waves[best])
            self.rr[best] += gain * (rr - self.rr[best])
            self.pair[best] += gain * (pair - self.pair[best])
            self.counts[best] += 1
        else:
            best = self.counts.index(min(self.counts))
            self.waves[best], self.rr[best], self.pair[best], self.counts[best] = wave, rr, pair, 1.0
        qrs = self.waves[best, _QRS]
        centred = qrs - np.add.reduce(qrs) / len(qrs)
        self.sizes[best] = math.sqrt(centred @ centred) + 1e-6
        self.shapes[best] = centred / self.sizes[best]


class _Part(NamedTuple):
    """One part of a beat beside that of the template: sums over its points, and heights."""

    points: int
    own: float
    template: float
    own_squared: float
    template_squared: float
    product: float
    own_area: float
    template_area: float
    own_height: float
    template_height: float

    def about_means(self) -> tuple[float, float, float]:
        """Sums of the squares and of the product, each about its own mean."""
        mean, template_mean = self.own / self.points, self.template / self.points
        return (
            max(0.0, self.own_squared - mean * self.own),
            max(0.0, self.template_squared - template_mean * self.template),
            self.product - mean * self.template,
        )

    def alike(self) -> tuple[float, float, float, float]:
        """Correlation, RMS difference about the means, and heights."""
        a, b, ab = self.about_means()
        off = math.sqrt(max(0.0, a + b - 2 * ab) / self.points)
        return ab / (math.sqrt(a * b) + 1e-4), off, self.own_height, self.template_height


def _parts(both: Floats) -> tuple[_Part, _Part, _Part]:
    """QRS, P and T of a wave and a template ``(2, n)``, which become multiples of the template's height."""
    heights = np.maximum.reduceat(both, _PARTS, axis=1) - np.minimum.reduceat(both, _PARTS, axis=1)
    scale = heights[1, 0] + 1e-3
    both /= scale
    terms = np.concatenate([both, both * both, both[:1] * both[1:], np.abs(both)])
    values = np.concatenate([np.add.reduceat(terms, _PARTS, axis=1), heights / scale])
    qrs, p, t = values[:, ::2].T.tolist()
    return _Part(_POINTS[0], *qrs), _Part(_POINTS[1], *p), _Part(_POINTS[2], *t)


def _width_s(steep: NDArray[np.bool_]) -> float:
    """From the first to the last steep point."""
    marks = steep.tobytes()
    return _STEP_S * (marks.rfind(1) - marks.find(1))


class BeatFeatures:
    """Features of one lead's beats; see the module."""

    def __init__(self, rate_hz: float) -> None:
        """For a lead of ``rate_hz``. Raises `ValueError` for a rate that cannot be analysed."""
        self._rate = check_rate(rate_hz)
        self._side = math.ceil((REACH_S + _SHIFT_S) * rate_hz) + 1
        self._times_s = np.arange(-self._side, self._side + 1) / rate_hz
        high, low = _BAND_HZ
        self._band = Filter(
            np.concatenate([butterworth(1, high, "high", rate_hz), butterworth(2, low, "low", rate_hz)])
        )
        self._ahead = int(AHEAD_S * rate_hz)
        self.delay_samples = self._ahead + int(DELAY_S * rate_hz)
        self._step = round(rate_hz)
        self._past = Past(1, self.delay_samples + self._side + 2 * self._step)
        self._waiting: deque[int] = deque()
        self._last: int | None = None
        self._intervals: deque[float] = deque(maxlen=_MEMORY)
        self._steps: deque[float] = deque(maxlen=_MEMORY - 1)  # from one of the intervals to the next
        self._groups = _Groups()
        self._alike_before: deque[float] = deque(maxlen=_NEAR)
        self._usual_off = [0.1, 0.1, 0.1, 0.02]
        self._p_usual = 0.7
        self._normal = 0.0
        self._abnormal = 0
        self._late = 0.0

    def push(self, signal_mv: Floats, peaks: Iterable[int]) -> BeatRows:
        """Take in the next samples, ``(n,)`` mV, and the R peaks found with them; give the complete beats.

        No sample may be NaN (`filters.Joined` fills them). Peaks rise from push to push and come at most
        `DELAY_S` after their sample.
        """
        self._waiting.extend(int(at) for at in peaks)
        samples: list[int] = []
        intervals: list[float] = []
        rows: list[list[float]] = []
        for begin in range(0, len(signal_mv), self._step):
            chunk = np.asarray(signal_mv[begin : begin + self._step], np.float64)
            self._past.append(self._band.push(chunk)[np.newaxis])
            while self._waiting and self._complete():
                at = self._waiting.popleft()
                following = self._waiting[0] if self._waiting else None
                rr = min(MOST_RR_S, (at - self._last) / self._rate) if self._last is not None else FIRST_RR_S
                rows.append(self._features(at, rr, following))
                samples.append(at)
                intervals.append(rr)
                self._last = at
        features = np.array(rows, np.float32) if rows else np.empty((0, FEATURES), np.float32)
        return BeatRows(np.array(samples, np.int64), np.array(intervals), features)

    def _complete(self) -> bool:
        at, newest = self._waiting[0], self._past.end - 1
        if newest < at + self._side:
            return False
        return len(self._waiting) > 1 or newest >= at + self.delay_samples

    def _features(self, at: int, rr: float, following: int | None) -> list[float]:
        window = self._past.view(at - self._side, at + self._side + 1)[0]
        line = np.interp(_LINE_S, self._times_s, window)
        ahead = AHEAD_S if following is None else min(AHEAD_S, (following - at) / self._rate)
        timing, relative, pair = self._timing(rr, ahead)
        groups = self._groups
        shift, alike, size = groups.match(line)
        best = alike.index(max(alike))
        dominant = groups.counts.index(max(groups.counts))
        known = groups.counts[dominant] > 0
        if not known:
            shift = _SHIFTS
        wave = line[shift : shift + _WIDE]
        wave = wave - np.sort(wave)[_WIDE // 2]
        template = groups.waves[dominant] if known else wave
        usual = self._usual(alike, size if known else 0.0, best, dominant, relative, pair)
        usual.append((shift - _SHIFTS) * _STEP_S)
        shape = self._shape(wave, template)
        self._normal_interval(rr, usual[0])
        self._alike_before.append(usual[0])
        groups.add(wave, relative, pair, best, alike[best])
        return [*timing, *usual, *shape]

    def _timing(self, rr: float, ahead: float) -> tuple[list[float], float, float]:
        """Features `_TIMING`, the interval against the running median, and both against the normal one."""
        recent = self._intervals
        before = recent[-1] if recent else rr
        second = recent[-2] if len(recent) > 1 else before
        if recent:
            self._steps.append(abs(rr - before))
        recent.append(rr)
        last, longer = list(recent), list(self._steps) or [0.0]
        near, steps = last[-_NEAR:], longer[-20:]
        ordered = sorted(last)
        median10, median60 = sorted(near)[len(near) // 2], ordered[len(last) // 2]
        normal = self._normal or median60
        late = self._late or rr
        step = min(rr, _LATE_MOST * late) - late
        self._late = late + (_LATE_RISE if step > 0 else _LATE_FALL) * step
        jitter = sorted(steps)[len(steps) // 2] / median60
        rmssd = math.hypot(*steps) / math.sqrt(len(steps)) / median60
        early = sum([r < 0.85 * normal for r in last[-20:]]) / 20
        jitter60 = sorted(longer)[len(longer) // 2] / median60
        log = math.log
        values = [
            log(rr / median10), log(rr / median60), log(rr * len(near) / sum(near)), log(rr / normal),
            min(0.3, log(ahead / median60)), log(min(1.0, ahead / normal)), log(rr / before), log(ahead / rr),
            log(before / median60), log(second / median60), log((rr + ahead) / (2 * normal)), rr, ahead,
            median10, median60, normal, jitter, jitter60, rmssd, float(ahead >= AHEAD_S), early,
            log(rr / normal) / (0.03 + rmssd), log(rr / median60) / (0.03 + jitter),
            log(min(1.0, ahead / normal)) / (0.03 + rmssd), log(rr / late), min(0.3, log(ahead / late)),
        ]  # fmt: skip
        return values, rr / median60, (rr + ahead) / (2 * normal)

    def _usual(
        self, alike: list[float], size: float, best: int, dominant: int, relative: float, pair: float
    ) -> list[float]:
        """Features `_USUAL` but the shift; ``size`` is 0 for the first beat of all."""
        groups = self._groups
        if not size:
            return [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
        total = sum(groups.counts)
        member = alike[best] > _ALIKE
        rr = groups.rr[best] if member else relative
        near = self._alike_before
        return [
            alike[dominant],
            alike[best],
            groups.counts[best] / total if member else 0.0,
            groups.counts[dominant] / total,
            rr,
            rr / groups.rr[dominant],
            groups.pair[best] if member else pair,
            math.log(size / groups.sizes[dominant]),
            near[-1],
            sum(near) / len(near),
            sum(one < _UNLIKE for one in near) / len(near),
        ]

    def _shape(self, wave: Floats, template: Floats) -> list[float]:
        """Features `_SHAPE`, in units of the template's amplitude."""
        both = np.array([wave, template])
        qrs, p, t = _parts(both)
        qrs_off = math.sqrt(max(0.0, qrs.own_squared + qrs.template_squared - 2 * qrs.product) / qrs.points)
        slopes = np.abs(both[:, _QRS.start + 1 : _QRS.stop] - both[:, _QRS.start : _QRS.stop - 1])
        steep = slopes > 0.25 * slopes[1].max()
        before = both[0, _P]
        bends = before[2:] - 2 * before[1:-1] + before[:-2]
        rough = math.sqrt(bends @ bends / len(bends))
        p_alike, t_alike = p.alike(), t.alike()
        offs = (p_alike[1], t_alike[1], qrs_off, rough)
        against = [math.log((o + 0.01) / (u + 0.01)) for o, u in zip(offs, self._usual_off, strict=True)]
        # In logs, so that a few wild beats do not move what is usual.
        moves = [math.exp(0.05 * max(-1.0, min(1.0, a))) for a in against]
        self._usual_off = [u * move for u, move in zip(self._usual_off, moves, strict=True)]
        width, width_dominant = _width_s(steep[0]), _width_s(steep[1])
        area = qrs.own_area / qrs.points
        p_usual = self._p_usual
        a, b, ab = qrs.about_means()
        if ab / (math.sqrt(a * b) + 1e-9) > _UNLIKE:
            self._p_usual += 0.05 * (p_alike[0] - p_usual)
        return [
            *p_alike, against[0], *t_alike, against[1], qrs_off, against[2],
            width, width_dominant, width - width_dominant, area,
            math.log((area + 0.01) / (qrs.template_area / qrs.points + 0.01)),
            p_usual, p_alike[0] - p_usual, rough, against[3],
        ]  # fmt: skip

    def _normal_interval(self, rr: float, alike: float) -> None:
        """Follow the interval between beats of the dominant shape that come neither early nor late."""
        if not self._normal or self._abnormal >= _LOST:
            near = sorted(list(self._intervals)[-_NEAR:])
            self._normal, self._abnormal = near[len(near) // 2], 0
        step = math.log(rr / self._normal)
        if abs(step) < _NORMAL_LOG and alike > 0.85:
            self._normal *= math.exp(0.1 * step)
            self._abnormal = 0
        else:
            self._abnormal += 1

    def snapshot(self) -> dict[str, Any]:
        """The state as numbers and arrays in plain dicts, for `restore`."""
        groups = self._groups
        return {
            "band": self._band.snapshot(),
            "past": self._past.snapshot(),
            "waiting": list(self._waiting),
            "last": -1 if self._last is None else self._last,
            "intervals": list(self._intervals),
            "waves": groups.waves.copy(),
            "shapes": groups.shapes.copy(),
            "sizes": list(groups.sizes),
            "counts": list(groups.counts),
            "rr": list(groups.rr),
            "pair": list(groups.pair),
            "alike_before": list(self._alike_before),
            "usual_off": list(self._usual_off),
            "p_usual": self._p_usual,
            "normal": self._normal,
            "abnormal": self._abnormal,
            "late": self._late,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave at the same rate."""
        groups = self._groups
        self._band.restore(state["band"])
        self._past.restore(state["past"])
        self._waiting = deque(int(at) for at in state["waiting"])
        self._last = None if state["last"] < 0 else int(state["last"])
        self._intervals = deque(state["intervals"], maxlen=_MEMORY)
        self._steps = deque((abs(b - a) for a, b in pairwise(self._intervals)), maxlen=_MEMORY - 1)
        groups.waves = np.array(state["waves"], np.float64)
        groups.shapes = np.array(state["shapes"], np.float64)
        groups.sizes = [float(size) for size in state["sizes"]]
        groups.counts = [float(count) for count in state["counts"]]
        groups.rr = [float(rr) for rr in state["rr"]]
        groups.pair = [float(pair) for pair in state["pair"]]
        self._alike_before = deque(state["alike_before"], maxlen=_NEAR)
        self._usual_off = [float(off) for off in state["usual_off"]]
        self._p_usual = float(state["p_usual"])
        self._normal, self._abnormal = float(state["normal"]), int(state["abnormal"])
        self._late = float(state["late"])

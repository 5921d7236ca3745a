"""Findings of the analysis (beats, rhythm, quality), and the history of beats and usable signal."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

BEATS_LIMIT = 2048
"""More than five minutes at 300 beats a minute."""
CHANGES_LIMIT = 512


@dataclass(frozen=True, slots=True)
class KnownAbsurd:
    """A value outside of any ECG."""

    sample: int
    lead: int


@dataclass(frozen=True, slots=True)
class KnownQuality:
    """A lead became good or bad; with the state of the analysis after it (``usable``, ``analysed`` lead)."""

    sample: int
    lead: int
    good: bool
    reasons: tuple[str, ...]
    usable: bool
    analysed: int


class BeatQuality(NamedTuple):
    """Signal quality of a beat, as in `KnownBeat`."""

    good: bool
    joined: bool


@dataclass(frozen=True, slots=True)
class KnownBeat:
    """A beat of the analysed lead.

    ``margin`` is the difference of its two highest class probabilities. ``good``: the signal around it was
    good; ``joined``: also since the previous beat, so that the RR interval is valid.
    """

    sample: int
    kind: str
    probability: float
    margin: float
    novelty: float
    good: bool
    joined: bool


@dataclass(frozen=True, slots=True)
class KnownRhythm:
    """The probability of atrial fibrillation at ``sample``; a change is dated to ``began``."""

    sample: int
    began: int
    probability: float


Known = KnownAbsurd | KnownQuality | KnownBeat | KnownRhythm


class Usability:
    """History of the quality of the analysed signal."""

    def __init__(self) -> None:
        self._changes: deque[tuple[int, bool]] = deque([(0, True)], maxlen=CHANGES_LIMIT)

    @property
    def now(self) -> bool:
        """Whether the signal is good now."""
        return self._changes[-1][1]

    @property
    def since(self) -> int:
        """Sample of the last change."""
        return self._changes[-1][0]

    def change(self, sample: int, usable: bool) -> None:
        """The signal is good, or not, from ``sample`` on."""
        while self._changes and self._changes[-1][0] >= sample:
            self._changes.pop()
        if not self._changes or self._changes[-1][1] != usable:
            self._changes.append((sample, usable))

    def good_samples(self, begin: int, end: int) -> int:
        """Number of good samples from ``begin`` to ``end`` (exclusive)."""
        began, usable = self._changes[-1]
        if began <= begin:
            return max(0, end - begin) if usable else 0
        good = 0
        for began, usable in reversed(self._changes):
            if usable and began < end:
                good += end - max(begin, began)
            end = min(end, began)
            if began <= begin:
                break
        return good

    def throughout(self, begin: int, end: int) -> bool:
        """Whether the signal was good from ``begin`` to ``end`` (exclusive)."""
        return self.good_samples(begin, end) == end - begin

    def snapshot(self) -> list[list[int]]:
        """The state, for `restore`."""
        return [[sample, int(usable)] for sample, usable in self._changes]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Take over what `snapshot` gave."""
        self._changes = deque(((int(s), bool(u)) for s, u in state), maxlen=CHANGES_LIMIT)


class History:
    """The newest beats of one patient."""

    def __init__(self) -> None:
        self._beats: deque[KnownBeat] = deque(maxlen=BEATS_LIMIT)

    def add(self, beat: KnownBeat) -> None:
        """Append a beat, later than all others."""
        self._beats.append(beat)

    def between(self, begin: int, end: int) -> list[KnownBeat]:
        """Beats from ``begin`` to ``end`` (exclusive), in order."""
        found: list[KnownBeat] = []
        for beat in reversed(self._beats):
            if beat.sample < begin:
                break
            if beat.sample < end:
                found.append(beat)
        return found[::-1]

    def snapshot(self) -> list[list[Any]]:
        """The state, for `restore`."""
        return [list(astuple(beat)) for beat in self._beats]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over what `snapshot` gave."""
        self._beats = deque((KnownBeat(*values) for values in state), maxlen=BEATS_LIMIT)

"""Signal that leaves the device with the patient's consent: strips around alarms, windows for training."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg import events
from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.history import KnownBeat
from apps.ecg.edge.recording import Recording
from apps.ecg.edge.reports.rates import rhythm_between
from apps.ecg.edge.ring import LSB_MV, MISSING, to_mv
from common.app.edge import Sample
from common.messages import Event

STRIP_SIDE_S = 5.0
STRIPS_WAITING = 8
WINDOW_S = 30.0
ALARMS_LIMIT = 32
MAX_RATE_HZ = 500.0
MAX_BYTES = 88_000
"""Limit of a strip's samples; as base64 in an event they stay below the limit of the wire."""
NOVEL_SHARE = 0.2
"""Share of beats above novelty 1 with the score 1."""
MIN_SCORE = 0.5


class AlarmStrips:
    """``ecg.strip`` around each alarm, except with the consent ``findings``."""

    def __init__(self, recording: Recording, consent: str) -> None:
        self._recording = recording
        self._consented = consent != "findings"
        self._side = recording.samples(STRIP_SIDE_S)
        self._waiting: list[tuple[int, str]] = []
        """Alarms whose strips are not complete: sample and name."""

    def alarm(self, at: int, name: str) -> None:
        """Add an alarm that was raised; beyond `STRIPS_WAITING` it gets no strip."""
        if self._consented and len(self._waiting) < STRIPS_WAITING:
            self._waiting.append((at, name))

    def due(self, classified: int, now: int, episodes: Episodes) -> Iterator[Event]:
        """Strips whose beats are all classified, as beats are up to ``classified``."""
        while self._waiting and classified >= self._waiting[0][0] + self._side:
            yield self._strip(*self._waiting.pop(0), now, episodes)

    def finish(self, end: int, episodes: Episodes) -> Iterator[Event]:
        """The remaining strips, as the signal ends at ``end``."""
        for at, name in self._waiting:
            yield self._strip(at, name, end, episodes)
        self._waiting.clear()

    def _strip(self, at: int, alarm: str, now: int, episodes: Episodes) -> Event:
        recording = self._recording
        begin = max(0, at - self._side)
        length = at + self._side - begin
        steps, rate_hz = decimated(recording.ring.cut(np.array([begin]), length)[0], recording.rate_hz)
        beats = recording.history.between(begin, begin + length)
        strip = events.Strip(
            began_ns=recording.timeline.ns(begin),
            rate_hz=rate_hz,
            leads=list(recording.leads),
            unit="mV",
            lsb_mv=LSB_MV,
            samples_b64=steps.astype("<i2").tobytes(),
            beats=[
                events.StripBeat(
                    round(1e3 * (beat.sample - begin) / recording.rate_hz, 1),
                    beat.kind,
                    round(beat.probability, 3),
                )
                for beat in beats
            ],
            alarm=alarm,
            rhythm=rhythm_between(recording, begin, begin + length, episodes),
            version=recording.version,
            virtual=recording.virtual,
        )
        return recording.event(strip, now)

    def snapshot(self) -> list[list[Any]]:
        """The state, for `restore`."""
        return [list(each) for each in self._waiting]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over a state of `snapshot`."""
        self._waiting = [(int(at), str(name)) for at, name in state]


class TrainingWindows:
    """Samples of 30 s for training (`common.app.edge.Sample`), with the consent ``learning``."""

    def __init__(self, recording: Recording, consent: str, rhythm_p: Iterable[tuple[int, float]]) -> None:
        """``rhythm_p`` are decisions: sample, and probability of atrial fibrillation."""
        self._recording = recording
        self._consented = consent == "learning"
        self._rhythm_p = rhythm_p
        self._alarmed: deque[int] = deque(maxlen=ALARMS_LIMIT)

    def alarm(self, at: int) -> None:
        """Add an alarm that was raised."""
        self._alarmed.append(at)

    def report(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Sample]:
        """The window from ``begin`` to ``end``, if it is worth learning from."""
        recording = self._recording
        if not self._consented:
            return
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        rhythm_p = [p for sample, p in self._rhythm_p if begin <= sample < end]
        reasons = curation_reasons(beats, rhythm_p, any(begin <= at < end for at in self._alarmed))
        if not reasons:
            return
        lead = recording.analysed
        steps = recording.ring.cut(np.array([begin]), end - begin)[0, :, lead : lead + 1]
        yield Sample(
            subject=recording.subject,
            group=recording.subject,
            captured_ns=recording.timeline.ns(now),
            reasons=reasons,
            arrays={
                "signal": np.ascontiguousarray(steps),
                "peaks": np.array([beat.sample - begin for beat in beats], np.int32),
                "kinds": np.array([KINDS.index(beat.kind) for beat in beats], np.uint8),
                "rhythm_p": np.array(rhythm_p, np.float32),
            },
            attributes={
                "rate_hz": recording.rate_hz,
                "lsb_mv": LSB_MV,
                "began_ns": recording.timeline.ns(begin),
                "lead": recording.leads[lead],
                "rhythm": rhythm_between(recording, begin, end, episodes),
                "version": recording.version,
            },
        )

    def snapshot(self) -> list[int]:
        """The state, for `restore`."""
        return list(self._alarmed)

    def restore(self, state: Sequence[int]) -> None:
        """Take over a state of `snapshot`."""
        self._alarmed = deque(state, maxlen=ALARMS_LIMIT)


def decimated(steps: NDArray[np.int16], rate_hz: float) -> tuple[NDArray[np.int16], float]:
    """``steps`` ``(samples, leads)`` averaged down to `MAX_RATE_HZ` and `MAX_BYTES`, and their rate."""
    factor = math.ceil(max(rate_hz / MAX_RATE_HZ, steps.nbytes / MAX_BYTES))
    if factor > 1:
        whole = steps[: len(steps) // factor * factor].reshape(-1, factor, steps.shape[1])
        mean = np.rint(to_mv(whole).mean(axis=1) / LSB_MV)
        steps = np.where(np.isnan(mean), MISSING, np.nan_to_num(mean)).astype(np.int16)
    return steps, rate_hz / factor


def curation_reasons(
    beats: Sequence[KnownBeat], rhythm_p: Sequence[float], alarmed: bool
) -> Mapping[str, float]:
    """Reasons of a window for training (`common.app.edge.Sample.reasons`); empty if below `MIN_SCORE`.

    ``low_margin`` is by the three beats, or the rhythm, of lowest certainty; ``alarm`` marks windows that a
    clinician will review.
    """
    if not beats:
        return {}
    margins = sorted(beat.margin for beat in beats)[:3]
    doubts = [1 - sum(margins) / len(margins), *(1 - 2 * abs(p - 0.5) for p in rhythm_p)]
    novel = sum(beat.novelty > 1 for beat in beats) / len(beats)
    reasons = {"low_margin": _share(max(doubts)), "novelty": _share(novel / NOVEL_SHARE)}
    if alarmed:
        reasons["alarm"] = 1.0
    return reasons if max(reasons.values()) >= MIN_SCORE else {}


def _share(value: float) -> float:
    return float(min(1.0, max(0.0, value)))

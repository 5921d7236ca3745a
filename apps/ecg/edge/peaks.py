"""R peaks of one lead of a stream.

>>> peaks = RPeaks(360.0)
>>> peaks.push(chunk_mv)                  # (n,) mV, NaN where missing -> (k,) sample numbers of R peaks

Sample numbers are absolute: the first sample that was ever pushed is 0. A peak at sample r is returned
by the push of sample ``r + peaks.delay_samples`` at the latest (400 ms), and never revoked.

Candidates are the local maxima of energy in the band of the QRS complex (`apps.ecg.edge.candidates`). A
small network, trained on the records of MIT-BIH's DS1 (`apps.ecg.training.qrs`), scores each by the signal up
to 0.26 s after it. A score above `THRESHOLD`, not within `REFRACTORY_S` of a beat (`RACING_S` in a run of the
highest rates), is a beat. Decisions depend on earlier ones only by that, so an error does not propagate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.candidates import DOMINANCE_S, LAG_S, LEVEL_S, LOOK_AHEAD_S, FrontEnd, inputs, maxima
from apps.ecg.edge.filters import Floats, Joined, Past, check_rate
from common.arrays import read_arrays
from common.bundle import open_bundle

NETWORK = Path(__file__).with_name("qrs")
"""The bundle of the network; its manifest has the lineage."""
NETWORK_LIMIT_BYTES = 64 * 1024 * 1024
DELAY_S = 0.4
"""Maximum delay of a peak."""
THRESHOLD = -0.5
"""Chosen by folds over the patients of DS1, for about as many missed as false beats."""
REFRACTORY_S = 0.2
RACING_S = (0.16, 0.25)
RACING_INTERVALS = 5
"""A candidate within `REFRACTORY_S` of a beat counts if `RACING_INTERVALS` consecutive intervals of
candidates that score as beats are in `RACING_S`: rates up to 350 a minute count, a single wave after a QRS
does not."""
OFFSET_SCALE = 50.0
OFFSETS_S = (-0.05, 0.06)
"""Limits of the network's offset of a peak from its usual position."""
SNAP_S = 0.017
"""The R peak is the extreme of the wave within this distance of the network's position."""
AROUND_S = 0.16
"""The reference level of the extreme is the wave's median within this distance."""
WAVE_LAG_S = 0.0055
"""Delay of the wave's filter."""
PIECE_S = 10
"""Longest piece that is processed at once."""


@dataclass(frozen=True)
class Network:
    """Members of equal shape whose outputs are averaged: ReLU between layers, two outputs.

    Each layer is ``(weights (members, outputs, inputs), biases (members, outputs))`` in float32.
    """

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

    def outputs(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores and offsets in s, both ``(k,)``, for the inputs ``(k, INPUTS)`` of candidates.

        Each row is multiplied separately, as the rounding of a matrix product depends on its shape.
        """
        values = rows[:, None, :, None]
        for weights, biases in self.layers[:-1]:
            values = np.matmul(weights, values)
            values += biases[:, :, None]
            np.maximum(values, 0, out=values)
        weights, biases = self.layers[-1]
        values = np.matmul(weights, values)
        values += biases[:, :, None]
        mean = np.add.reduce(values, axis=1) / len(weights)
        return mean[:, 0, 0], mean[:, 1, 0] / OFFSET_SCALE

    def write(self, path: Path) -> None:
        """Write an npz file."""
        arrays = {
            f"{name}{number}": each
            for number, layer in enumerate(self.layers)
            for name, each in zip(("weights", "biases"), layer, strict=True)
        }
        np.savez(path, allow_pickle=False, **arrays)


@lru_cache(maxsize=1)
def shipped_network() -> Network:
    """The network of the app. Raises `BundleError` for a file that differs from the manifest."""
    return read_network(open_bundle(NETWORK, app="ecg").model_path())


@lru_cache
def read_network(path: Path) -> Network:
    """The network in a file of `Network.write`."""
    arrays = read_arrays(path, limit_bytes=NETWORK_LIMIT_BYTES)
    return Network(
        tuple(
            (
                np.ascontiguousarray(arrays[f"weights{number}"]),
                np.ascontiguousarray(arrays[f"biases{number}"]),
            )
            for number in range(len(arrays) // 2)
        )
    )


class RPeaks:
    """The detector; see the module."""

    def __init__(self, rate_hz: float, network: Network | None = None) -> None:
        """For a lead of ``rate_hz``. Raises `ValueError` for an unsupported rate."""
        self._rate = check_rate(rate_hz)
        self._network = network or shipped_network()
        self.delay_samples = int(DELAY_S * rate_hz)
        self._look = round(LOOK_AHEAD_S * rate_hz)
        self._dominance = round(DOMINANCE_S * rate_hz)
        self._piece = PIECE_S * round(rate_hz)
        self._joined = Joined()
        self._front = FrontEnd(rate_hz)
        self._past = Past(3, (LEVEL_S + 1) * round(rate_hz), self._piece)
        self._scanned = 0
        self._newest = -self._piece
        """Candidate of the last beat."""
        self._scored: deque[int] = deque(maxlen=RACING_INTERVALS + 1)
        """The newest candidates that scored as beats."""

    def push(self, signal_mv: Floats) -> NDArray[np.int64]:
        """Process the next samples, ``(n,)`` mV with NaN for missing ones; returns the peaks now final.

        Sample numbers of peaks are ascending, also from push to push.
        """
        return np.array(self.follow(*self._joined.push(np.asarray(signal_mv, np.float64))), np.int64)

    def follow(self, joined_mv: Floats, missing: NDArray[np.bool_]) -> list[int]:
        """As `push`, for the output of `filters.Joined`; not to be mixed with `push`."""
        found: list[int] = []
        for begin in range(0, len(joined_mv), self._piece):
            piece = slice(begin, begin + self._piece)
            self._take(joined_mv[piece], missing[piece])
            found += self._beats()
        return found

    def finish(self) -> NDArray[np.int64]:
        """The peaks in the last 400 ms, at the end of the signal. Nothing may be pushed after it."""
        return self.push(np.full(self.delay_samples + self._look, np.nan))

    def _take(self, joined_mv: Floats, missing: NDArray[np.bool_]) -> None:
        rows = self._past.room(len(joined_mv))
        rows[0], rows[1] = self._front.push(joined_mv)
        rows[2] = missing

    def _beats(self) -> list[int]:
        """Decide on candidates with enough signal after them."""
        begin, end = self._scanned, self._past.end - self._look
        if end <= begin:
            return []
        self._scanned = end
        first = begin - LEVEL_S * round(self._rate) - 1
        wave, envelope, missing = self._past.view(first, self._past.end)
        near = slice(begin - first - self._dominance, end - first + self._dominance)
        candidates = maxima(envelope[near], self._dominance) + near.start
        if not len(candidates):
            return []
        scores, offsets_s = self._network.outputs(
            inputs(wave, envelope, candidates, candidates + first, self._rate)
        )
        peaks: list[int] = []
        for candidate, score, offset_s in zip(candidates.tolist(), scores.tolist(), offsets_s, strict=True):
            if score <= THRESHOLD:
                continue
            at = candidate + first
            self._scored.append(at)
            if at - self._newest > REFRACTORY_S * self._rate or self._is_racing(at):
                self._newest = at
                peak = self._located(wave, candidate, offset_s)
                if not missing[peak] and peak + first >= 0:
                    peaks.append(peak + first)
        return peaks

    def _is_racing(self, at: int) -> bool:
        """Whether a candidate soon after a beat continues a run of the highest rates."""
        shortest, longest = RACING_S[0] * self._rate, RACING_S[1] * self._rate
        intervals = [later - earlier for earlier, later in pairwise(self._scored)]
        racing = len(intervals) == RACING_INTERVALS and all(shortest <= each <= longest for each in intervals)
        return racing and at - self._newest >= shortest

    def _located(self, wave: Floats, candidate: int, offset_s: np.float32) -> int:
        """The R peak of a candidate: the extreme of the wave near the network's position."""
        rate = self._rate
        offset_s = min(max(offset_s, np.float32(OFFSETS_S[0])), np.float32(OFFSETS_S[1]))
        lag, around, snap = round(WAVE_LAG_S * rate), round(AROUND_S * rate), int(SNAP_S * rate)
        middle = candidate + lag + round(float((offset_s - LAG_S) * rate))
        ordered = wave[middle - around : middle + around + 1].copy()
        ordered.partition(around)
        near = np.abs(wave[middle - snap : middle + snap + 1] - ordered[around])
        return middle - lag - snap + int(near.argmax())

    def snapshot(self) -> dict[str, Any]:
        """The state as numbers and arrays in plain dicts, for `restore`."""
        return {
            "joined": self._joined.snapshot(),
            "filters": [each.snapshot() for each in self._front.filters],
            "past": self._past.snapshot(),
            "scanned": self._scanned,
            "newest": self._newest,
            "scored": list(self._scored),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave at the same rate."""
        self._joined.restore(state["joined"])
        for each, saved in zip(self._front.filters, state["filters"], strict=True):
            each.restore(saved)
        self._past.restore(state["past"])
        self._scanned = int(state["scanned"])
        self._newest = int(state["newest"])
        self._scored = deque(state.get("scored", ()), maxlen=RACING_INTERVALS + 1)

"""Scoring of R peaks on MIT-BIH: hits, misses and extra peaks of a detector, and figures over records.

Counts are gross, all records together: each annotated beat takes at most one detection, within 150 ms
(ANSI/AAMI EC57) or 50 ms. The ventricular flutter of record 207, in which no beat is annotated, is excluded
as in EC57; figures named ``with_flutter`` include it. The app's detector was trained on DS1's records:
figures named ``unseen`` are of the 26 others. `wfdb.processing.compare_annotations` gives a second opinion on
the same detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.peaks import RPeaks
from apps.ecg.training.dataset import DS1, RECORDS, Record, Span, load_record
from common.app.training import Figure

OWN = "edgeloop"
WINDOWS_MS = (150, 50)
LEARNING_S = 300.0
"""Time at the start of a record that EC57 leaves to a detector for learning."""
PARTS = ("whole", "after_5_min", "with_flutter")
BOOTSTRAPS = 2000

Samples = NDArray[np.int64]
Detector = Callable[[NDArray[np.float64], float], Samples]
"""Samples of R peaks in ``(n,)`` mV at a rate in Hz."""


@dataclass(frozen=True, slots=True)
class QrsCount:
    """Counts of a detector on one record; ``part`` is of `PARTS`."""

    detector: str
    record: str
    part: str
    window_ms: int
    hits: int
    missed: int
    extra: int
    judge: str = "own"
    """Comparison by this module (``own``) or ``wfdb``."""

    @property
    def sensitivity(self) -> float:
        """In percent; 100 without beats."""
        return 100.0 * self.hits / max(self.hits + self.missed, 1)

    @property
    def ppv(self) -> float:
        """Positive predictive value in percent."""
        return 100.0 * self.hits / max(self.hits + self.extra, 1)


def streamed(signal_mv: NDArray[np.float64], rate_hz: float) -> Samples:
    """R peaks by the app's detector, fed a second at a time."""
    peaks, second = RPeaks(rate_hz), round(rate_hz)
    found = [peaks.push(signal_mv[at : at + second]) for at in range(0, len(signal_mv), second)]
    found = np.concatenate([*found, peaks.finish()])
    return found[found < len(signal_mv)]


def outside(samples: Samples, spans: Sequence[Span]) -> Samples:
    """Those of ``samples`` that lie in none of ``spans``."""
    inside = np.zeros(len(samples), bool)
    for span in spans:
        inside |= (samples >= span.begin) & (samples < span.end)
    return samples[~inside]


def matches(truth: Samples, found: Samples, window: int) -> list[tuple[int, int]]:
    """Pairs of indices into ``truth`` and ``found``, both ascending, at most ``window`` apart.

    The maximum number of pairs, each entry in at most one.
    """
    pairs: list[tuple[int, int]] = []
    at, detected = 0, 0
    beats, peaks = truth.tolist(), found.tolist()
    while at < len(beats) and detected < len(peaks):
        if peaks[detected] < beats[at] - window:
            detected += 1
        elif peaks[detected] > beats[at] + window:
            at += 1
        else:
            pairs.append((at, detected))
            at, detected = at + 1, detected + 1
    return pairs


def counts(record: Record, detector: str, found: Samples) -> Iterator[QrsCount]:
    """All that is counted of the detections ``found`` in one record."""
    truth = record.beats.samples
    beats, peaks = outside(truth, record.flutter), outside(found, record.flutter)
    start = round(LEARNING_S * record.rate_hz)
    parts = (beats, peaks), (beats[beats >= start], peaks[peaks >= start]), (truth, found)
    for part, (expected, given) in zip(PARTS, parts, strict=True):
        for window_ms in WINDOWS_MS:
            hits = len(matches(expected, given, round(window_ms / 1000 * record.rate_hz)))
            yield QrsCount(
                detector, record.name, part, window_ms, hits, len(expected) - hits, len(given) - hits
            )
    if detector == OWN and len(peaks):
        from wfdb.processing import compare_annotations

        for window_ms in WINDOWS_MS:
            opinion = compare_annotations(beats, peaks, round(window_ms / 1000 * record.rate_hz))
            yield QrsCount(
                detector, record.name, PARTS[0], window_ms, opinion.tp, opinion.fn, opinion.fp, "wfdb"
            )


def measure_qrs(
    folder: Path, names: Sequence[str] = RECORDS, baselines: Mapping[str, Detector] | None = None
) -> Iterator[QrsCount]:
    """Counts of all records, as they are done. Raises `DatasetError`."""
    for name in names:
        record = load_record(folder, name)
        lead = record.signal_mv[:, 0]
        for detector, detect in {OWN: streamed, **(baselines or {})}.items():
            yield from counts(record, detector, detect(lead, record.rate_hz))


def figures(counted: Sequence[QrsCount]) -> dict[str, Figure]:
    """Gross figures in percent with 95 % bootstrap intervals over records.

    ``ecg_qrs_sensitivity`` and ``ecg_qrs_ppv`` are the detector's within 150 ms; a baseline's bear its name
    before that, and what differs comes last: ``_50ms``, ``_after_5_min``, ``_with_flutter``, ``_wfdb``
    (second opinion), ``_unseen`` (records outside DS1).
    """
    groups: dict[str, tuple[str, list[QrsCount]]] = {}
    for count in counted:
        who = "" if count.detector == OWN else f"{count.detector}_"
        ends = "".join(
            [
                "" if count.part == PARTS[0] else f"_{count.part}",
                "" if count.window_ms == WINDOWS_MS[0] else f"_{count.window_ms}ms",
                "" if count.judge == "own" else f"_{count.judge}",
            ]
        )
        groups.setdefault(who + "{}" + ends, (count.part, []))[1].append(count)
        if not ends and count.record not in DS1:
            groups.setdefault(who + "{}_unseen", (count.part, []))[1].append(count)
    found: dict[str, Figure] = {}
    for name, (part, group) in groups.items():
        hits, missed, extra = (
            np.array([getattr(c, which) for c in group]) for which in ("hits", "missed", "extra")
        )
        unit = f"%, {len(group)} records, {part.replace('_', ' ')}, {group[0].window_ms} ms"
        found["ecg_" + name.format("qrs_sensitivity")] = _gross(hits, missed, unit)
        found["ecg_" + name.format("qrs_ppv")] = _gross(hits, extra, unit)
    return found


def _gross(hits: Samples, wrong: Samples, unit: str) -> Figure:
    drawn = np.random.default_rng(0).integers(len(hits), size=(BOOTSTRAPS, len(hits)))
    shares = hits[drawn].sum(axis=1) / np.maximum((hits + wrong)[drawn].sum(axis=1), 1)
    lower, upper = np.quantile(100 * shares, [0.025, 0.975])
    value = 100 * hits.sum() / max((hits + wrong).sum(), 1)
    return Figure(float(value), float(lower), float(upper), int((hits + wrong).sum()), unit)

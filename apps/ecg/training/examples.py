"""Beats and rhythm with known truth, as features, from recordings and from virtual patients.

Everything goes through the streaming parts (`apps.ecg.edge`), so that training sees what a device sees:
its own R peaks, features with bounded look-ahead, templates that begin cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import KINDS, BeatFeatures, BeatRows
from apps.ecg.edge.filters import Joined
from apps.ecg.edge.peaks import RPeaks
from apps.ecg.edge.rhythm import RhythmFeatures, RhythmRows
from apps.ecg.training.dataset import Record, lead_between
from apps.ecg.training.scoring import WINDOW_S, matched
from apps.ecg.virtual.patient import patient_of

UNKNOWN = -1
"""Truth of a beat or a rhythm row without evaluation."""
FIBRILLATION = ("(AFIB", "AF")
"""Labels of atrial fibrillation in annotation files and of virtual patients. Flutter (``(AFL``) is none, as
it is mostly regular; its detection as fibrillation is a false positive."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of a recording: beats, spans without evaluation, and spans of fibrillation.

    ``rhythm_known`` are the spans with known rhythm; None for the whole recording.
    """

    samples: NDArray[np.int64]
    kinds: NDArray[np.int64]
    unjudged: tuple[tuple[int, int], ...] = ()
    fibrillation: tuple[tuple[int, int], ...] = ()
    rhythm_known: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording with its truth; ``signal_mv`` is ``(samples, leads)``, and the first lead is evaluated."""

    patient: str
    rate_hz: float
    signal_mv: NDArray[np.float64]
    truth: Truth


@dataclass(frozen=True, slots=True)
class Examples:
    """Beats of one lead of one recording by the streaming path.

    ``kinds`` are indices in `KINDS`: the class of the annotated beat, Q for a peak without one, `UNKNOWN`
    without evaluation. ``extra`` marks peaks without a beat, ``missed`` are the kinds of beats without a
    peak.
    """

    patient: str
    lead: int
    rate_hz: float
    rows: BeatRows
    kinds: NDArray[np.int64]
    extra: NDArray[np.bool_]
    missed: NDArray[np.int64]
    truth: Truth


def recording_of(record: Record) -> Recording:
    """A record of a database as a recording."""
    return Recording(
        record.name,
        record.rate_hz,
        record.signal_mv,
        Truth(
            record.beats.samples,
            np.array([KINDS.index(kind) for kind in record.beats.kinds], np.int64),
            tuple((span.begin, span.end) for span in record.flutter),
            tuple((span.begin, span.end) for span in record.rhythms if span.label in FIBRILLATION),
        ),
    )


def with_leads_between(recording: Recording, angles: Sequence[float]) -> Recording:
    """The recording with additional leads (`dataset.lead_between`)."""
    between = [lead_between(recording.signal_mv, angle) for angle in angles]
    return replace(recording, signal_mv=np.column_stack([recording.signal_mv, *between]))


def virtual_recording(parameters: dict[str, str], seconds: float) -> Recording:
    """The beginning of the recording of a virtual patient (parameters as in its URI), with its truth."""
    patient = patient_of(parameters)
    beats = list(patient.beats(0.0, seconds))
    rate = patient.rate_hz
    return Recording(
        patient.name,
        rate,
        patient.signal(0, round(seconds * rate)),
        Truth(
            np.array([beat.sample for beat in beats], np.int64),
            np.array([KINDS.index(beat.kind) for beat in beats], np.int64),
            (),
            tuple(
                (round(span.began_s * rate), round(span.ended_s * rate))
                for span in patient.rhythms(0.0, seconds)
                if span.rhythm in FIBRILLATION
            ),
        ),
    )


def beat_rows(lead_mv: NDArray[np.float64], rate_hz: float, peaks: NDArray[np.int64]) -> BeatRows:
    """Features of the beats at ``peaks`` of one lead, by the streaming path."""
    joined, _ = Joined().push(lead_mv)
    return BeatFeatures(rate_hz).push(joined, peaks)


def examples_of(recording: Recording, leads: Sequence[int] = (0,)) -> list[Examples]:
    """Examples of some leads, all at the peaks of the first lead."""
    rate, truth = recording.rate_hz, recording.truth
    peaks = RPeaks(rate).push(recording.signal_mv[:, 0])
    found = []
    for lead in leads:
        rows = beat_rows(recording.signal_mv[:, lead], rate, peaks)
        at = matched(rows.samples, truth.samples, round(WINDOW_S * rate))
        kinds = np.where(at >= 0, truth.kinds[at], KINDS.index("Q"))
        missed = np.ones(len(truth.samples), bool)
        missed[at[at >= 0]] = False
        for begin, end in truth.unjudged:
            kinds[(rows.samples >= begin) & (rows.samples < end)] = UNKNOWN
            missed[(truth.samples >= begin) & (truth.samples < end)] = False
        found.append(Examples(recording.patient, lead, rate, rows, kinds, at < 0, truth.kinds[missed], truth))
    return found


def rhythm_rows(examples: Examples, kinds: NDArray[np.integer]) -> tuple[RhythmRows, NDArray[np.int64]]:
    """Rhythm rows after beats of these classes, and whether each has AF in the middle of its short window.

    `UNKNOWN` outside of known rhythm.
    """
    rows, truth = RhythmFeatures().push(examples.rows, kinds), examples.truth
    af = np.full(len(rows), 0 if truth.rhythm_known is None else UNKNOWN)
    for value, spans in ((0, truth.rhythm_known or ()), (1, truth.fibrillation)):
        for begin, end in spans:
            af[(rows.began >= begin) & (rows.began < end)] = value
    return rows, af

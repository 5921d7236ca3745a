"""A virtual patient with known rhythm, beats and disturbances: ``virtual:patient?seed=7&rhythm=sinus``.

The beats are those of the dynamical model of McSharry et al. (2003), which neurokit2's generator implements
as well; they are implemented here in numpy, as a node has no neurokit2 (it requires pandas, matplotlib and
scikit-learn), and with rhythms, twelve leads and noise beyond its generator. A test compares the two.
`apps.ecg.virtual.waves`, `rhythm`, `noise` and `traits` describe the model.

Everything is a function of (seed, time): the same URI gives the same chunks from any position, however many
days into a recording, with bounded memory, and `Patient` has the ground truth of the same times.

Its ECG is smoother, its AF and ectopic beats more uniform than real ones, and figures measured on it do not
transfer to persons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.ecg.virtual.faults import CLOCK_JUMP_NS, Fault, damaged, parse_faults, swapped_leads
from apps.ecg.virtual.noise import AMPLIFIER_MV, Noise, noise_of, parse_noise, parse_window
from apps.ecg.virtual.rhythm import KINDS, RHYTHMS, Episode, Heart, Span
from apps.ecg.virtual.traits import draw_traits
from apps.ecg.virtual.waves import (
    BEAT_REACH_S,
    LEAD_ORDER,
    LEADS,
    Waves,
    beat_vectors,
    fibrillation_vectors,
    lead_matrix,
    qrs_size_mv,
    waves_of,
)
from common.app.edge import Reading
from common.clock import anchored_clock
from common.errors import ConfigError, MessageError, SourceError
from common.messages import parse_time
from hardware.sensors.pace import Pace

PARAMETERS = {
    "seed": "seed of the patient and of all that happens (0)",
    "name": "name of the patient (patient-SEED)",
    "rate_hz": "samples a second, 125 to 1000 (360)",
    "leads": "number of leads, or their names: II,V5 (1)",
    "chunk_s": "seconds in a chunk (1)",
    "rhythm": "rhythm where no episode is: sinus, AF, VT, bradycardia or tachycardia (sinus)",
    "episodes": "scheduled: RHYTHM:FROM-TO,... in s; also pause, PVC, PAC, PAC_runs (sinus with many)",
    "burden": "episodes at random: RHYTHM:PERCENT,... of the time",
    "inject": "file with lines SECOND RHYTHM [SECONDS]: from that second on, also while the source runs",
    "pvc": "percent of ventricular ectopic beats (0.3)",
    "pac": "percent of atrial ectopic beats (0.3)",
    "variant": "typical, slow_af, aberrant, septal_pvc, lbbb or respiratory (typical)",
    "heart_rate": "beats a minute at rest (by the seed)",
    "pr_ms": "PR interval (by the seed)",
    "qrs_ms": "QRS duration (by the seed)",
    "qtc_ms": "QT at 60 beats a minute (by the seed)",
    "noise": "KIND:DB[:FROM-TO][@LEAD],... of baseline_wander, mains, muscle, electrode_motion, lead_off",
    "mains_hz": "frequency of the mains (50)",
    "faults": "KIND:FROM-TO,... of what `apps.ecg.virtual.faults` lists",
    "start": "time of the first sample in UTC, such as 2026-01-01T00:00:00Z (now)",
}
_TRAITS = {"heart_rate": "heart_rate_bpm", "pr_ms": "pr_ms", "qrs_ms": "qrs_ms", "qtc_ms": "qtc_ms"}
_TRUTH_STEP_S, _PIECE_S = 600.0, 2.0
RESOLUTION_DECIMALS = 3
"""Of the recorder, in mV."""


@dataclass(frozen=True, slots=True)
class TrueBeat:
    """A true beat: sample of its R peak, and AAMI class."""

    sample: int
    kind: str


@dataclass(frozen=True)
class Patient:
    """A virtual patient with a recorder, and the truth about both."""

    name: str
    heart: Heart
    rate_hz: float
    leads: tuple[str, ...]
    noises: tuple[Noise, ...] = ()
    faults: tuple[Fault, ...] = ()
    mains_hz: float = 50.0

    @cached_property
    def _waves(self) -> Waves:
        return waves_of(self.heart.traits)

    @cached_property
    def _qrs_mv(self) -> NDArray[np.float64]:
        return qrs_size_mv(self._waves, lead_matrix(self.leads))

    def signal(self, first: int, count: int) -> NDArray[np.float64]:
        """The recording in mV ``(count, leads)`` from sample ``first`` on, with noise and without faults."""
        return self._recorded(first, count, self.leads)

    def damaged_signal(self, first: int, count: int) -> NDArray[np.float64]:
        """`signal` with the recorder's faults at sample ``first``."""
        kinds = self.faults_at(first / self.rate_hz)
        if "arms_swapped" in kinds:
            origins, signs = swapped_leads(self.leads)
            values = self._recorded(first, count, tuple(origins)) * signs
        else:
            values = self.signal(first, count)
        for kind in sorted(kinds):
            values = damaged(kind, values, first)
        return values

    def faults_at(self, time_s: float) -> frozenset[str]:
        """Kinds of the faults at a time."""
        return frozenset(f.kind for f in self.faults if f.began_s <= time_s < f.ended_s)

    def beats(self, began_s: float, ended_s: float) -> Iterator[TrueBeat]:
        """The truth: beats with R peaks between two times, a piece of the recording at a time."""
        while began_s < ended_s:
            until_s = min(began_s + _TRUTH_STEP_S, ended_s)
            found = self.heart.beats(began_s, until_s)
            for time_s, kind in zip(found.time_s, found.kind, strict=True):
                yield TrueBeat(round(float(time_s) * self.rate_hz), KINDS[kind])
            began_s = until_s

    def rhythms(self, began_s: float, ended_s: float) -> Iterator[Span]:
        """The truth: rhythm between two times, without a gap."""
        return self.heart.spans(began_s, ended_s)

    def disturbances(self, began_s: float, ended_s: float) -> list[Noise]:
        """The truth: noise between two times, cut to them."""
        return [
            replace(noise, began_s=max(began_s, noise.began_s), ended_s=min(ended_s, noise.ended_s))
            for noise in self.noises
            if noise.began_s < ended_s and noise.ended_s > began_s
        ]

    def _recorded(self, first: int, count: int, leads: tuple[str, ...]) -> NDArray[np.float64]:
        piece = round(_PIECE_S * self.rate_hz)
        if count > piece:  # memory is proportional to samples times beats
            pieces = [
                self._recorded(at, min(piece, first + count - at), leads)
                for at in range(first, first + count, piece)
            ]
            return np.concatenate(pieces)
        time_s = (first + np.arange(count)) / self.rate_hz
        traits = self.heart.traits
        beats = self.heart.beats(time_s[0] - BEAT_REACH_S[0], time_s[-1] + BEAT_REACH_S[1])
        size = 1 + 0.04 * np.sin(
            2 * np.pi * traits.respiration_hz * beats.time_s
        )  # the heart moves with breath
        vectors = beat_vectors(self._waves, time_s, beats.time_s, beats.shape, beats.rr_s, size)
        fibrillating = self.heart.fibrillating(time_s)
        if fibrillating.any():
            vectors = vectors + fibrillation_vectors(traits, time_s, fibrillating)
        values = vectors @ lead_matrix(leads)
        for column, lead in enumerate(self.leads):
            values[:, column] += AMPLIFIER_MV * self._drawn("amplifier", lead, first, count)
            self._disturb(values[:, column], time_s, first, lead, float(self._qrs_mv[column]))
        return values

    def _disturb(
        self, values: NDArray[np.float64], time_s: NDArray[np.float64], first: int, lead: str, qrs_mv: float
    ) -> None:
        for noise in self.noises:
            there = (time_s >= noise.began_s) & (time_s < noise.ended_s)
            if not there.any() or noise.lead not in (None, lead):
                continue
            if noise.snr_db is None:
                values[there] = np.nan
            else:
                rms_mv = qrs_mv / math.sqrt(8 * 10 ** (noise.snr_db / 10))
                values[there] += rms_mv * self._drawn(noise.kind, lead, first, len(values))[there]

    def _drawn(self, kind: str, lead: str, first: int, count: int) -> NDArray[np.float64]:
        return noise_of(kind, self.heart.seed, lead, first, count, self.rate_hz, self.mains_hz)


class PatientSource:
    """`common.app.edge.Source`: chunks of a patient's ECG in mV, without an end.

    Position ``p`` is the chunk ``p`` (from 1). In real time a chunk is given when its last sample is over; at
    ``speed`` 0, as fast as chunks are taken.
    """

    live = False
    virtual = True

    def __init__(self, patient: Patient, chunk_s: float, start_ns: int | None, speed: float) -> None:
        self.patient = patient
        self.samples = max(1, round(chunk_s * patient.rate_hz))
        self._start_ns = start_ns
        self._pace = Pace(speed)
        self._halved = replace(patient, rate_hz=patient.rate_hz / 2)

    def readings(self, after: int | None) -> Iterator[Reading]:
        """Chunks with ``position > after``, without an end until `close`."""
        patient, position = self.patient, (after or 0) + 1
        start_ns = self._start_ns
        if start_ns is None:
            start_ns = anchored_clock()() - self._elapsed_ns(position)
        while True:
            first = (position - 1) * self.samples
            if not self._pace.wait_until(start_ns + self._elapsed_ns(position)):
                return
            kinds = patient.faults_at(first / patient.rate_hz)
            if "gap" not in kinds:
                captured_ns = start_ns + self._elapsed_ns(position - 1)
                yield self._chunk(position, first, captured_ns, kinds)
            position += 1

    def close(self) -> None:
        self._pace.close()

    def _chunk(self, position: int, first: int, captured_ns: int, kinds: frozenset[str]) -> Reading:
        patient, count = self.patient, self.samples
        if "rate" in kinds:
            patient, first, count = self._halved, first // 2, max(1, count // 2)
        if "clock" in kinds:
            captured_ns += CLOCK_JUMP_NS
        # Its recorder resolves 1 uV, as real ones do; adding 0 makes -0 to 0.
        values = np.round(patient.damaged_signal(first, count), RESOLUTION_DECIMALS) + 0.0
        attributes = {"first_sample": first, "virtual": True}
        return Reading(
            patient.name, captured_ns, position, values, patient.leads, patient.rate_hz, attributes
        )

    def _elapsed_ns(self, chunks: int) -> int:
        return round(chunks * self.samples / self.patient.rate_hz * 1e9)


def patient_of(parameters: Mapping[str, str]) -> Patient:
    """The patient with these URI parameters. Raises `ConfigError` for unknown or bad ones."""
    unknown = sorted(set(parameters) - {*PARAMETERS, "speed"})
    if unknown:
        raise ConfigError(
            f"virtual:patient has no parameter {unknown[0]!r}; parameters are {', '.join(PARAMETERS)}"
        )
    seed = parameters.get("seed", "0")
    if not seed.isdecimal():
        raise ConfigError(f"seed={seed} is not a whole number from 0")
    traits = draw_traits(int(seed), parameters.get("variant", "typical"))
    limits = {"heart_rate": (30, 150), "pr_ms": (80, 300), "qrs_ms": (60, 180), "qtc_ms": (300, 560)}
    changed = {
        _TRAITS[name]: _number(parameters, name, 0, *limits[name]) for name in _TRAITS if name in parameters
    }
    rhythm = parameters.get("rhythm", "sinus")
    if rhythm not in RHYTHMS or rhythm == "pause":
        raise ConfigError(f"rhythm={rhythm} is not one of {', '.join(r for r in RHYTHMS if r != 'pause')}")
    leads = _leads(parameters.get("leads", "1"))
    noises = parse_noise(parameters.get("noise", ""))
    for noise in noises:
        if noise.lead not in (None, *leads):
            raise ConfigError(f"noise in {noise.lead}: the recording has the leads {', '.join(leads)}")
    heart = Heart(
        int(seed),
        replace(traits, **changed),
        rhythm,
        _number(parameters, "pvc", 0.3, 0, 60) / 100,
        _number(parameters, "pac", 0.3, 0, 60) / 100,
        _episodes(parameters.get("episodes", "")),
        _burden(parameters.get("burden", "")),
        Path(parameters["inject"]) if parameters.get("inject") else None,
    )
    return Patient(
        parameters.get("name") or f"patient-{seed}",
        heart,
        _number(parameters, "rate_hz", 360, 125, 1000),
        leads,
        noises,
        parse_faults(parameters.get("faults", "")),
        _number(parameters, "mains_hz", 50, 40, 70),
    )


def open_source(kind: str, parameters: dict[str, str], speed: float) -> PatientSource:
    """The source ``virtual:patient?...`` (see `PARAMETERS`). Raises `ConfigError` or `SourceError`."""
    if kind != "patient":
        raise SourceError(f"the ECG app has no virtual source {kind!r}, only 'patient'")
    patient = patient_of(parameters)
    start = parameters.get("start")
    try:
        start_ns = parse_time(start) if start else None
    except MessageError as error:
        raise ConfigError(f"start={start}: {error}") from None
    return PatientSource(patient, _number(parameters, "chunk_s", 1, 0.002, 60), start_ns, speed)


def _number(parameters: Mapping[str, str], name: str, default: float, lower: float, upper: float) -> float:
    text = parameters.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lower <= value <= upper:
        raise ConfigError(f"{name}={text} is not a number from {lower:g} to {upper:g}")
    return value


def _leads(text: str) -> tuple[str, ...]:
    if text == "12":
        return LEADS
    if text.isdecimal() and 1 <= int(text) <= len(LEADS):
        return LEAD_ORDER[: int(text)]
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(LEADS) or len(set(names)) < len(names):
        raise ConfigError(f"leads={text} is neither a number from 1 to 12 nor some of {', '.join(LEADS)}")
    return names


def _episodes(text: str) -> tuple[Episode, ...]:
    episodes = []
    for word in text.split(",") if text.strip() else ():
        rhythm, _, window = word.strip().partition(":")
        if rhythm not in RHYTHMS:
            raise ConfigError(f"episodes={word} is not RHYTHM:FROM-TO with one of {', '.join(RHYTHMS)}")
        began_s, ended_s = parse_window(window, f"episodes={word}")
        if rhythm == "pause" and ended_s == math.inf:
            raise ConfigError(f"episodes={word}: a pause ends")
        episodes.append(Episode(rhythm, began_s, ended_s))
    return tuple(episodes)


def _burden(text: str) -> tuple[tuple[str, float], ...]:
    burden = []
    for word in text.split(",") if text.strip() else ():
        rhythm, _, percent = word.strip().partition(":")
        if rhythm not in RHYTHMS or rhythm == "sinus":
            raise ConfigError(f"burden={word} is not RHYTHM:PERCENT with one of {', '.join(RHYTHMS[1:])}")
        burden.append((rhythm, _number({"burden": percent}, "burden", 0, 0, 100) / 100))
    return tuple(burden)

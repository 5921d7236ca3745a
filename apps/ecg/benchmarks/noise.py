"""Noise benchmark: R peaks, withheld time and false alarms by signal-to-noise ratio.

::

    python -m apps.ecg.benchmarks.noise [--json] [--plot docs/img/ecg-noise.svg] [--patients 20]

Virtual patients in sinus rhythm with few ectopic beats (`REPORTED_SEEDS`) run through the whole app on the
edge, with the starter model, in one lead. As in PhysioNet's noise stress test (Moody, Muldrow, Mark, *A noise
stress test for arrhythmia detectors*, Computers in Cardiology 1984), noise comes and goes every two minutes
after a clean start (there five minutes, here two), and in the ratio the signal's power is the square of the
QRS complex's peak-to-peak amplitude over 8, the noise's its mean square. The noises are our own
(`apps.ecg.virtual.noise`), not those of that test.

Detection is counted in the noisy stretches, each beat once within 150 ms: of all beats, and as ``good`` of
those on signal that was not withheld. V beats and alarms are false if the patient had none: alarms count
wherever they are raised, V beats if they were reported. Intervals are 95 %, by bootstrap over patients, those
of alarms by Poisson's distribution (Garwood 1936). Beside them are baselines that read the whole recording at
once, and the same patients without noise.

What the app withholds, when it is sure of a V beat and how long a run waits for its alarm were chosen on
other patients (`DEVELOPMENT_SEEDS`) and on the records of MIT-BIH's DS1. Seeds 7000 to 7009 had been reported
once before the last of these choices. The figures do not cover real electrodes: see
`apps.ecg.virtual.patient`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.ecg import events
from apps.ecg.app import SPEC, EcgSettings
from apps.ecg.benchmarks.noise_plot import name_of, plot
from apps.ecg.benchmarks.qrs import neurokit2, sleepecg
from apps.ecg.edge.history import KnownBeat
from apps.ecg.edge.monitor import Monitor
from apps.ecg.training.qrs_scoring import OWN, Samples, matches
from apps.ecg.training.scoring import WINDOW_S, drawn_patients
from apps.ecg.virtual.patient import Patient, TrueBeat, patient_of
from common.app.edge import Model
from common.app.training import Figure
from common.messages import Event

REPORTED_SEEDS = range(7000, 7020)
DEVELOPMENT_SEEDS = range(1000, 5000)
NOISES = ("baseline_wander", "mains", "muscle", "electrode_motion")
SNRS_DB = (24, 18, 12, 6, 0, -6)
CLEAN = "clean"
LEAD = "II"
STRETCH_S = 120
STRETCHES = 3
"""Noisy stretches in a recording, with a clean one before and after each."""
BASELINES = {"neurokit2": neurokit2, "sleepecg": sleepecg}
V_ALARMS = ("ventricular_tachycardia", "frequent_ventricular_beats")
AF_ALARM, TECHNICAL = "atrial_fibrillation", "lead_off"


@dataclass(frozen=True, slots=True)
class Detected:
    """Annotated ``beats`` and how many were ``found``; ``detections`` and how many were ``right``."""

    beats: int
    found: int
    detections: int
    right: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one patient with one noise; times in s."""

    seed: int
    noise: str
    snr_db: int | None
    detected: Mapping[str, Detected]
    """By detector; the app's own on signal that is not withheld is ``good``."""
    noisy_s: float
    withheld_noisy_s: float
    clean_s: float
    withheld_clean_s: float
    false_v: int
    alarms: Counter[str]
    """Raised in the whole recording: no alarm is true."""
    withheld_reported: bool
    """Whether the app reported that it withholds."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Results of the app on a recording."""

    beats: list[KnownBeat]
    events: list[Event]
    monitor: Monitor


def starter_model() -> Model:
    """The starter model of the app."""
    from common.bundle import open_bundle
    from common.model.inference import load_model
    from common.model.profile import find_profile

    return load_model(open_bundle(SPEC.starter, app=SPEC.name), find_profile("cpu"))


def stretches(count: int) -> list[tuple[int, int]]:
    """Beginning and end in s of the noisy stretches."""
    return [((2 * k + 1) * STRETCH_S, (2 * k + 2) * STRETCH_S) for k in range(count)]


def patient_with(seed: int, noise: str, snr_db: int | None, noisy: Sequence[tuple[int, int]]) -> Patient:
    """A patient in sinus rhythm with 1 % of ventricular and 1 % of atrial ectopic beats."""
    there = ",".join(f"{noise}:{snr_db}:{begin}-{end}" for begin, end in noisy) if noise != CLEAN else ""
    return patient_of({"seed": str(seed), "pvc": "1", "pac": "1", "leads": LEAD, "noise": there})


def replay(patient: Patient, signal_mv: NDArray[np.float64], model: Model) -> Replayed:
    """Results of the app on a recording, fed ten seconds at a time."""
    monitor = Monitor(patient.name, patient.rate_hz, patient.leads, 0, EcgSettings(), model)
    piece = round(10 * patient.rate_hz)
    beats: list[KnownBeat] = []
    found: list[Event] = []
    for at in range(0, len(signal_mv), piece):
        found += [each for each in monitor.push(signal_mv[at : at + piece]) if isinstance(each, Event)]
        beats += monitor.recording.history.between(beats[-1].sample + 1 if beats else 0, at + piece)
    return Replayed(beats, found, monitor)


def outcome(
    seed: int, noise: str, snr_db: int | None, model: Model, count: int = STRETCHES, baselines: bool = True
) -> Outcome:
    """Run one patient with ``count`` noisy stretches."""
    noisy = stretches(count)
    patient = patient_with(seed, noise, snr_db, noisy)
    rate_hz, seconds = patient.rate_hz, (2 * count + 1) * STRETCH_S
    signal_mv = patient.signal(0, round(seconds * rate_hz))
    truth = list(patient.beats(0.0, seconds))
    replayed = replay(patient, signal_mv, model)
    usability = replayed.monitor.recording.usability
    window = round(WINDOW_S * rate_hz)
    samples = np.array([beat.sample for beat in truth], np.int64)
    found = np.array([beat.sample for beat in replayed.beats], np.int64)
    good = np.array([beat.good for beat in replayed.beats], np.bool_)
    seen = np.array([usability.throughout(s - window, s + window) for s in samples.tolist()], np.bool_)
    spans = [(round(begin * rate_hz), round(end * rate_hz)) for begin, end in noisy]
    detected = {
        OWN: _detected(samples, found, window, _inside(samples, spans), _inside(found, spans)),
        "good": _detected(
            samples, found, window, seen & _inside(samples, spans), good & _inside(found, spans)
        ),
    }
    for name, detect in BASELINES.items() if baselines else ():
        peaks = np.sort(detect(signal_mv[:, 0], rate_hz))
        detected[name] = _detected(samples, peaks, window, _inside(samples, spans), _inside(peaks, spans))
    withheld = sum(end - begin - usability.good_samples(begin, end) for begin, end in spans)
    noisy_samples = sum(end - begin for begin, end in spans)
    all_withheld = len(signal_mv) - usability.good_samples(0, len(signal_mv))
    return Outcome(
        seed,
        noise,
        snr_db,
        detected,
        noisy_samples / rate_hz,
        withheld / rate_hz,
        (len(signal_mv) - noisy_samples) / rate_hz,
        (all_withheld - withheld) / rate_hz,
        len(_false_v(truth, replayed.beats, window)),
        Counter(
            event.data.alarm
            for event in replayed.events
            if isinstance(event.data, events.Alarm) and event.data.state == "raised"
        ),
        any(
            isinstance(event.data, events.Finding) and event.data.finding == "withheld"
            for event in replayed.events
        ),
    )


def measure_noise(
    model: Model, seeds: Sequence[int] = REPORTED_SEEDS, snrs_db: Sequence[int] = SNRS_DB
) -> Iterator[Outcome]:
    """Outcomes of all patients, without noise and with each, as they are done."""
    for seed in seeds:
        yield outcome(seed, CLEAN, None, model)
        for noise in NOISES:
            for snr_db in snrs_db:
                yield outcome(seed, noise, snr_db, model)


def figures(outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Figures of each noise at each SNR, all patients together: `name_of`, then what.

    A share of nothing, where no signal was good, is left out.
    """
    groups: dict[str, list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault(name_of(each.noise, each.snr_db), []).append(each)
    found: dict[str, Figure | None] = {}
    for name, group in groups.items():
        for detector in group[0].detected:
            counted = [each.detected[detector] for each in group]
            who = "" if detector == OWN else f"{detector}_"
            rows = [(c.found, c.beats) for c in counted]
            found[f"{name}_{who}sensitivity"] = _ratio(rows, 100, "% of beats in noise")
            rows = [(c.right, c.detections) for c in counted]
            found[f"{name}_{who}ppv"] = _ratio(rows, 100, "% of detections in noise")
        rows = [(each.withheld_noisy_s, each.noisy_s) for each in group]
        found[f"{name}_withheld"] = _ratio(rows, 100, "% of noisy time")
        rows = [(each.withheld_clean_s, each.clean_s) for each in group]
        found[f"{name}_withheld_between"] = _ratio(rows, 100, "% of time without noise")
        rows = [(each.false_v, each.noisy_s / 3600) for each in group]
        found[f"{name}_false_v_beats"] = _ratio(rows, 1, "per hour of noise")
        total = sum((each.alarms for each in group), Counter[str]())
        hours = sum(each.noisy_s for each in group) / 3600
        v, af = sum(total[alarm] for alarm in V_ALARMS), total[AF_ALARM]
        found[f"{name}_false_v_alarms"] = _events(v, hours)
        found[f"{name}_false_af_alarms"] = _events(af, hours)
        found[f"{name}_other_false_alarms"] = _events(total.total() - total[TECHNICAL] - v - af, hours)
    return {name: figure for name, figure in found.items() if figure is not None}


def table(found: Mapping[str, Figure]) -> str:
    """The figures in Markdown; alarms as counts."""

    def percent(*names: str) -> str:
        values = [found.get(name) for name in names]
        return " / ".join("none" if value is None else f"{value.value:.1f}" for value in values)

    lines = [
        "| noise | SNR, dB | sensitivity / PPV, % | on good signal | neurokit2 | sleepecg | withheld, % "
        "| false V beats per hour | false V / AF / other alarms |",
        "|" + "---|" * 9,
    ]
    for noise, snr_db in [(CLEAN, None), *((noise, snr_db) for noise in NOISES for snr_db in SNRS_DB)]:
        name = name_of(noise, snr_db)
        detected = [
            percent(f"{name}_{who}sensitivity", f"{name}_{who}ppv")
            for who in ("", "good_", *(f"{baseline}_" for baseline in BASELINES))
        ]
        alarms = [found[f"{name}_{which}_alarms"].count for which in ("false_v", "false_af", "other_false")]
        cells = (
            noise.replace("_", " "),
            "" if snr_db is None else str(snr_db),
            *detected,
            percent(f"{name}_withheld"),
            f"{found[f'{name}_false_v_beats'].value:.0f}",
            " / ".join(str(count) for count in alarms),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _inside(samples: Samples, spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Mask of the ``samples`` that lie in one of ``spans``."""
    inside = np.zeros(len(samples), np.bool_)
    for begin, end in spans:
        inside |= (samples >= begin) & (samples < end)
    return inside


def _detected(
    truth: Samples, found: Samples, window: int, of_truth: NDArray[np.bool_], of_found: NDArray[np.bool_]
) -> Detected:
    """Counts among the chosen beats and detections, all of them matched."""
    pairs = np.array(matches(truth, found, window), np.int64).reshape(-1, 2)
    return Detected(
        int(of_truth.sum()),
        int(of_truth[pairs[:, 0]].sum()),
        int(of_found.sum()),
        int(of_found[pairs[:, 1]].sum()),
    )


def _false_v(truth: Sequence[TrueBeat], reported: Sequence[KnownBeat], window: int) -> list[KnownBeat]:
    """Reported V beats without a true one."""
    found = np.array([beat.sample for beat in reported], np.int64)
    pairs = matches(np.array([beat.sample for beat in truth], np.int64), found, window)
    true_v = {at for beat, at in pairs if truth[beat].kind == "V"}
    return [beat for at, beat in enumerate(reported) if beat.good and beat.kind == "V" and at not in true_v]


def _ratio(rows: Sequence[tuple[float, float]], times: float, unit: str) -> Figure | None:
    """``times`` sum over sum of (part, whole) of patients, and its interval; None where the whole is 0."""
    patients = [np.array(row, np.float64) for row in rows]
    if not sum(whole for _, whole in rows):
        return None
    drawn = drawn_patients(patients)
    with np.errstate(invalid="ignore"):
        lower, upper = np.nanquantile(times * drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    part, whole = np.sum(patients, axis=0).tolist()
    return Figure(times * part / whole, float(lower), float(upper), len(rows), unit)


def _events(count: int, hours: float) -> Figure:
    """``count`` in ``hours``, with the interval of the mean of Poisson's distribution."""
    from scipy.stats import chi2

    lower = float(chi2.ppf(0.025, 2 * count) / 2) if count else 0.0
    upper = float(chi2.ppf(0.975, 2 * count + 2) / 2)
    return Figure(count / hours, lower / hours, upper / hours, count, f"per hour, in {hours:.1f} h of noise")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.ecg.benchmarks.noise", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="one JSON line a figure instead of a table")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    parser.add_argument("--patients", type=int, default=len(REPORTED_SEEDS), help="the first so many")
    options = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    for each in measure_noise(starter_model(), REPORTED_SEEDS[: options.patients]):
        outcomes.append(each)
        sys.stderr.write(f"{each.seed} {each.noise} {each.snr_db} {dict(each.alarms)}\n")
    found = figures(outcomes)
    if options.json:
        for name, figure in found.items():
            line = {"figure": name, "value": round(figure.value, 3), "lower": figure.lower}
            line |= {"upper": figure.upper, "count": figure.count, "unit": figure.unit}
            sys.stdout.write(json.dumps(line) + "\n")
    else:
        sys.stdout.write(table(found))
    if options.plot:
        options.plot.write_text(plot(found, NOISES, SNRS_DB), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

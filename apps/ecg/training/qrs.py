"""Training of the network that detects beats among candidates (`apps.ecg.edge.candidates`), on DS1.

::

    python -m apps.ecg.training.qrs --data DIR [--folds 4] [--members 3] [--version V] [--output FOLDER]

With ``--folds`` each record of DS1 is evaluated by a network trained without it, and nothing is written: so
the recipe and the threshold were chosen. Otherwise training uses all of DS1 and writes a bundle with its
lineage. No other record is read.

22 patients are few, so every epoch augments the records: a lead at a random angle in the plane of the
record's two leads (which is another lead of the same heart), another rate, beats whose size changes from one
to the next or that stop for a while, and noise of muscle, mains, wander and in the band of the QRS complex.
The network is a multi-layer perceptron with two outputs, the score of a beat and the offset of the R peak
from its usual position; it is trained by Adam with a cosine schedule, in numpy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

from apps.ecg.edge.candidates import (
    DOMINANCE_S,
    INPUTS,
    LAG_S,
    LEVEL_S,
    LOOK_AHEAD_S,
    SIGNED,
    FrontEnd,
    inputs,
    maxima,
)
from apps.ecg.edge.filters import Filter, Floats, butterworth
from apps.ecg.edge.peaks import NETWORK, OFFSET_SCALE, REFRACTORY_S, THRESHOLD, Network
from apps.ecg.training.dataset import DS1, Beats, Record, lead_between, load_record, mitdb_in
from apps.ecg.virtual.patient import patient_of
from common.bundle import Bundle, Limits, Lineage, Manifest, TensorSpec, file_digest, seal, write_golden
from common.revision import code_version

MATCH_S = 0.15
HIDDEN = (64, 32)
EPOCHS = 12
BATCH = 256
RATE = 2e-3
DECAY = 0.01
OFFSET_WEIGHT = 0.1
FLIPPED = 0.3
MODEL = "qrs.npz"
COMMAND = "python -m apps.ecg.training.qrs --data DIR --output FOLDER"
LATENCY_LIMIT_MS = 5.0
THRESHOLDS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class Rows:
    """Candidates of a record: inputs ``(k, INPUTS)``, whether each is a beat, weight, and offset in s."""

    inputs: NDArray[np.float32]
    beat: NDArray[np.float32]
    weight: NDArray[np.float32]
    offset_s: NDArray[np.float32]
    samples: NDArray[np.int64]
    """Usual position of the R peak of each candidate."""


def rows_of(record: Record, signal_mv: Floats, rate_hz: float) -> Rows:
    """All candidates in ``signal_mv`` with the truth of ``record``, interpreted at ``rate_hz``."""
    samples, rows = _candidates(signal_mv, rate_hz)
    truth = record.beats.samples
    after = np.clip(np.searchsorted(samples, truth), 1, len(samples) - 1)
    nearer = np.abs(samples[after - 1] - truth) < np.abs(samples[after] - truth)
    nearest = after - nearer
    near = np.abs(samples[nearest] - truth) <= MATCH_S * rate_hz
    beat, offset_s, weight = (np.zeros(len(rows), np.float32) for _ in range(3))
    beat[nearest[near]] = 1
    offset_s[nearest[near]] = (truth[near] - samples[nearest[near]]) / rate_hz
    weight[:] = 1
    for span in record.flutter:
        weight[(samples >= span.begin) & (samples < span.end)] = 0
    return Rows(rows, beat, weight, offset_s, samples)


def _candidates(signal_mv: Floats, rate_hz: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Usual R peak positions of all candidates, and the network's inputs."""
    wave, envelope = FrontEnd(rate_hz).push(signal_mv - signal_mv[0])
    before, look = LEVEL_S * round(rate_hz) + 1, round(LOOK_AHEAD_S * rate_hz)
    wave, envelope = (np.concatenate([np.zeros(before), each]) for each in (wave, envelope))
    found = maxima(envelope, round(DOMINANCE_S * rate_hz))
    found = found[(found >= before) & (found < len(envelope) - look - 1)]
    samples = found - before - round(LAG_S * rate_hz)
    return samples, inputs(wave, envelope, found, found - before, rate_hz)


# ------------------------------------------------------------------------------------------ augmentation


def drawn(record: Record, random: np.random.Generator) -> Rows:
    """The record with another lead, rate, size of beats and noise."""
    rate_hz = record.rate_hz * float(np.exp(random.uniform(-0.25, 0.25)))
    signal = _resized(record, _mixed(record, random), random)
    record, signal = _stopped(record, signal, random)
    return rows_of(record, signal + _noise(signal, rate_hz, random), rate_hz)


def _mixed(record: Record, random: np.random.Generator) -> Floats:
    return lead_between(
        record.signal_mv,
        random.choice([0.0, np.pi / 2, random.uniform(-1.75, 1.75)], p=[0.15, 0.15, 0.7]),
    )


def _resized(record: Record, signal: Floats, random: np.random.Generator) -> Floats:
    """Beats scaled, slowly and from beat to beat; T waves mostly with their beats."""
    if random.random() < 0.25:
        return signal
    beats = record.beats.samples
    cuts = np.concatenate([[0], (beats[1:] * 0.55 + beats[:-1] * 0.45).astype(int), [len(signal)]])
    points = np.arange(0, len(beats) + 20, 20)
    gain = np.interp(np.arange(len(beats)), points, random.normal(0, 0.2, len(points)))
    chosen = random.random(len(beats)) < random.choice([0.05, 0.15, 0.3])
    gain[chosen] += random.uniform(-1.2, 0.3, np.count_nonzero(chosen))
    smooth = uniform_filter1d(np.repeat(gain, np.diff(cuts)), 61)
    baseline = uniform_filter1d(signal, 721)
    return baseline + (signal - baseline) * np.exp(smooth)


def _stopped(record: Record, signal: Floats, random: np.random.Generator) -> tuple[Record, Floats]:
    """In every other record some stretches of asystole, of 3 to 15 s."""
    if random.random() < 0.5:
        return record, signal
    signal, beats = signal.copy(), record.beats
    kept = np.ones(len(beats), bool)
    for _ in range(20):
        first = int(random.integers(len(beats) - 30))
        last = first + int(random.integers(4, 20))
        begin, end = (int(beats.samples[at] + beats.samples[at + 1]) // 2 for at in (first, last))
        floor = random.uniform(0, 0.015) * random.standard_normal(end - begin)
        signal[begin:end] = np.linspace(signal[begin], signal[end - 1], end - begin) + floor
        kept[(beats.samples >= begin) & (beats.samples < end)] = False
    beats = Beats(beats.samples[kept], beats.kinds[kept], beats.symbols[kept])
    return replace(record, beats=beats), signal


def _noise(signal: Floats, rate_hz: float, random: np.random.Generator) -> Floats:
    """One kind of noise, in some stretches of 8 s."""
    count, stretch = len(signal), int(8 * rate_hz) + 1
    size = np.percentile(np.abs(signal - np.median(signal)), 99) * 10 ** random.uniform(-1.6, -0.35)
    white = random.standard_normal(count)
    kind = random.integers(4)
    if kind == 0:
        noise = white
    elif kind == 1:
        noise = np.sin(2 * np.pi * random.choice([50, 60]) / rate_hz * np.arange(count))
    elif kind == 2:
        wander = np.asarray(lfilter([1], [1, -1 / (1 + 10 / rate_hz)], white))
        noise = 2 * wander / wander.std()
    else:
        band = Filter(butterworth(2, (1.5, 12.0), "band", rate_hz)).push(white)
        noise = band / band.std()
    there = np.repeat(random.random(count // stretch + 1) < 0.4, stretch)[:count]
    return size * noise * there


# ---------------------------------------------------------------------------------------------- training


def fit(records: Sequence[Record], epochs: int, seed: int) -> Network:
    """One member of the network."""
    random = np.random.default_rng([seed, 2])
    plain = np.concatenate([rows_of(r, r.signal_mv[:, 0], r.rate_hz).inputs for r in records])
    mean, spread = plain.mean(axis=0), plain.std(axis=0) + 0.05
    mean[:SIGNED] = 0
    sizes = (INPUTS, *HIDDEN, 2)
    layers = [
        (
            random.standard_normal((a, b)).astype(np.float32) * np.float32(np.sqrt(2 / a)),
            np.zeros(b, np.float32),
        )
        for a, b in pairwise(sizes)
    ]
    layers[-1][0][:] *= 0.1
    parameters = [each for layer in layers for each in layer]
    first, second = ([np.zeros_like(each) for each in parameters] for _ in range(2))
    step = 0
    for epoch in range(epochs):
        drawing = np.random.default_rng([seed, epoch])
        pool = [drawn(record, drawing) for record in records]
        x = (np.concatenate([rows.inputs for rows in pool]) - mean) / spread
        beat = np.concatenate([rows.beat for rows in pool])
        weight = np.concatenate([rows.weight for rows in pool])
        offset = np.concatenate([rows.offset_s for rows in pool]) * OFFSET_SCALE
        order = random.permutation(len(x))
        batches = len(x) // BATCH
        for number in range(batches):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            part = x[chosen]
            part[random.random(BATCH) < FLIPPED, :SIGNED] *= -1
            gradients = _gradients(layers, part, beat[chosen], weight[chosen], offset[chosen])
            step += 1
            share = (epoch + number / batches) / epochs
            rate = RATE * 0.5 * (1 + np.cos(np.pi * share)) * min(1, step / 200)
            for at, gradient in enumerate(gradients):
                first[at] += 0.1 * (gradient - first[at])
                second[at] += 0.001 * (gradient * gradient - second[at])
                move = first[at] / (1 - 0.9**step) / (np.sqrt(second[at] / (1 - 0.999**step)) + 1e-8)
                parameters[at] -= (rate * (move + (DECAY * parameters[at] if at % 2 == 0 else 0))).astype(
                    np.float32
                )
    layers[0] = (layers[0][0] / spread[:, None], layers[0][1] - (mean / spread) @ layers[0][0])
    return Network(tuple((weights.T[None], bias[None]) for weights, bias in layers))


def _gradients(
    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    x: NDArray[np.float32],
    beat: NDArray[np.float32],
    weight: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Of the mean cross-entropy of the beats, and Huber's loss of the offsets of those that are beats."""
    passed = [x]
    for number, (weights, bias) in enumerate(layers):
        x = x @ weights + bias
        if number < len(layers) - 1:
            x = np.maximum(x, 0)
        passed.append(x)
    slope = np.zeros_like(x)
    slope[:, 0] = weight * (1 / (1 + np.exp(-np.clip(x[:, 0], -30, 30))) - beat) / len(x)
    slope[:, 1] = OFFSET_WEIGHT * weight * beat * np.clip(x[:, 1] - offset, -1, 1) / len(x)
    found: list[NDArray[np.float32]] = []
    for number in range(len(layers) - 1, -1, -1):
        found = [passed[number].T @ slope, slope.sum(axis=0), *found]
        slope = (slope @ layers[number][0].T) * (passed[number] > 0)
    return found


def joined(members: Sequence[Network]) -> Network:
    """One network of several members, whose outputs are averaged."""
    return Network(
        tuple(
            (np.concatenate([w for w, _ in layer]), np.concatenate([b for _, b in layer]))
            for layer in zip(*(member.layers for member in members), strict=True)
        )
    )


# ------------------------------------------------------------------------------------------------ bundle


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of the training data: signals and annotations of DS1."""
    names = [f"{name}{suffix}" for name in DS1 for suffix in (".dat", ".atr")]
    return {f"mitdb/{name}": file_digest(folder / name) for name in names}


def write_bundle(
    output: Path, network: Network, version: str, lineage: Lineage, recipe: Mapping[str, Any]
) -> Bundle:
    """The network as a bundle in ``output``, with golden cases from a virtual patient."""
    output.mkdir(parents=True, exist_ok=True)
    network.write(output / MODEL)
    rows = golden_rows()
    score, offset_s = network.outputs(rows)
    write_golden(output, {"candidates": rows}, {"score": score, "offset_s": offset_s})
    manifest = Manifest(
        app="ecg",
        version=version,
        task="R peaks: score of a candidate, and offset of the peak from its usual position",
        model=MODEL,
        inputs=[
            TensorSpec(
                name="candidates",
                dtype="float32",
                shape=[None, INPUTS],
                preprocessing="apps.ecg.edge.candidates",
            )
        ],
        outputs=[
            TensorSpec(name="score", dtype="float32", shape=[None]),
            TensorSpec(name="offset_s", dtype="float32", shape=[None], unit="s"),
        ],
        precision="fp32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=LATENCY_LIMIT_MS),
        lineage=lineage,
        tolerance={"score": 1e-3, "offset_s": 1e-4},
        parameters={"command": COMMAND, "records": list(DS1), "threshold": THRESHOLD, **recipe},
    )
    return seal(output, manifest)


def golden_rows() -> NDArray[np.float32]:
    """Candidates of 20 s of a virtual patient with ectopic beats."""
    patient = patient_of({"seed": "17", "pvc": "6", "rate_hz": "360"})
    signal_mv = patient.signal(0, 20 * 360)[:, 0]
    return _candidates(signal_mv, 360.0)[1]


def counts_of(network: Network, record: Record, threshold: float) -> tuple[int, int, int]:
    """Beats found, beats missed, and others taken for beats, in the first lead of ``record``."""
    from apps.ecg.training.qrs_scoring import matches, outside

    rows = rows_of(record, record.signal_mv[:, 0], record.rate_hz)
    found: list[int] = []
    last = -1e9
    for sample, score, offset_s in zip(rows.samples, *network.outputs(rows.inputs), strict=True):
        if score > threshold and sample - last > REFRACTORY_S * record.rate_hz:
            found.append(round(sample + offset_s * record.rate_hz))
            last = sample
    truth = outside(record.beats.samples, record.flutter)
    detected = outside(np.array(found, np.int64), record.flutter)
    hits = len(matches(truth, detected, round(MATCH_S * record.rate_hz)))
    return hits, len(truth) - hits, len(detected) - hits


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.ecg.training.qrs", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with MIT-BIH")
    parser.add_argument("--folds", type=int, default=0, help="evaluate by folds over patients, write nothing")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--version", default="", help="version of the bundle (default: date)")
    parser.add_argument("--output", type=Path, default=NETWORK, help="folder of the bundle")
    options = parser.parse_args(arguments)
    folder = mitdb_in(options.data, DS1)
    records = [load_record(folder, name) for name in DS1]
    if not options.folds:
        seeds = range(options.members)
        network = joined([fit(records, options.epochs, seed) for seed in seeds])
        now = datetime.now(UTC)
        lineage = Lineage(
            data=digests_of(folder), code=code_version(), trained_at=now.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        recipe = {"members": options.members, "epochs": options.epochs, "seeds": list(seeds)}
        version = options.version or now.strftime("%Y%m%d")
        write_bundle(options.output, network, version, lineage, recipe)
        return 0
    counts = {threshold: np.zeros(3) for threshold in THRESHOLDS}
    for fold in range(options.folds):
        known = [record for at, record in enumerate(records) if at % options.folds != fold]
        network = joined([fit(known, options.epochs, seed) for seed in range(options.members)])
        for record in records[fold :: options.folds]:
            for threshold, total in counts.items():
                total += counts_of(network, record, threshold)
    for threshold, (hits, missed, extra) in counts.items():
        line = {"threshold": threshold, "sensitivity": 100 * hits / (hits + missed)}
        sys.stdout.write(json.dumps(line | {"ppv": 100 * hits / (hits + extra)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Speed of the ECG app at the edge, compared with neurokit2 and sleepecg on the same signal in the same run.

The app runs with all features on (quality, R peaks, beats, rhythm, intervals, variability, alarms, uploads),
in chunks of one second as on a node; the baselines get the whole signal at once, as they are designed for.
Times are CPU time of this process, less sensitive to a busy machine. All run once on a short signal before
the first round.
"""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.app.edge import EdgeApp, EdgeContext, Model, Reading, Source
from common.app.spec import AppSpec, find_app
from common.bundle import open_bundle
from common.edge.sensing.sources import parse_uri
from common.model.inference import load_model
from common.model.profile import find_profile

APP = "ecg"
RECORDS = ("106", "119", "203", "223")
"""Records of the MIT-BIH Arrhythmia Database that are in no test set and contain ectopic beats."""
VIRTUAL = {"episodes": "AF:100-400", "pvc": "5", "pac": "3", "leads": "1", "rate_hz": "360"}
CONSENT = "learning"
STREAMS = 4
"""Streams whose memory is measured, each after `MEMORY_S` of signal."""
MEMORY_S = 360
WARM_S = 20
BASELINES = ("neurokit2_ecg_process", "neurokit2_ecg_peaks", "sleepecg_detect_heartbeats")


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of signal per second of CPU time: the app, and each installed one of `BASELINES`."""

    app: float
    baselines: dict[str, float]


class EcgBench:
    """One lead at 360 Hz, ``seconds`` of each recording."""

    def __init__(self, seconds: int) -> None:
        self._spec = find_app(APP)
        self._model: Model = load_model(open_bundle(self._spec.starter, app=APP), find_profile())
        self.data, sources = _sources(self._spec)
        self._recordings = [_first_lead(source, seconds) for source in sources]
        for run in _baselines().values():
            run(np.concatenate([reading.values[:, 0] for reading in self._recordings[0][:WARM_S]]))
        self._run(WARM_S)
        self._signals = [np.concatenate([r.values[:, 0] for r in each]) for each in self._recordings]

    def round(self) -> Speeds:
        """Measure the app and all baselines once."""
        total_s = sum(len(signal) for signal in self._signals) / 360.0
        baselines = {
            name: total_s / _cpu_s(lambda run=run: [run(signal) for signal in self._signals])
            for name, run in _baselines().items()
        }
        return Speeds(total_s / _cpu_s(self._run), baselines)

    def memory_mb(self) -> float:
        """Memory of a stream after `MEMORY_S` of signal."""
        app = self._make()
        app.process(self._recordings[0][0], 0)  # Allocates what all streams share.
        gc.collect()
        tracemalloc.start()
        for number in range(STREAMS):
            readings = self._recordings[number % len(self._recordings)]
            for reading in _repeated(readings, f"stream-{number}", MEMORY_S):
                app.process(reading, reading.captured_ns)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept / STREAMS / 1e6

    def _run(self, seconds: int | None = None) -> None:
        for readings in self._recordings:
            app = self._make()
            for reading in readings[:seconds]:
                for _ in app.process(reading, reading.captured_ns):
                    pass

    def _make(self) -> EdgeApp:
        settings = self._spec.settings(consent=CONSENT)
        return self._spec.load_edge()(EdgeContext(settings, self._model))


def median_of(rounds: Sequence[Speeds]) -> Speeds:
    """Medians over the rounds."""
    names = rounds[0].baselines
    return Speeds(
        median(each.app for each in rounds),
        {name: median(each.baselines[name] for each in rounds) for name in names},
    )


def _sources(spec: AppSpec) -> tuple[str, list[Source]]:
    """Name of the data and its sources: recordings if present, else virtual patients."""
    folder = Path(os.environ.get("EDGELOOP_DATA", "")) / "mitdb"
    if os.environ.get("EDGELOOP_DATA") and all((folder / f"{name}.hea").exists() for name in RECORDS):
        from hardware.sensors.wfdb import open_source

        sources: list[Source] = [open_source(parse_uri(f"wfdb:{folder / name}"), 0.0) for name in RECORDS]
        return f"records {', '.join(RECORDS)} of mitdb", sources
    make = spec.load_virtual()
    return "virtual patients", [make("patient", VIRTUAL | {"seed": str(seed)}, 0.0) for seed in range(4)]


def _first_lead(source: Source, seconds: int) -> list[Reading]:
    """The first lead of a recording, in chunks of a second."""
    chunks = [chunk for chunk in islice(source.readings(None), seconds) if isinstance(chunk, Reading)]
    source.close()
    return [
        replace(chunk, values=np.ascontiguousarray(chunk.values[:, :1]), channels=chunk.channels[:1])
        for chunk in chunks
    ]


def _repeated(readings: Sequence[Reading], subject: str, seconds: int) -> Sequence[Reading]:
    """``seconds`` of one stream, from repetitions of ``readings``."""
    first, samples = readings[0], len(readings[0].values)
    return [
        replace(
            readings[at % len(readings)],
            subject=subject,
            captured_ns=first.captured_ns + at * 10**9,
            attributes={"first_sample": at * samples},
        )
        for at in range(seconds)
    ]


def _baselines() -> dict[str, Callable[[NDArray[np.float64]], Any]]:
    """The installed ones of `BASELINES`."""
    found: dict[str, Callable[[NDArray[np.float64]], Any]] = {}
    if find_spec("neurokit2"):
        import neurokit2

        found["neurokit2_ecg_process"] = lambda signal: neurokit2.ecg_process(signal, sampling_rate=360)
        found["neurokit2_ecg_peaks"] = lambda signal: neurokit2.ecg_peaks(
            neurokit2.ecg_clean(signal, sampling_rate=360), sampling_rate=360
        )
    if find_spec("sleepecg"):
        from sleepecg import detect_heartbeats  # pyright: ignore[reportPrivateImportUsage]  public in its docs

        found["sleepecg_detect_heartbeats"] = lambda signal: detect_heartbeats(signal, fs=360)
    return found


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started

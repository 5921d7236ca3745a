"""How fast the ECG app is at the edge, beside neurokit2 and sleepecg on the same signal in the same run.

The app runs with everything on (quality, R peaks, beats, rhythm, intervals, variability, alarms, and the
signal that may leave), chunk after chunk of a second, as on a node; the others get the whole signal at once,
which is what they are made for. All is CPU time of this process, so a busy machine counts less; rounds take
turns, after all have run once on a short signal.
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
"""Records of the MIT-BIH Arrhythmia Database that are in no test set, and hold ectopic beats."""
VIRTUAL = {"episodes": "AF:100-400", "pvc": "5", "pac": "3", "leads": "1", "rate_hz": "360"}
CONSENT = "learning"
STREAMS = 4
"""Streams whose memory is measured, each with `MEMORY_S` of signal behind it."""
MEMORY_S = 360
WARM_S = 20
RIVALS = ("neurokit2_ecg_process", "neurokit2_ecg_peaks", "sleepecg_detect_heartbeats")


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of signal in a second of CPU time: the app's, and of each of `RIVALS` that is installed."""

    app: float
    rivals: dict[str, float]


class EcgBench:
    """One lead at 360 Hz, ``seconds`` of each recording."""

    def __init__(self, seconds: int) -> None:
        self._spec = find_app(APP)
        self._model: Model = load_model(open_bundle(self._spec.starter, app=APP), find_profile())
        self.data, sources = _sources(self._spec)
        self._recordings = [_first_lead(source, seconds) for source in sources]
        for run in _rivals().values():
            run(np.concatenate([reading.values[:, 0] for reading in self._recordings[0][:WARM_S]]))
        self._run(WARM_S)
        self._signals = [np.concatenate([r.values[:, 0] for r in each]) for each in self._recordings]

    def round(self) -> Speeds:
        """All, one after the other."""
        total_s = sum(len(signal) for signal in self._signals) / 360.0
        rivals = {
            name: total_s / _cpu_s(lambda run=run: [run(signal) for signal in self._signals])
            for name, run in _rivals().items()
        }
        return Speeds(total_s / _cpu_s(self._run), rivals)

    def memory_mb(self) -> float:
        """What a stream keeps, once it has been on for `MEMORY_S`."""
        app = self._make()
        app.process(self._recordings[0][0], 0)  # What is made once for all streams.
        gc.collect()
        tracemalloc.start()
        for number in range(STREAMS):
            readings = self._recordings[number % len(self._recordings)]
            for reading in _going_on(readings, f"stream-{number}", MEMORY_S):
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
    """The medians."""
    names = rounds[0].rivals
    return Speeds(
        median(each.app for each in rounds),
        {name: median(each.rivals[name] for each in rounds) for name in names},
    )


def _sources(spec: AppSpec) -> tuple[str, list[Source]]:
    """What is measured on, in words, and its sources: recordings where there are some, else virtual ones."""
    folder = Path(os.environ.get("EDGELOOP_DATA", "")) / "mitdb"
    if os.environ.get("EDGELOOP_DATA") and all((folder / f"{name}.hea").exists() for name in RECORDS):
        from hardware.sensors.wfdb import open_source

        sources = [open_source(parse_uri(f"wfdb:{folder / name}"), 0.0) for name in RECORDS]
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


def _going_on(readings: Sequence[Reading], subject: str, seconds: int) -> Sequence[Reading]:
    """``seconds`` of one stream, made of as many turns of ``readings``."""
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


def _rivals() -> dict[str, Callable[[NDArray[np.float64]], Any]]:
    """Those of `RIVALS` that are installed."""
    found: dict[str, Callable[[NDArray[np.float64]], Any]] = {}
    if find_spec("neurokit2"):
        import neurokit2

        found["neurokit2_ecg_process"] = lambda signal: neurokit2.ecg_process(signal, sampling_rate=360)
        found["neurokit2_ecg_peaks"] = lambda signal: neurokit2.ecg_peaks(
            neurokit2.ecg_clean(signal, sampling_rate=360), sampling_rate=360
        )
    if find_spec("sleepecg"):
        import sleepecg

        found["sleepecg_detect_heartbeats"] = lambda signal: sleepecg.detect_heartbeats(signal, fs=360)
    return found


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started

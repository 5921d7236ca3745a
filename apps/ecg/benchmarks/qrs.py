"""R peak benchmark on MIT-BIH: the app's detector and others, measured in the same way.

::

    python -m apps.ecg.benchmarks.qrs --data DIR [--records 101,106] [--own] [--json]

The first lead of each record runs through `RPeaks` in chunks of a second, as on a node; it is scored as in
`apps.ecg.training.qrs_scoring`.

Baselines process the whole record at once: neurokit2's own method (Makowski et al. 2021), sleepecg (Brunner,
Hofer 2023), wfdb's XQRS.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.ecg.training.dataset import RECORDS, mitdb_in
from apps.ecg.training.qrs_scoring import PARTS, Detector, QrsCount, Samples, figures, measure_qrs


def neurokit2(signal_mv: NDArray[np.float64], rate_hz: float) -> Samples:
    """R peaks by neurokit2."""
    import neurokit2

    clean = neurokit2.ecg_clean(signal_mv, sampling_rate=int(rate_hz), method="neurokit")
    found = neurokit2.ecg_findpeaks(clean, sampling_rate=int(rate_hz), method="neurokit")
    return np.asarray(found["ECG_R_Peaks"], np.int64)


def sleepecg(signal_mv: NDArray[np.float64], rate_hz: float) -> Samples:
    """R peaks by sleepecg."""
    import sleepecg

    return np.asarray(sleepecg.detect_heartbeats(signal_mv, rate_hz), np.int64)


def xqrs(signal_mv: NDArray[np.float64], rate_hz: float) -> Samples:
    """R peaks by wfdb's XQRS."""
    from wfdb.processing import xqrs_detect

    return np.asarray(xqrs_detect(signal_mv, rate_hz, verbose=False), np.int64)


BASELINES: Mapping[str, Detector] = {"neurokit2": neurokit2, "sleepecg": sleepecg, "xqrs": xqrs}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.ecg.benchmarks.qrs", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with MIT-BIH")
    parser.add_argument("--records", default="", help="names of records, with commas between (all)")
    parser.add_argument("--own", action="store_true", help="without the baselines")
    parser.add_argument("--json", action="store_true", help="one JSON line a record and a figure")
    options = parser.parse_args(arguments)
    names = options.records.split(",") if options.records else RECORDS
    folder = mitdb_in(options.data, names)
    counted: list[QrsCount] = []
    started = time.perf_counter()
    for count in measure_qrs(folder, names, {} if options.own else BASELINES):
        counted.append(count)
        if options.json:
            sys.stdout.write(json.dumps(asdict(count)) + "\n")
        elif count.part == PARTS[0] and count.judge == "own":
            sys.stdout.write(
                f"{count.record} {count.detector:10} {count.window_ms:4} ms  missed {count.missed:5}  "
                f"extra {count.extra:5}  sensitivity {count.sensitivity:7.3f}  ppv {count.ppv:7.3f}\n"
            )
    for name, figure in figures(counted).items():
        line = {"figure": name, "value": round(figure.value, 4), "lower": figure.lower, "upper": figure.upper}
        sys.stdout.write(json.dumps(line | {"count": figure.count, "unit": figure.unit}) + "\n")
    sys.stderr.write(f"{time.perf_counter() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The worker: one job from its folder to a judged candidate.

``python -m cloud_backend.training.worker FOLDER/job.json`` is what the cloud starts as a child; a Ray
task calls `run_job` in the same way. It trains from the production bundle, evaluates candidate and
production on the same held-out samples and sets, lets the gate judge, writes the findings and the
lineage into the candidate's manifest, and writes ``result.json`` last.

SIGTERM stops the job at its next progress report. A child whose cloud has died ends by itself:
its standard input, which the cloud holds open, closes then.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType

import msgspec

from cloud_backend.registry.golden import check_golden
from cloud_backend.training.gate import HeldOut, Verdict, judge
from cloud_backend.training.job import (
    BUNDLE,
    PROGRESS,
    RESULT,
    JobResult,
    JobSpec,
    Progress,
    labelled_samples,
    read_spec,
    write_struct,
)
from common.app.spec import AppSpec, find_app
from common.app.training import LabelledSample, Metrics, TrainContext
from common.bundle import Bundle, Lineage, open_bundle, seal
from common.errors import DatasetError, EdgeloopError, TrainingError
from common.private import restrict_new_files
from common.revision import code_version

Report = Callable[[float, str], None]
ORPHANED = 3
"""Exit status of a worker whose cloud has died."""


def run_job(spec: JobSpec, folder: Path, report: Report) -> JobResult:
    """Train, evaluate and judge. The candidate lies in ``folder/bundle`` afterwards.

    ``report(fraction, message)`` may raise `TrainingError` to cancel. Raises `EdgeloopError`.
    """
    app: AppSpec = resolve_name(spec.app_entry) if spec.app_entry else find_app(spec.app)
    training = app.load_train()
    parent = open_bundle(Path(spec.parent), app=spec.app) if spec.parent else None
    samples = labelled_samples(spec)
    for_training = [s for s in samples if not s.held_out]
    for_judging = [s for s in samples if s.held_out]
    data_path = Path(spec.data_path) if spec.data_path and spec.parameters.get("data_sets", True) else None
    output = folder / BUNDLE
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)

    report(0.0, f"training on {len(for_training)} samples; {len(for_judging)} are held out")
    context = TrainContext(
        version=spec.version,
        parent=parent,
        samples=for_training,
        output=output,
        data_path=data_path,
        seed=spec.seed,
        parameters=spec.parameters,
        progress=lambda fraction, message: report(0.8 * min(max(fraction, 0.0), 1.0), message),
    )
    try:
        candidate = training.train(context)
    except DatasetError as error:
        raise DatasetError(
            f"{error}; the parameter data_sets=false trains and judges without data sets"
        ) from error
    if (candidate.manifest.app, candidate.version) != (spec.app, spec.version):
        raise TrainingError(
            f"the training of {spec.app} made {candidate.manifest.app} {candidate.version}, "
            f"the job is for {spec.app} {spec.version}"
        )
    candidate = open_bundle(output, app=spec.app)
    check_golden(candidate)

    measure = getattr(training, "judge", training.evaluate)
    report(0.8, "evaluating the candidate")
    found = measure(candidate, for_judging, data_path)
    report(0.9, "evaluating production on the same sets")
    against = measure(parent, for_judging, data_path) if parent is not None else None
    virtual = {file.digest for file in spec.samples if file.virtual}
    labelled = [s.digest for s in for_judging if s.labels]
    held_out = HeldOut(len(labelled), len(virtual.intersection(labelled)), spec.unknown_training)
    verdict = judge(training.gate, found, against, held_out)
    _seal(candidate, spec, parent, samples, found, verdict)
    report(1.0, "approved" if verdict.passed else "refused: " + "; ".join(verdict.reasons))
    gate = verdict.report() | {
        "figures": _figures(found),
        "production_figures": _figures(against) if against is not None else {},
        "held_out_samples": len(for_judging),
        "training_samples": len(for_training),
    }
    return JobResult(
        state="approved" if verdict.passed else "refused", reason="; ".join(verdict.reasons), gate=gate
    )


def _seal(
    candidate: Bundle,
    spec: JobSpec,
    parent: Bundle | None,
    samples: Sequence[LabelledSample],
    found: Metrics,
    verdict: Verdict,
) -> None:
    manifest = candidate.manifest
    data = dict(manifest.lineage.data)
    for name, held_out in (("samples", False), ("held_out_samples", True)):
        digests = sorted(s.digest for s in samples if s.held_out == held_out)
        if digests:
            data[name] = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    if spec.labels:
        data["labels"] = hashlib.sha256(msgspec.json.encode(spec.labels)).hexdigest()
    lineage = Lineage(
        data=data,
        code=code_version(),
        parent=parent.version if parent else "",
        job=spec.id,
        seed=spec.seed,
        trained_at=manifest.lineage.trained_at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        approved_by="gate" if verdict.passed else "",
    )
    seal(
        candidate.path,
        msgspec.structs.replace(
            manifest,
            lineage=lineage,
            figures=manifest.figures | _figures(found),
            slices={name: f.value for name, f in found.slices.items() if math.isfinite(f.value)},
        ),
    )


def _figures(metrics: Metrics) -> dict[str, float]:
    return {
        name: figure.value
        for name, figure in metrics.figures.items()
        if math.isfinite(figure.value) and not figure.recorded
    }


def main(path: Path) -> int:
    """Run the job in file ``path`` as a process of its own; the exit status is 0 if there is a verdict."""
    restrict_new_files()
    cancelled = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        cancelled.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_cloud, name="cloud-watch", daemon=True).start()
    folder = path.parent
    printed = ""
    with (folder / PROGRESS).open("ab", buffering=0) as lines:

        def report(fraction: float, message: str) -> None:
            nonlocal printed
            if message != printed:
                printed = message
                print(f"{fraction:4.0%}  {message}", flush=True)
            lines.write(msgspec.json.encode(Progress(fraction, message[:500])) + b"\n")
            if cancelled.is_set():
                raise TrainingError("the job was cancelled")

        try:
            result = run_job(read_spec(path), folder, report)
        except EdgeloopError as error:
            traceback.print_exc()
            result = JobResult(state="failed", reason=str(error))
        except Exception as error:  # noqa: BLE001  whatever an app's training raises, the job has failed
            traceback.print_exc()
            result = JobResult(state="failed", reason=f"{type(error).__name__}: {error}")
    write_struct(folder / RESULT, result)
    return 0 if result.state != "failed" else 1


def _end_with_the_cloud() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

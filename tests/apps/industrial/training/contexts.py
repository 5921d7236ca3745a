"""Small training contexts, runs from the field, and errors of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.industrial.domain import CHANNELS
from apps.industrial.training.dataset import Run
from apps.industrial.training.evaluation import (
    estimator_of,
)
from common.app.edge import Sample
from common.app.training import Label, LabelledSample, TrainContext
from common.bundle import Bundle

SMALL: Mapping[str, Any] = {"cmapss": False, "virtual_runs": 60, "epochs": 4}


def context(
    output: Path, parent: Bundle | None = None, samples: Sequence[LabelledSample] = (), **more: Any
) -> TrainContext:
    output.mkdir(parents=True, exist_ok=True)
    progress = more.pop("progress", lambda _share, _message: None)
    return TrainContext("9.1.0", parent, samples, output, None, 3, {**SMALL, **more}, progress)


def field_sample(
    run: Run, *, cycle: int | None = None, remaining: int = 0, note: str = "", **attributes: Any
) -> LabelledSample:
    """``run`` as a node uploads it, with a work order that closes it."""
    end = len(run.values) if cycle is None else cycle
    sample = Sample(
        "pump", run.name, 0, {"novelty": 1.0}, {"values": run.values.astype(np.float32)},
        {"first_cycle": 1, "last_cycle": len(run.values), "channels": list(CHANNELS), **attributes},
    )  # fmt: skip
    body = {"cycle": end, "remaining_cycles": remaining, "note": note}
    label = Label("industrial", "pump", run.name, "inspection" if remaining else "failure", body, "test", 1)
    return LabelledSample("digest", sample, [label], False)


def rmse(bundle: Bundle, runs: Sequence[Run]) -> float:
    found = estimator_of(bundle.model_path())(runs)
    return float(
        np.sqrt(np.mean([np.mean((e.rul - r.rul_cycles()) ** 2) for e, r in zip(found, runs, strict=True)]))
    )


def novelty_rate(bundle: Bundle, runs: Sequence[Run]) -> float:
    return float(np.mean([np.mean(e.novelty > 1) for e in estimator_of(bundle.model_path())(runs)]))

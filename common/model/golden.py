"""Golden cases: proof on this device that a model has the outputs and the latency of its bundle.

Each case is run alone. Every output must be there, have the expected shape, hold no NaN or infinity, and
lie within the manifest's tolerance. The time of a run is judged so that a busy device is not mistaken for
a slow model: rounds of several runs are timed, and only if the median of the *best* round is over
``limits.latency_ms`` is the model too slow.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Arrays, Model
from common.bundle import Bundle, TensorSpec
from common.errors import ArraysError, GoldenCaseFailed, InferenceError

CASES_LIMIT = 1024
"""Maximum number of golden cases of a bundle."""
CASES_TIMEOUT_S = 60.0
"""Longest time for all golden cases of a bundle, each run once."""
ROUNDS = 3
RUNS = 9


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """Result of the golden cases: number of cases and the median time of a run in the best round."""

    cases: int
    latency_ms: float


def check_golden(
    bundle: Bundle, model: Model, *, timer: Callable[[], float] = time.perf_counter
) -> GoldenResult:
    """Run the golden cases of ``bundle`` through ``model``.

    Raises `GoldenCaseFailed`, with the case, the output and by how much.
    """
    tolerance = model.manifest.tolerance
    cases = run_golden(bundle, model, partial(_compare, tolerance))
    best = min(_round(model, cases, timer) for _ in range(ROUNDS)) * 1e3
    if best > bundle.manifest.limits.latency_ms:
        raise GoldenCaseFailed(
            f"{bundle.version} takes {best:.3g} ms for a run on this device; "
            f"its bundle promises at most {bundle.manifest.limits.latency_ms:g} ms"
        )
    return GoldenResult(len(cases), best)


def run_golden(
    bundle: Bundle,
    model: Model,
    judge: Callable[[str, Arrays, Arrays], None] | None = None,
) -> list[dict[str, NDArray[Any]]]:
    """Run each golden case once and give its name, outputs and expected outputs to ``judge``; the inputs.

    The outputs are those expected of the model file that is loaded. Raises `GoldenCaseFailed`, also after
    `CASES_TIMEOUT_S`.
    """
    inputs, expected = _golden(bundle, model.manifest.model)
    cases = [
        _case(inputs, bundle.manifest.inputs, index) for index in range(_count(bundle, inputs, expected))
    ]
    started = time.monotonic()
    for index, case in enumerate(cases):
        if time.monotonic() - started > CASES_TIMEOUT_S:
            raise GoldenCaseFailed(
                f"{bundle.version} took over {CASES_TIMEOUT_S:g} s for {index} of {len(cases)} golden cases"
            )
        try:
            outputs = model.run(case)
        except InferenceError as error:
            raise GoldenCaseFailed(f"{bundle.version} fails on golden case {index}: {error}") from error
        if judge is not None:
            where = f"golden case {index} of {bundle.version} ({model.manifest.model})"
            judge(where, outputs, {name: value[index] for name, value in expected.items()})
    return cases


def output_scales(bundle: Bundle) -> dict[str, float]:
    """Largest minus smallest value of every numeric output over the golden cases, where that is not 0."""
    _, expected = _golden(bundle, bundle.manifest.model)
    spreads = {
        name: float(np.max(value) - np.min(value))
        for name, value in expected.items()
        if value.size and np.issubdtype(value.dtype, np.number)
    }
    return {name: spread for name, spread in spreads.items() if spread > 0}


def _golden(bundle: Bundle, model: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    try:
        return bundle.golden(model)
    except (OSError, ArraysError) as error:
        raise GoldenCaseFailed(f"the golden cases of {bundle.version} cannot be read: {error}") from error


def _count(bundle: Bundle, inputs: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> int:
    counts = {value.shape[0] if value.ndim else 0 for value in (*inputs.values(), *expected.values())}
    promised = {spec.name for spec in bundle.manifest.outputs}
    if not inputs or len(counts) != 1 or 0 in counts or not promised <= set(expected):
        raise GoldenCaseFailed(
            f"the golden cases of {bundle.version} do not hold the same number (at least one) of every input "
            f"and of the outputs {sorted(promised)}"
        )
    count = counts.pop()
    if count > CASES_LIMIT:
        raise GoldenCaseFailed(f"{bundle.version} has {count} golden cases; at most {CASES_LIMIT} are run")
    return count


def _case(
    inputs: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec], index: int
) -> dict[str, NDArray[Any]]:
    ranks = {spec.name: len(spec.shape) for spec in specs}
    return {
        name: value[index] if ranks.get(name) == value.ndim - 1 else value[index : index + 1]
        for name, value in inputs.items()
    }


def _compare(
    tolerances: Mapping[str, float],
    where: str,
    outputs: Mapping[str, NDArray[Any]],
    expected: Mapping[str, NDArray[Any]],
) -> None:
    for name, wanted in expected.items():
        if name not in outputs:
            raise GoldenCaseFailed(f"{where}: the model has no output {name!r}")
        got = np.asarray(outputs[name])
        if got.size != wanted.size:
            raise GoldenCaseFailed(f"{where}: {name} has shape {got.shape}, expected {wanted.shape}")
        if not np.issubdtype(wanted.dtype, np.number):
            if not np.array_equal(got.reshape(wanted.shape), wanted):
                raise GoldenCaseFailed(f"{where}: {name} differs")
            continue
        numbers = got.reshape(wanted.shape).astype(np.float64)
        if not np.all(np.isfinite(numbers)):
            raise GoldenCaseFailed(f"{where}: {name} holds NaN or infinity")
        tolerance = tolerances.get(name, 0.0)
        difference = float(np.max(np.abs(numbers - wanted))) if wanted.size else 0.0
        if not difference <= tolerance:
            raise GoldenCaseFailed(f"{where}: {name} is off by {difference:.4g}; allowed are {tolerance:.4g}")


def _round(model: Model, cases: Sequence[Mapping[str, NDArray[Any]]], timer: Callable[[], float]) -> float:
    seconds: list[float] = []
    for run in range(RUNS):
        started = timer()
        model.run(cases[run % len(cases)])
        seconds.append(timer() - started)
    return statistics.median(seconds)

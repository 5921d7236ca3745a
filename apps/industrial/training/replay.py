"""Runs replayed through the edge app: what a node publishes of them, not what the model alone gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from numpy.typing import NDArray

from apps.industrial.app import IndustrialSettings
from apps.industrial.domain import CHANNELS
from apps.industrial.edge.app import IndustrialEdge
from apps.industrial.events import Rul
from apps.industrial.training.dataset import Run
from common.app.edge import EdgeContext, Model, Reading
from common.messages import Event


class Estimate(NamedTuple):
    """A remaining useful life with its 90 % interval."""

    rul_cycles: float
    lower_cycles: float
    upper_cycles: float


def published_rul(run: Run, model: Model, rows: NDArray[Any] | None = None) -> Iterator[Estimate | None]:
    """Each estimate at the ``rows`` (rising indices; all where None) of ``run``, None where it is withheld.

    The app is new and sees no other rows; a cycle keeps its number within the run.
    """
    app = IndustrialEdge(EdgeContext(IndustrialSettings(), model))
    numbers = run.numbers()
    for row in range(len(run.values)) if rows is None else rows.tolist():
        place = {"run": 0, "cycle": int(numbers[row])}
        reading = Reading(run.name, row, row, run.values[row], CHANNELS, None, place)
        for result in app.process(reading, row):
            if isinstance(result, Event) and isinstance(result.data, Rul):
                yield _estimate(result.data)


def _estimate(rul: Rul) -> Estimate | None:
    if rul.rul_cycles is None or rul.lower_cycles is None or rul.upper_cycles is None:
        return None
    return Estimate(rul.rul_cycles, rul.lower_cycles, rul.upper_cycles)

"""Runs replayed through the edge app: what a node publishes of them, not what the model alone gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from apps.industrial.app import IndustrialSettings
from apps.industrial.domain import CHANNELS
from apps.industrial.edge.app import IndustrialEdge
from apps.industrial.training.dataset import Run
from common.app.edge import EdgeContext, Model, Reading
from common.messages import Event

RUL_TYPE = "industrial.rul"


def published_rul(run: Run, model: Model, rows: NDArray[Any] | None = None) -> Iterator[dict[str, Any]]:
    """Data of ``industrial.rul`` at each of the ``rows`` (rising indices; all where None) of ``run``.

    The app is new and sees no other rows; a cycle keeps its number within the run.
    """
    app = IndustrialEdge(EdgeContext(IndustrialSettings(), model))
    numbers = run.numbers()
    for row in range(len(run.values)) if rows is None else rows.tolist():
        place = {"run": 0, "cycle": int(numbers[row])}
        reading = Reading(run.name, row, row, run.values[row], CHANNELS, None, place)
        for result in app.process(reading, row):
            if isinstance(result, Event) and result.type == RUL_TYPE:
                yield dict(result.data)

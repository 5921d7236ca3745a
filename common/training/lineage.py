"""Lineage of the bundle that a training makes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from common.app.training import TrainContext
from common.bundle import Lineage
from common.revision import code_version


def lineage_of(context: TrainContext, data: Mapping[str, str]) -> Lineage:
    """Lineage of a model trained now in ``context`` on ``data``: SHA-256 of each data set, by name."""
    return Lineage(
        data=dict(data),
        code=code_version(),
        parent=context.parent.version if context.parent else "",
        seed=context.seed,
        trained_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )

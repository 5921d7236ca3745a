"""Rows to learn from and to judge by: virtual machines with known truth, and labelled field windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.template.domain import CHANNELS, CONDITION
from apps.template.virtual.machine import machines_of
from common.app.training import LabelledSample

MACHINES, READINGS = 20, 200
KNOWN_FAULT = "imbalance:100-200"
"""The fault that every model must know."""


@dataclass(frozen=True, slots=True)
class Rows:
    """``values`` ``(rows, channels)`` and whether each is ``faulty`` ``(rows,)``."""

    values: NDArray[np.float64]
    faulty: NDArray[np.bool_]


def virtual_rows(seed: int) -> Rows:
    """Readings of `MACHINES` virtual machines, half of them with `KNOWN_FAULT`."""
    machines = machines_of({"seed": str(seed), "machines": str(MACHINES), "fault": KNOWN_FAULT})
    places = [(machine, tick) for machine in machines for tick in range(READINGS)]
    return Rows(
        np.array([machine.values_at(tick) for machine, tick in places]),
        np.array([machine.faulty_at(tick) for machine, tick in places]),
    )


def field_rows(samples: Sequence[LabelledSample]) -> list[Rows]:
    """The labelled windows among ``samples``; the newest label counts. Others are left out."""
    found: list[Rows] = []
    for each in samples:
        labels = [label for label in each.labels if label.kind == CONDITION and "faulty" in label.body]
        values = np.asarray(each.sample.arrays.get("values", ()), np.float64)
        if labels and values.ndim == 2 and values.shape[1] == len(CHANNELS) and np.isfinite(values).all():
            newest = max(labels, key=lambda label: label.created_ns)
            found.append(Rows(values, np.full(len(values), bool(newest.body["faulty"]))))
    return found


def joined(rows: Sequence[Rows]) -> Rows:
    """All rows, one after the other."""
    return Rows(np.concatenate([r.values for r in rows]), np.concatenate([r.faulty for r in rows]))

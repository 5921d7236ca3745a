"""Builders of the industrial app's events as the cloud receives them."""

from __future__ import annotations

from typing import Any

import msgspec

from common.app.cloud import ReceivedEvent
from common.messages import Priority


def received(seq: int, type: str = "rul", machine: str = "engine-1", **data: Any) -> ReceivedEvent:
    return ReceivedEvent(
        site="plant",
        node="node-1",
        epoch="e1",
        seq=seq,
        type=f"industrial.{type}",
        subject=machine,
        time_ns=seq * 10**9,
        priority=Priority.TELEMETRY,
        body=msgspec.json.encode({"version": "v1", **data}),
    )


def rul(
    seq: int, cycle: int, rul_cycles: float, machine: str = "engine-1", run: int = 0, **more: Any
) -> ReceivedEvent:
    values = {"rul_cycles": rul_cycles, "lower_cycles": rul_cycles - 5, "upper_cycles": rul_cycles + 5}
    return received(seq, machine=machine, run=run, cycle=cycle, **{"novelty": 0.4, **values, **more})


def due(seq: int, cycle: int, run: int = 0, machine: str = "engine-1") -> ReceivedEvent:
    sensors = {"sensors": ["Ps30", "phi"], "sensor_cycles": [9.5, 4.0]}
    return received(seq, "maintenance_due", machine, run=run, cycle=cycle, horizon_cycles=25.0, **sensors)


def cleared(seq: int, cycle: int, run: int = 0, machine: str = "engine-1") -> ReceivedEvent:
    return received(seq, "maintenance_cleared", machine, run=run, cycle=cycle, reason="recovered")

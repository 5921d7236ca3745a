"""Builders of the industrial app's events as the cloud receives them."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.industrial.events import MaintenanceCleared, MaintenanceDue, Rul
from common.app.cloud import ReceivedEvent
from common.app.events import EventData


def received(seq: int, data: EventData, machine: str = "engine-1") -> ReceivedEvent:
    return ReceivedEvent(
        site="plant",
        node="node-1",
        epoch="e1",
        seq=seq,
        type=data.TYPE,
        subject=machine,
        time_ns=seq * 10**9,
        priority=data.PRIORITY,
        body=msgspec.json.encode(data),
    )


def rul(
    seq: int, cycle: int, rul_cycles: float, machine: str = "engine-1", run: int = 0, **more: Any
) -> ReceivedEvent:
    values: dict[str, Any] = {
        "rul_cycles": rul_cycles,
        "lower_cycles": rul_cycles - 5,
        "upper_cycles": rul_cycles + 5,
    }
    values |= {"novelty": 0.4, "version": "v1"} | more
    return received(seq, Rul(run=run, cycle=cycle, **values), machine)


def unknown(seq: int, cycle: int, machine: str = "engine-1") -> ReceivedEvent:
    data = Rul(
        run=0, cycle=cycle, rul_cycles=None, lower_cycles=None, upper_cycles=None, novelty=9.0,
        withheld="novel", reason="unlike anything", version="v1",
    )  # fmt: skip
    return received(seq, data, machine)


def due(seq: int, cycle: int, run: int = 0, machine: str = "engine-1") -> ReceivedEvent:
    data = MaintenanceDue(
        run=run, cycle=cycle, rul_cycles=24.0, lower_cycles=19.0, upper_cycles=29.0, novelty=0.4,
        horizon_cycles=25.0, sensors=["Ps30", "phi"], sensor_cycles=[9.5, 4.0], version="v1",
    )  # fmt: skip
    return received(seq, data, machine)


def cleared(seq: int, cycle: int, run: int = 0, machine: str = "engine-1") -> ReceivedEvent:
    return received(seq, MaintenanceCleared(run=run, cycle=cycle, reason="recovered", version="v1"), machine)

"""Decisions at the machine: remaining useful life each cycle, the maintenance alarm, what to learn from.

One reading is one operating cycle of one machine: sensor values by their channel names (in the order of
`features.CHANNELS` where the reading names none), and the attributes ``run`` (the machine's life since its
last overhaul, counted) and ``cycle`` (within the run).
Rules:

- Each cycle gives ``industrial.rul`` with a 90 % interval. RUL is capped (`features.RUL_CAP_CYCLES`).
- ``industrial.maintenance_due`` is raised when the interval's lower bound has been under the maintenance
  horizon for ``alarm_confirm_cycles`` cycles in a row, and ends (``industrial.maintenance_cleared``) when it
  is ``alarm_hysteresis_cycles`` above the horizon again, or with the run.
- The alarm names the sensors that explain it: the RUL that the model would give, were that sensor as at the
  beginning of the run, less the RUL that it gives.
- A run that ended and was unlike what the model knows (novelty) is offered for learning, whole.
- ``max_machines`` are followed at a time. A newcomer beyond that is refused (`CapacityReached`); a machine
  without readings for ``forget_machine_after_days`` is forgotten (``industrial.machine_forgotten``), its run
  offered for learning; an alarm that is up stays up in the cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.app import IndustrialSettings
from apps.industrial.features import CHANNELS, USED_CHANNELS, RunFeatures, contributions
from common.app import EdgeContext, Reading, Sample, State
from common.errors import ReadingError
from common.messages import Event, Priority
from common.subjects import Forgotten, SubjectMap

HISTORY_CYCLES = 600
"""Cycles of a run that are kept for learning; the newest, should a run be longer."""
NOVEL_SHARE = 0.2
"""Share of the last `NOVEL_WINDOW_CYCLES` above novelty 1 that makes a run certainly worth learning from."""
NOVEL_WINDOW_CYCLES = 50

_USED = np.array([CHANNELS.index(name) for name in USED_CHANNELS])


@dataclass(slots=True)
class MachineState:
    """What is remembered of one machine."""

    run: int
    cycle: int = 0
    features: RunFeatures = field(default_factory=RunFeatures)
    history: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((HISTORY_CYCLES, len(CHANNELS)), np.float32)
    )
    kept: int = 0
    """Cycles ever written to ``history``, a ring."""
    novel: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(NOVEL_WINDOW_CYCLES, np.bool_))
    under_horizon: int = 0
    due: bool = False

    def remember(self, values: NDArray[Any], novelty: float) -> None:
        self.history[self.kept % HISTORY_CYCLES] = values
        self.novel[self.kept % NOVEL_WINDOW_CYCLES] = novelty > 1.0
        self.kept += 1

    def past(self) -> NDArray[np.float32]:
        """The kept cycles in order, ``(cycles, channels)``."""
        if self.kept <= HISTORY_CYCLES:
            return self.history[: self.kept].copy()
        return np.roll(self.history, -(self.kept % HISTORY_CYCLES), axis=0)

    def novelty_score(self) -> float:
        """How much a run is worth learning from, in [0, 1]."""
        window = self.novel[: min(self.kept, NOVEL_WINDOW_CYCLES)]
        return min(1.0, float(window.mean()) / NOVEL_SHARE) if window.size else 0.0


class IndustrialEdge:
    """`common.app.EdgeApp` of the industrial app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: IndustrialSettings = context.settings
        self._model = context.model
        self._machines = SubjectMap[MachineState](
            self._settings.max_machines,
            self._settings.forget_machine_after_days * 86_400,
            setting="max_machines",
        )

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:  # noqa: ARG002
        values = _ordered(reading)
        run, cycle = _place(reading)
        results: list[Event | Sample] = []
        machine = self._machines.find(reading.subject, reading.captured_ns)
        if machine is not None and machine.run != run:
            results.extend(self._end_run(reading.subject, reading.captured_ns, machine))
            machine = None
        if machine is None:
            machine = MachineState(run)
        elif cycle <= machine.cycle:
            raise ReadingError(
                f"{reading.subject} gave cycle {cycle} of run {run} after {machine.cycle}: it is left out"
            )
        features = machine.features.peek(values)
        outputs = self._model.run({"features": features[np.newaxis]})
        rul, lower, upper, novelty = (float(outputs[n][0]) for n in ("rul", "lower", "upper", "novelty"))

        machine.features.keep()
        machine.cycle = cycle
        machine.remember(values, novelty)
        for gone in self._machines.keep(reading.subject, reading.captured_ns, machine):
            results.extend(self._forget(gone))

        data = {
            "run": run,
            "cycle": cycle,
            "rul_cycles": round(rul, 2),
            "lower_cycles": round(lower, 2),
            "upper_cycles": round(upper, 2),
            "novelty": round(novelty, 3),
        }
        results.append(self._event("rul", reading.subject, reading.captured_ns, Priority.TELEMETRY, data))
        results.extend(self._alarm(reading, machine, features, data))
        return results

    def snapshot(self) -> State:
        return self._machines.snapshot(_saved)

    def restore(self, state: State) -> None:
        self._machines.restore(state, _restored)

    def _event(
        self, name: str, machine: str, time_ns: int, priority: Priority, data: Mapping[str, Any]
    ) -> Event:
        version = self._model.manifest.version
        return Event(f"industrial.{name}", machine, time_ns, priority, {**data, "version": version})

    def _alarm(
        self, reading: Reading, machine: MachineState, features: NDArray[np.float32], data: dict[str, Any]
    ) -> Iterable[Event]:
        horizon = self._settings.maintenance_horizon_cycles
        lower = data["lower_cycles"]
        machine.under_horizon = machine.under_horizon + 1 if lower < horizon else 0
        if not machine.due and machine.under_horizon >= self._settings.alarm_confirm_cycles:
            machine.due = True
            explained = contributions(self._model, features)[: self._settings.explanation_sensors]
            data = data | {
                "horizon_cycles": horizon,
                "sensors": [name for name, _ in explained],
                "sensor_cycles": [round(cycles, 1) for _, cycles in explained],
            }
            yield self._event("maintenance_due", reading.subject, reading.captured_ns, Priority.ALARM, data)
        elif machine.due and lower >= horizon + self._settings.alarm_hysteresis_cycles:
            machine.due = False
            data = data | {"reason": "recovered"}
            yield self._event(
                "maintenance_cleared", reading.subject, reading.captured_ns, Priority.EVENT, data
            )

    def _end_run(self, name: str, time_ns: int, machine: MachineState) -> Iterable[Event | Sample]:
        ended = {"run": machine.run, "cycle": machine.cycle, "reason": "run ended"}
        if machine.due:
            yield self._event("maintenance_cleared", name, time_ns, Priority.EVENT, ended)
        yield self._sample(name, time_ns, machine)

    def _forget(self, gone: Forgotten[MachineState]) -> Iterable[Event | Sample]:
        machine = gone.state
        last = {"run": machine.run, "cycle": machine.cycle, "alarm": machine.due}
        yield self._event("machine_forgotten", gone.subject, gone.captured_ns, Priority.EVENT, last)
        yield self._sample(gone.subject, gone.captured_ns, machine)

    def _sample(self, name: str, time_ns: int, machine: MachineState) -> Sample:
        past = machine.past()
        return Sample(
            subject=name,
            group=f"{name}/run-{machine.run}",
            captured_ns=time_ns,
            reasons={"novelty": machine.novelty_score()},
            arrays={"values": past},
            attributes={
                "run": machine.run,
                "first_cycle": machine.cycle - len(past) + 1,
                "last_cycle": machine.cycle,
                "channels": list(CHANNELS),
                "version": self._model.manifest.version,
            },
        )


def _saved(machine: MachineState) -> dict[str, Any]:
    """The state of a machine as plain values."""
    return {
        "run": machine.run,
        "cycle": machine.cycle,
        "features": machine.features.snapshot(),
        "history": machine.history[: min(machine.kept, HISTORY_CYCLES)],
        "kept": machine.kept,
        "novel": machine.novel,
        "under_horizon": machine.under_horizon,
        "due": machine.due,
    }


def _restored(_name: str, saved: Mapping[str, Any]) -> MachineState:
    machine = MachineState(saved["run"], saved["cycle"])
    machine.features.restore(saved["features"])
    machine.history[: len(saved["history"])] = saved["history"]
    machine.kept = saved["kept"]
    machine.novel = np.array(saved["novel"], np.bool_)
    machine.under_horizon = saved["under_horizon"]
    machine.due = saved["due"]
    return machine


def _ordered(reading: Reading) -> NDArray[Any]:
    """The values in the order of `CHANNELS`, ``(24,)``. Raises `ReadingError` for an unusable reading.

    Channels that the model does not use may be absent; they are NaN then. Other columns are left out.
    """
    where = f"reading {reading.position} of {reading.subject}"
    values = reading.values
    if reading.channels not in ((), CHANNELS) and values.shape == (len(reading.channels),):
        places = {name: index for index, name in enumerate(reading.channels)}
        values = np.array([values[places[n]] if n in places else np.nan for n in CHANNELS], np.float64)
    if values.shape != (len(CHANNELS),):
        raise ReadingError(
            f"{where} has shape {values.shape} and {len(reading.channels)} channel names; a cycle has the "
            f"{len(CHANNELS)} values {CHANNELS[0]} .. {CHANNELS[-1]}"
        )
    usable = np.isfinite(values[_USED])
    if not usable.all():
        lost = ", ".join(name for name, good in zip(USED_CHANNELS, usable, strict=True) if not good)
        raise ReadingError(f"{where} lacks {lost}: check the sensor; no RUL is given for this cycle")
    return values


def _place(reading: Reading) -> tuple[int, int]:
    """``(run, cycle)`` of a reading. Raises `ReadingError`."""
    run, cycle = reading.attributes.get("run", 0), reading.attributes.get("cycle", reading.position)
    if not isinstance(run, int) or not isinstance(cycle, int):
        where = f"reading {reading.position} of {reading.subject}"
        raise ReadingError(f"{where} has run {run!r} and cycle {cycle!r}; both are whole numbers")
    return run, cycle

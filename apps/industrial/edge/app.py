"""Decisions at the machine: remaining useful life each cycle, the maintenance alarm, what to learn from.

One reading is one operating cycle of one machine: sensor values by their channel names (in the order of
`features.CHANNELS` where the reading names none), and the attributes ``run`` (the machine's life since its
last overhaul, counted) and ``cycle`` (within the run).
Rules:

- Each cycle gives ``industrial.rul``: the RUL, capped at `features.RUL_CAP_CYCLES`, with a 90 % interval; or
  no RUL and no interval, with the reason, where they are not known (`apps.industrial.edge.knowledge`).
  ``industrial.rul_withheld`` and ``industrial.rul_resumed`` mark its begin and end.
- An impossible value is not used (`apps.industrial.domain`). ``industrial.sensor_fault`` has the sensor,
  value, reason and first cycle; ``industrial.sensor_fault_ended`` marks the end.
- ``industrial.maintenance_due`` is raised when the interval's lower bound has been under the maintenance
  horizon for ``alarm_confirm_cycles`` cycles in a row, and ends (``industrial.maintenance_cleared``) when it
  is ``alarm_hysteresis_cycles`` above the horizon again, or with the run. It is not cleared by a cycle whose
  RUL is withheld, that has a sensor fault, or that is novel.
- The alarm names the sensors that explain it: the RUL that the model would give, were that sensor as at the
  beginning of the run, less the RUL that it gives.
- Age is the reading's own cycle; a source that names none has its readings counted. A cycle number that
  starts again is a new run (``industrial.run_restarted``), whatever ``run`` the source names.
- A run that ended and was unlike what the model knows (novelty) is offered for learning, whole; cycles
  that were lost are rows of NaN.
- ``max_machines`` are followed at a time. A newcomer beyond that is refused (`CapacityReached`); a machine
  without readings for ``forget_machine_after_days`` is forgotten (``industrial.machine_forgotten``), its run
  offered for learning; an alarm that is up stays up in the cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial import events
from apps.industrial.app import IndustrialSettings
from apps.industrial.domain import CHANNELS, USED_CHANNELS
from apps.industrial.edge.features import contributions
from apps.industrial.edge.knowledge import MIN_ELSEWHERE, Knowledge, Withheld, faulty, mixed_regimes
from apps.industrial.edge.machine import MachineState
from apps.industrial.edge.sensor_faults import Checked, SensorFault
from common.app.edge import EdgeContext, Reading, Sample, State
from common.app.events import make_event
from common.errors import ReadingError
from common.messages import Event
from common.subjects import Forgotten, SubjectMap

RESTART_FROM_CYCLES = 3
"""Cycle 1 after this one or a later one starts a new run; before, it is a reading that came twice."""
BACK_CYCLES = 10
"""A cycle number that goes back by this many at least, and to half or less, starts a new run as well."""


class IndustrialEdge:
    """`common.app.edge.EdgeApp` of the industrial app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: IndustrialSettings = context.settings
        self._knowledge = Knowledge.of(context.model.manifest)
        self._model = self._knowledge.adapted(context.model)
        self._version = context.model.manifest.version
        self._machines = SubjectMap[MachineState](
            self._settings.max_machines,
            self._settings.forget_machine_after_days * 86_400,
            setting="max_machines",
        )

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:  # noqa: ARG002
        values = _ordered(reading)
        run, named_cycle = _place(reading)
        results: list[Event | Sample] = []
        known = self._machines.find(reading.subject, reading.captured_ns)
        machine, cycle = _continued(known, run, named_cycle, reading.subject)
        if known is not None and machine is not known:
            if run == known.named_run:
                results.append(self._restarted(reading, known, machine, cycle))
            results.extend(self._end_run(reading, known))
        sensors, checked = machine.sensors.check(values, cycle)
        regime = self._knowledge.regime(checked.values)
        features = machine.features.peek(checked.values, cycle)
        outputs = self._model.run({"features": features[np.newaxis]})
        rul, lower, upper, novelty = (outputs[n].item(0) for n in ("rul", "lower", "upper", "novelty"))
        elsewhere = machine.elsewhere if regime is None else (*machine.elsewhere, cycle)[-MIN_ELSEWHERE:]
        withheld = (
            regime
            or mixed_regimes(elsewhere, cycle)
            or self._knowledge.withheld(features, novelty, machine.features)
        )

        if regime is None:
            machine.features.keep()
        machine.elsewhere = elsewhere
        lost = cycle - machine.cycle - 1 if machine.kept else 0
        machine.cycle = cycle
        machine.sensors = sensors
        machine.remember(checked.values, novelty, lost)
        for gone in self._machines.keep(reading.subject, reading.captured_ns, machine):
            results.extend(self._forget(gone))

        results.extend(self._sensor_events(reading, machine, checked))
        results.extend(self._spell_events(reading, machine, withheld))
        estimate = {
            "rul_cycles": round(rul, 2),
            "lower_cycles": round(lower, 2),
            "upper_cycles": round(upper, 2),
        }
        data = events.Rul(
            run=machine.run,
            cycle=cycle,
            **(estimate if withheld is None else dict.fromkeys(estimate)),
            novelty=round(novelty, 3),
            withheld=withheld.why if withheld else "",
            reason=withheld.text if withheld else "",
            version=self._version,
        )
        results.append(make_event(data, reading.subject, reading.captured_ns))
        if withheld is None:
            results.extend(self._alarm(reading, machine, features, estimate, data.novelty))
        return results

    def snapshot(self) -> State:
        return self._machines.snapshot(MachineState.snapshot)

    def restore(self, state: State) -> None:
        self._machines.restore(state, lambda _, saved: MachineState.restored(saved))

    def _sensor_events(self, reading: Reading, machine: MachineState, checked: Checked) -> Iterable[Event]:
        for fault in checked.began:
            yield make_event(
                events.SensorFaultBegan(
                    run=machine.run,
                    cycle=machine.cycle,
                    sensor=fault.sensor,
                    why=fault.why,
                    value=fault.value,
                    since_cycle=fault.since_cycle,
                    text=fault.text,
                    version=self._version,
                ),
                reading.subject,
                reading.captured_ns,
            )
        for fault in checked.ended:
            yield self._fault_ended(reading, machine, fault)

    def _fault_ended(
        self, reading: Reading, machine: MachineState, fault: SensorFault, reason: str = ""
    ) -> Event:
        data = events.SensorFaultEnded(
            run=machine.run,
            cycle=machine.cycle,
            reason=reason,
            sensor=fault.sensor,
            why=fault.why,
            since_cycle=fault.since_cycle,
            version=self._version,
        )
        return make_event(data, reading.subject, reading.captured_ns)

    def _spell_events(
        self, reading: Reading, machine: MachineState, withheld: Withheld | None
    ) -> Iterable[Event]:
        run, cycle, version = machine.run, machine.cycle, self._version
        machine.spell, began, ended = machine.spell.after(withheld)
        if began is not None:
            data = events.RulWithheld(
                run=run, cycle=cycle, withheld=began.why, reason=began.text, version=version
            )
            yield make_event(data, reading.subject, reading.captured_ns)
        if ended:
            resumed = events.RulResumed(run=run, cycle=cycle, version=version)
            yield make_event(resumed, reading.subject, reading.captured_ns)

    def _alarm(
        self,
        reading: Reading,
        machine: MachineState,
        features: NDArray[np.float32],
        estimate: Mapping[str, float],
        novelty: float,
    ) -> Iterable[Event]:
        horizon = self._settings.maintenance_horizon_cycles
        lower = estimate["lower_cycles"]
        machine.under_horizon = machine.under_horizon + 1 if lower < horizon else 0
        run, cycle, version = machine.run, machine.cycle, self._version
        if not machine.due and machine.under_horizon >= self._settings.alarm_confirm_cycles:
            machine.due = True
            explained = contributions(self._model, features)[: self._settings.explanation_sensors]
            due = events.MaintenanceDue(
                run=run,
                cycle=cycle,
                **estimate,
                novelty=novelty,
                horizon_cycles=horizon,
                sensors=[name for name, _ in explained],
                sensor_cycles=[round(cycles, 1) for _, cycles in explained],
                version=version,
            )
            yield make_event(due, reading.subject, reading.captured_ns)
        elif (
            machine.due
            and novelty <= 1.0
            and lower >= horizon + self._settings.alarm_hysteresis_cycles
            and not faulty(machine.sensors)
        ):
            machine.due = False
            cleared = events.MaintenanceCleared(
                run=run, cycle=cycle, **estimate, novelty=novelty, reason="recovered", version=version
            )
            yield make_event(cleared, reading.subject, reading.captured_ns)

    def _restarted(self, reading: Reading, ended: MachineState, begun: MachineState, cycle: int) -> Event:
        data = events.RunRestarted(
            run=begun.run,
            cycle=cycle,
            ended_run=ended.run,
            ended_cycle=ended.cycle,
            text=f"cycle {cycle} after {ended.cycle}: a new run has begun, counted as run {begun.run}",
            version=self._version,
        )
        return make_event(data, reading.subject, reading.captured_ns)

    def _end_run(self, reading: Reading, machine: MachineState) -> Iterable[Event | Sample]:
        if machine.due:
            cleared = events.MaintenanceCleared(
                run=machine.run, cycle=machine.cycle, reason="run ended", version=self._version
            )
            yield make_event(cleared, reading.subject, reading.captured_ns)
        for fault in machine.sensors.faults.values():
            yield self._fault_ended(reading, machine, fault, "run ended")
        yield machine.sample(reading.subject, reading.captured_ns, self._version)

    def _forget(self, gone: Forgotten[MachineState]) -> Iterable[Event | Sample]:
        machine = gone.state
        data = events.MachineForgotten(
            run=machine.run, cycle=machine.cycle, alarm=machine.due, version=self._version
        )
        yield make_event(data, gone.subject, gone.captured_ns)
        yield machine.sample(gone.subject, gone.captured_ns, self._version)


def _continued(
    machine: MachineState | None, run: int, cycle: int | None, subject: str
) -> tuple[MachineState, int]:
    """The machine that a reading belongs to, of its run or begun with it, and its cycle.

    Raises `ReadingError` for a reading that comes late or twice.
    """
    if machine is None:
        return MachineState(run, run), 1 if cycle is None else cycle
    if machine.named_run != run:
        return MachineState(max(run, machine.run + 1), run), 1 if cycle is None else cycle
    if cycle is None or cycle > machine.cycle:
        return machine, machine.cycle + 1 if cycle is None else cycle
    again = cycle == 1 and machine.cycle >= RESTART_FROM_CYCLES
    back = machine.cycle - cycle >= BACK_CYCLES and cycle <= machine.cycle // 2
    if again or back:
        return MachineState(machine.run + 1, run), cycle
    raise ReadingError(
        f"{subject} gave cycle {cycle} of run {machine.run} after {machine.cycle}: it is left out"
    )


def _ordered(reading: Reading) -> NDArray[Any]:
    """The values in the order of `CHANNELS`, ``(24,)``. Raises `ReadingError` for an unusable reading.

    Channels that are absent are NaN. Other columns are left out.
    """
    values, names = reading.values, reading.channels
    if names == CHANNELS and values.shape == (len(CHANNELS),) and values.dtype.kind in "fiu":
        return values
    named = values.shape == (len(names),) and not {*names}.isdisjoint(USED_CHANNELS)
    unnamed = names == () and values.shape == (len(CHANNELS),)
    if not (named or unnamed) or values.dtype.kind not in "fiu":
        raise ReadingError(
            f"reading {reading.position} of {reading.subject} has shape {values.shape} and {len(names)} "
            "channel names, or none of them is a sensor that the model uses; a cycle has the "
            f"{len(CHANNELS)} values {CHANNELS[0]} .. {CHANNELS[-1]}"
        )
    if unnamed:
        return values
    places = {name: index for index, name in enumerate(names)}
    return np.array([values[places[n]] if n in places else np.nan for n in CHANNELS], np.float64)


def _place(reading: Reading) -> tuple[int, int | None]:
    """``(run, cycle)`` that a reading names; else run 0, cycle None. Raises `ReadingError`."""
    run, cycle = reading.attributes.get("run", 0), reading.attributes.get("cycle")
    if not _is_whole(run) or not (cycle is None or _is_whole(cycle)):
        where = f"reading {reading.position} of {reading.subject}"
        raise ReadingError(f"{where} has run {run!r} and cycle {cycle!r}; both are whole numbers")
    return run, cycle


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31

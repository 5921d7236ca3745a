"""Decisions at the machine: the risk of a fault with each reading, an alarm, and windows to learn from.

- Each reading gives ``template.risk``.
- ``template.alarm`` is raised after ``alarm_confirm_readings`` readings in a row with a risk of at least
  ``alarm_risk``, and ended (``template.alarm_cleared``) after as many with at most half of it.
- Each `WINDOW_READINGS` readings of a machine are offered as a sample: the more novel, or the less certain,
  the higher its score.
- ``max_machines`` are followed at a time. A newcomer beyond that is refused (`CapacityReached`); a machine
  without readings for ``forget_machine_after_days`` is forgotten (``template.machine_forgotten``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.template.app import TemplateSettings
from apps.template.domain import CHANNELS, WINDOW_READINGS
from apps.template.events import Alarm, AlarmCleared, MachineForgotten, Risk
from common.app.edge import EdgeContext, Reading, Sample, State
from common.app.events import make_event
from common.messages import Event
from common.subjects import SubjectMap


@dataclass(slots=True)
class Machine:
    """State of one machine."""

    window: NDArray[np.float32]
    """Readings since the last sample, ``(readings, channels)``."""
    reasons: NDArray[np.float32]
    """Novelty and uncertainty of each of them, in [0, 1]."""
    began_ns: int
    """Capture time of the first of them."""
    crossed: int = 0
    """Consecutive readings beyond the threshold of the alarm's next change."""
    alarm: bool = False


class TemplateEdge:
    """`common.app.edge.EdgeApp` of the template app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: TemplateSettings = context.settings
        self._model = context.model
        self._machines = SubjectMap[Machine](
            self._settings.max_machines,
            self._settings.forget_machine_after_days * 86_400,
            setting="max_machines",
        )

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:  # noqa: ARG002
        values = CHANNELS.values(reading).astype(np.float32)
        known = self._machines.find(reading.subject, reading.captured_ns)
        outputs = self._model.run({"values": values[np.newaxis]})
        risk, novelty = float(outputs["risk"][0]), float(outputs["novelty"][0])
        version = self._model.manifest.version

        machine = known or _new_machine(reading.captured_ns)
        data = Risk(risk=round(risk, 4), novelty=round(novelty, 3), version=version)
        results: list[Event | Sample] = [make_event(data, reading.subject, reading.captured_ns)]
        if self._alarm_changes(machine, risk):
            change = Alarm if machine.alarm else AlarmCleared
            raised = change(risk=data.risk, version=version)
            results.append(make_event(raised, reading.subject, reading.captured_ns))
        machine.window = np.concatenate([machine.window, values[np.newaxis]])
        reasons = np.array([[min(1.0, novelty / 2), 1.0 - abs(2 * risk - 1)]], np.float32)
        machine.reasons = np.concatenate([machine.reasons, reasons])
        if len(machine.window) == WINDOW_READINGS:
            results.append(_sample(reading, machine, version))
            machine.window, machine.reasons = machine.window[:0], machine.reasons[:0]
        if len(machine.window) == 1:
            machine.began_ns = reading.captured_ns
        for gone in self._machines.keep(reading.subject, reading.captured_ns, machine):
            results.append(make_event(MachineForgotten(version=version), gone.subject, gone.captured_ns))
        return results

    def snapshot(self) -> State:
        return self._machines.snapshot(
            lambda machine: {name: getattr(machine, name) for name in Machine.__slots__}
        )

    def restore(self, state: State) -> None:
        self._machines.restore(state, lambda _subject, saved: Machine(**saved))

    def _alarm_changes(self, machine: Machine, risk: float) -> bool:
        """Whether the alarm of ``machine`` is raised or ended by this risk."""
        limit = self._settings.alarm_risk
        machine.crossed = (
            machine.crossed + 1 if (risk <= limit / 2 if machine.alarm else risk >= limit) else 0
        )
        if machine.crossed < self._settings.alarm_confirm_readings:
            return False
        machine.alarm, machine.crossed = not machine.alarm, 0
        return True


def _new_machine(captured_ns: int) -> Machine:
    return Machine(np.empty((0, len(CHANNELS)), np.float32), np.empty((0, 2), np.float32), captured_ns)


def _sample(reading: Reading, machine: Machine, version: str) -> Sample:
    novelty, uncertainty = machine.reasons.mean(axis=0).tolist()
    return Sample(
        subject=reading.subject,
        group=f"{reading.subject}/{machine.began_ns}",
        captured_ns=reading.captured_ns,
        reasons={"novelty": novelty, "low_margin": uncertainty},
        arrays={"values": machine.window},
        attributes={"channels": list(CHANNELS), "version": version},
    )

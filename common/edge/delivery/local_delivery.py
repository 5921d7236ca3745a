"""Committed events at the machine itself, with or without a cloud: history, local alarms, and a watcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.clock import Clock
from common.config.node import NodeSettings
from common.edge.delivery.alarm_outputs import outputs_of
from common.edge.delivery.history import History
from common.edge.delivery.local_alarms import LocalAlarms, Origin
from common.edge.delivery.outbox import Outbox
from common.messages import Event, priority_of


class LocalDelivery:
    """Takes each commit of the process thread. ``watch`` is called with each event; ``report`` takes events
    about the outputs."""

    def __init__(
        self,
        folder: Path,
        settings: NodeSettings,
        origin: Origin,
        outbox: Outbox,
        clock: Clock,
        *,
        report: Callable[[Event], None],
        watch: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:
        self._outbox = outbox
        self._watch = watch
        self._history = History(
            folder,
            f"/{origin.site}/{origin.node}",
            settings.history.budget_bytes,
            priority_of(settings.history.min_priority),
        )
        outputs = outputs_of(settings.local_alarms)
        self.alarms = LocalAlarms(outputs, settings.local_alarms, origin, folder, clock, report)

    def start(self) -> None:
        """Start the outputs of alarms, first with what an earlier process has kept and not sent."""
        self.alarms.start(self._outbox.epoch, self._outbox.last_seq)

    def take(self, events: Sequence[Event], last_seq: int) -> None:
        """Take the events of a commit, of which the last one has ``last_seq``."""
        epoch = self._outbox.epoch
        self._history.add(events, epoch, last_seq)
        self.alarms.offer(events, epoch, last_seq)
        if self._watch is not None:
            for facts in self._history.facts(events, epoch, last_seq):
                self._watch(facts)

    def stop(self, patience_s: float) -> None:
        """End the outputs, after at most ``patience_s``; what waits then is sent at the next start."""
        self.alarms.stop(patience_s)

"""A node's deciding and keeping without its threads, which can be killed between any two steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from common.app.edge import EdgeContext, Reading
from common.app.spec import AppSpec
from common.config.node import OtaSettings
from common.edge.delivery.outbox import Outbox
from common.edge.losses import Losses
from common.edge.processing.processing import Processing
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.telemetry import NodeMetrics
from common.edge.update.adoption import Adoption
from common.edge.update.slots import Slots
from common.messages import GAP_TYPE, decode_event
from tests.builders import FIRST_NS

NEVER_S = 1e9


class Decider:
    """An app over its outbox in ``folder``, as a node has it; `crash` and make another one to go on."""

    def __init__(
        self, folder: Path, spec: AppSpec, model: Any, *, interval_s: float = NEVER_S, settings: Any = None
    ) -> None:
        def clock() -> int:
            return FIRST_NS

        chosen = settings if settings is not None else spec.settings()
        self.outbox = Outbox(folder / "outbox.sqlite", "/s/n", 10**9, clock, stream="test:")
        slots = Slots(folder / "slots", spec.name, spec.starter, crash_limit=10**6, clock=clock)
        adoption = Adoption(
            slots, lambda *_: (spec.load_edge()(EdgeContext(chosen, model)), model), OtaSettings(), clock
        )
        self.processing = Processing(
            ReadingQueue(live=False),
            adoption,
            self.outbox,
            None,
            NodeMetrics(),
            Losses(folder, clock),
            clock,
            node="n",
            virtual=True,
            health_interval_s=NEVER_S,
            commit_interval_s=interval_s,
            checkpoint_interval_s=NEVER_S,
            health=dict,
            committed=lambda *_: None,
        )
        self.processing.platform.due_s = NEVER_S * 2
        self.processing.restore()

    @property
    def position(self) -> int:
        """Of the last committed reading; -1 for none."""
        position = self.outbox.position()
        return -1 if position is None else position

    def decide(self, readings: Sequence[Reading]) -> None:
        self.processing._handle(readings)

    def commit(self) -> None:
        """Commit what waits."""
        self.processing.flush()
        self.processing._handle([])

    def checkpoint(self) -> None:
        """Commit what waits with the whole state."""
        self.processing._progress.demand()
        self.commit()

    def crash(self) -> None:
        """Let go of everything that is not committed."""
        self.outbox._file.close()


def app_events(outbox: Outbox, app: str) -> dict[int, tuple[str, str, str, Any]]:
    """The app's events in the outbox, by seq. Nothing may be lost."""
    found: dict[int, tuple[str, str, str, Any]] = {}
    for row in outbox.pending(0, 10**6, 10**9):
        event = decode_event(row.body)
        assert event.type != GAP_TYPE
        if event.type.startswith(f"{app}."):
            found[event.seq] = (event.type, event.subject, event.time, msgspec.json.decode(event.data))
    return found

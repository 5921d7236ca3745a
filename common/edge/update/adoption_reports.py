"""Reports about adoption on their way to the outbox, as ``edgeloop.adoption`` events.

Steps that must survive a crash (switched, confirmed, reverted, refused for good) stay in the slots' state
until `AdoptionReports.committed`, so that a crash before the outbox has them repeats them rather than losing
them. Others are notes in memory, at most `NOTES_LIMIT`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import msgspec

from common.clock import Clock
from common.edge.update.slot_state import Order, Report
from common.edge.update.slots import Slots
from common.messages import Event, Priority

log = logging.getLogger(__name__)

ADOPTION_TYPE = "edgeloop.adoption"
NOTES_LIMIT = 256
"""Notes that wait for the next commit; any above are counted (`AdoptionReports.dropped`)."""


class AdoptionReports:
    """Any thread may add; `events` and `committed` belong to the process thread."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._notes: deque[Event] = deque()
        self._uncommitted = 0
        self.dropped = 0
        """Notes that were dropped because too many waited."""

    def add(self, event: Event) -> None:
        """Report an event that need not survive a crash."""
        if len(self._notes) >= NOTES_LIMIT:
            self.dropped += 1
        else:
            self._notes.append(event)

    def note(
        self, step: str, order: Order | None, *, ok: bool = True, reason: str = "", detail: str = ""
    ) -> None:
        """Report a step that need not survive a crash."""
        report = Report(
            version=order.version if order else "",
            from_version=self._slots.state.version,
            step=step,
            ok=ok,
            reason=reason,
            serial=order.serial if order else self._slots.state.seen_serial,
            rollout=order.rollout if order else "",
            detail=detail,
            time_ns=self._clock(),
        )
        self.add(_event(report))

    def refuse(self, order: Order | None, reason: str, detail: str, *, final: bool = False) -> None:
        """Report a refused update; ``final`` gives the version up until a newer serial names it."""
        log.warning("update refused (%s): %s", reason, detail)
        now_ns = self._clock()
        if final and order is not None:
            self._slots.change(lambda state: state.gave_up(order, reason, detail, now_ns))
            return
        self.note("refused", order, ok=False, reason=reason, detail=detail)

    def events(self) -> list[Event]:
        """Reports to commit now."""
        events: list[Event] = []
        while self._notes:
            events.append(self._notes.popleft())
        reports = self._slots.state.unreported[self._uncommitted :]
        self._uncommitted += len(reports)
        return [*events, *(_event(report) for report in reports)]

    def committed(self) -> None:
        """All `events` returned so far are in the outbox."""
        if self._uncommitted:
            count, self._uncommitted = self._uncommitted, 0
            self._slots.change(lambda state: state.reported(count))


def _event(report: Report) -> Event:
    facts: dict[str, Any] = msgspec.to_builtins(report)
    time_ns = facts.pop("time_ns")
    return Event(ADOPTION_TYPE, report.version or report.from_version, time_ns, Priority.EVENT, facts)

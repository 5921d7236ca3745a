"""Times by a wrong clock: marked, and corrected where the error is known.

A node leaves what its clock was (`common.clock.Anchor`) for its next run. Within one start of the machine the
steady time goes on, so a clock that was set between the two runs shows its error exactly, whether it was
behind (never set) or ahead. After another start of the machine nothing connects the two:

- Times that are marked as unsynchronised become unknown.
- Where the clock went back between the starts, one of the two is wrong. Times by the present clock count as
  unsynchronised until it has passed those of the earlier run. Where it went back by more than `KEPT_NS`,
  which no clock does that is restored from a file, those that lie ahead of it become unknown.
- A clock that jumped ahead looks like a machine that was switched off: only `NodeClock.latest_ns` bounds it,
  and the cloud when the events arrive.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from common import durable
from common.clock import Anchor, Clock, NodeClock, boot_id
from common.edge.delivery.outbox import Outbox
from common.messages import AHEAD_LIMIT_NS, LARGEST_NUMBER, TimeQuality, format_time

log = logging.getLogger(__name__)

FILE = "clock.json"
TOLERANCE_NS = 5_000_000_000
"""Difference between two runs that is a clock that was set, not one that is kept."""
KEPT_NS = 86_400_000_000_000
"""By how much a clock without a battery may go back that the system restores from a file at its start."""


class ClockWatch:
    """Marks and corrects the times in ``outbox`` as the clock shows itself wrong or is set.

    Does nothing for a clock that is not the node's own (`common.clock.NodeClock`).
    """

    def __init__(self, folder: Path, outbox: Outbox, clock: Clock, latest_ns: int) -> None:
        """Correct the previous run's times. ``latest_ns`` bounds plausible times. Raises `OutboxError`."""
        self._folder = folder
        self._outbox = outbox
        self._clock = clock if isinstance(clock, NodeClock) else None
        if self._clock is not None:
            self._clock.latest_ns = latest_ns
            mend_earlier_times(folder, outbox, self._clock)

    def check(self) -> str:
        """Take over the system's clock once it is set. Returns a description of the change, or nothing."""
        return take_over(self._folder, self._outbox, self._clock) if self._clock is not None else ""


def mend_earlier_times(folder: Path, outbox: Outbox, clock: NodeClock, boot: str | None = None) -> None:
    """Correct the previous run's times in the outbox, and leave this run's anchor. Raises `OutboxError`."""
    boot = boot_id() if boot is None else boot
    before = _read(folder)
    if before is not None:
        same_boot = bool(boot) and before.boot == boot
        shift_ns = clock.offset_ns - before.offset_ns
        if not same_boot:
            count = outbox.correct_times(TimeQuality.UNKNOWN)
            count += _check_order(before, outbox, clock)
            reason = "the machine was started again since"
        elif abs(shift_ns) > TOLERANCE_NS:
            quality = TimeQuality.CORRECTED if clock.plausible else TimeQuality.UNSYNCHRONISED
            by_it = before.offset_ns, clock() - shift_ns + TOLERANCE_NS
            first = before.first_seq if before.epoch == outbox.epoch else 1
            count = outbox.correct_times(quality, shift_ns=shift_ns, first_seq=first, between_ns=by_it)
            reason = f"the clock was set by {shift_ns / 1e9:.0f} s since"
        else:
            count, reason = 0, ""
        if count:
            log.warning("%d times of the run before were by a wrong clock: %s", count, reason)
    if not clock.plausible:
        log.warning("the clock reads %s, which is in doubt: times by it are marked", format_time(clock()))
    keep_anchor(folder, outbox, clock, boot)


def _check_order(before: Anchor, outbox: Outbox, clock: NodeClock) -> int:
    """Compare the clock with the times of the run before, in an earlier start of the machine.

    Returns how many became unknown.
    """
    last_ns = max(before.left_ns, outbox.latest_time_ns())
    back_ns = last_ns - clock()
    if not clock.plausible or back_ns <= AHEAD_LIMIT_NS:
        return 0
    log.warning("the clock went back by %.0f s while the machine was off", back_ns / 1e9)
    count = _mark_ahead(outbox, clock) if back_ns > KEPT_NS else 0
    if last_ns <= clock.latest_ns:
        clock.earliest_ns = last_ns
    return count


def _mark_ahead(outbox: Outbox, clock: NodeClock) -> int:
    """Mark times that lie ahead of the clock as unknown. Returns how many."""
    return outbox.correct_times(TimeQuality.UNKNOWN, between_ns=(clock() + AHEAD_LIMIT_NS, LARGEST_NUMBER))


def take_over(folder: Path, outbox: Outbox, clock: NodeClock) -> str:
    """Take over the system's clock once it is set, and correct earlier times.

    Returns a description of the change; empty where the clock has not moved.
    """
    shift_ns = clock.adjust()
    if not shift_ns:
        return ""
    mended = outbox.correct_times(TimeQuality.CORRECTED, shift_ns=shift_ns)
    _mark_ahead(outbox, clock)
    keep_anchor(folder, outbox, clock)
    return f"the node's clock was set {shift_ns / 1e9:.0f} s ahead; {mended} times were corrected"


def keep_anchor(folder: Path, outbox: Outbox, clock: NodeClock, boot: str | None = None) -> None:
    """Leave for the next run what this one's clock is, for the events from here on."""
    boot = boot_id() if boot is None else boot
    anchor = Anchor(boot, clock.offset_ns, outbox.epoch, outbox.last_seq + 1, clock())
    durable.write(folder / FILE, msgspec.json.encode(anchor))


def _read(folder: Path) -> Anchor | None:
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Anchor)
    except (OSError, msgspec.MsgspecError):
        return None

"""Times that an earlier run of the node stamped by a wrong clock: mended where it can be known by how much.

A node leaves what its clock was (`common.clock.Anchor`) for its next run. Within one start of the machine the
steady time goes on, so a clock that was set between the two runs shows its error exactly, whether it was
behind (never set) or ahead. After another start of the machine nothing connects the two: times by a clock
that was not set are marked as unknown.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from common import durable
from common.clock import Anchor, NodeClock, boot_id
from common.edge.outbox import Outbox
from common.messages import TimeQuality

log = logging.getLogger(__name__)

FILE = "clock.json"
TOLERANCE_NS = 5_000_000_000
"""Difference between two runs that is a clock that was set, not one that is kept."""


def mend_earlier_times(folder: Path, outbox: Outbox, clock: NodeClock, boot: str | None = None) -> None:
    """Mend what the run before left in the outbox, and leave this run's anchor. Raises `OutboxError`."""
    boot = boot_id() if boot is None else boot
    before = _read(folder)
    if before is not None and outbox.events:
        same_boot = bool(boot) and before.boot == boot
        shift_ns = clock.offset_ns - before.offset_ns
        if not same_boot:
            count = outbox.correct_times(TimeQuality.UNKNOWN)
            reason = "the machine was started anew"
        elif abs(shift_ns) > TOLERANCE_NS:
            quality = TimeQuality.CORRECTED if clock.plausible else TimeQuality.UNSYNCHRONISED
            by_it = before.offset_ns, clock() - shift_ns + TOLERANCE_NS
            first = before.first_seq if before.epoch == outbox.epoch else 1
            count = outbox.correct_times(quality, shift_ns=shift_ns, first_seq=first, between=by_it)
            reason = f"the clock was set by {shift_ns / 1e9:.0f} s since"
        else:
            count, reason = 0, ""
        if count:
            log.warning("%d times of the run before were by a wrong clock: %s", count, reason)
    keep_anchor(folder, outbox, clock, boot)


def keep_anchor(folder: Path, outbox: Outbox, clock: NodeClock, boot: str | None = None) -> None:
    """Leave for the next run what this one's clock is, for the events from here on."""
    boot = boot_id() if boot is None else boot
    anchor = Anchor(boot, clock.offset_ns, outbox.epoch, outbox.last_seq + 1)
    durable.write(folder / FILE, msgspec.json.encode(anchor))


def _read(folder: Path) -> Anchor | None:
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Anchor)
    except (OSError, msgspec.MsgspecError):
        return None

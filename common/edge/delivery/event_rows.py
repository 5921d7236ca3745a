"""Events as the outbox stores them: encoding with the quality of their times, new names, corrected times.

No I/O. An event that cannot travel (too large, not JSON) keeps its place, type, subject and priority; the
reason replaces its data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from common.clock import Clock, is_plausible
from common.errors import MessageError
from common.messages import (
    AHEAD_LIMIT_NS,
    LARGEST_NUMBER,
    Event,
    Priority,
    TimeQuality,
    decode_event,
    encode_event,
    format_time,
    moved_stamps,
    parse_time,
)

log = logging.getLogger(__name__)

CLOCK_STEP_NS = 60_000_000_000
"""Tolerance for a time ahead of an implausible clock that still counts as by it."""
_DAY_NS = 86_400_000_000_000


class Rows:
    """Rows to insert: their columns in sequence (``values``), their bodies, count and size by priority."""

    def __init__(self) -> None:
        self.values: list[int | bytes] = []
        self.bodies: list[bytes] = []
        self.count = [0] * len(Priority)
        self.body_bytes = [0] * len(Priority)


class EventEncoder:
    """Encodes the events of the node ``source``."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def rows(self, events: Sequence[Event], first_seq: int, epoch: str) -> Rows:
        """Rows of ``events``, numbered from ``first_seq``."""
        rows = Rows()
        extend, append, source = rows.values.extend, rows.bodies.append, self._source
        unset = not is_plausible(self._clock)
        latest_ns = LARGEST_NUMBER if unset else self._clock() + AHEAD_LIMIT_NS
        for seq, event in enumerate(events, first_seq):
            quality = TimeQuality.PLAUSIBLE
            if unset or event.recorded or event.time_ns > latest_ns:
                quality = self._quality(event, unset)
            try:
                body = encode_event(event, source=source, epoch=epoch, seq=seq, quality=quality)
            except (MessageError, ValueError, TypeError, OverflowError, OSError) as error:
                body = self._encode_bare(event, seq, epoch, error)
            priority = int(event.priority)
            extend((seq, seq, priority, body))
            append(body)
            rows.count[priority] += 1
            rows.body_bytes[priority] += len(body)
        return rows

    def _quality(self, event: Event, unset: bool) -> TimeQuality:
        """The doubt about the event's time, which is doubtful or by no clock of this node.

        A time ahead of a clock that is right is by another one, whose error nobody knows.
        """
        if event.recorded:
            return TimeQuality.RECORDED
        if not unset:
            return TimeQuality.UNKNOWN
        by_clock = 0 <= self._clock() - event.time_ns + CLOCK_STEP_NS < _DAY_NS
        return TimeQuality.UNSYNCHRONISED if by_clock else TimeQuality.PLAUSIBLE

    def _encode_bare(self, event: Event, seq: int, epoch: str, error: Exception) -> bytes:
        """The event with the reason in place of its data."""
        log.error("the data of an event cannot be kept: %s", error)
        bare = Event(
            event.type.encode("utf-8", "replace").decode()[:200],
            event.subject.encode("utf-8", "replace").decode()[:200],
            event.time_ns if 0 <= event.time_ns < 2**63 else self._clock(),
            event.priority,
            {"omitted": str(error)[:500].encode("utf-8", "replace").decode()},
        )
        return encode_event(bare, source=self._source, epoch=epoch, seq=seq)


def restamped(body: bytes, *, source: str, epoch: str, seq: int) -> bytes:
    """The stored event under another name and place. Raises `MessageError` for a damaged body."""
    event = decode_event(body)
    changes = {"source": source, "epoch": epoch, "seq": seq, "id": f"{epoch}-{seq}"}
    return msgspec.json.encode(msgspec.structs.replace(event, **changes))


def with_corrected_times(
    body: bytes, quality: TimeQuality, shift_ns: int, between_ns: tuple[int, int]
) -> bytes:
    """The stored event with its times moved by ``shift_ns`` and marked with ``quality``.

    Only times that are marked as unsynchronised, or not marked and ``between_ns``, are moved.
    """
    try:
        event = decode_event(body)
        time_ns = parse_time(event.time)
    except MessageError:
        return body  # Damaged: for the cloud to refuse.
    marked = event.timequality == TimeQuality.UNSYNCHRONISED
    if not marked and (event.timequality or not between_ns[0] <= time_ns < between_ns[1]):
        return body
    moved = format_time(min(max(time_ns + shift_ns, 0), LARGEST_NUMBER))
    data = msgspec.Raw(moved_stamps(bytes(event.data), shift_ns))
    return msgspec.json.encode(
        msgspec.structs.replace(event, time=moved, timequality=str(quality), data=data)
    )


def trusted_time_ns(body: bytes) -> int:
    """Time of a stored event without a mark of doubt; 0 for any other."""
    try:
        event = decode_event(body)
        return 0 if event.timequality else parse_time(event.time)
    except MessageError:
        return 0

"""Received messages: decoding and checks of a batch, and its rows, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from cloud_backend.ingest.sequence import check_cover
from common.app.cloud import ReceivedEvent
from common.errors import BatchError, MessageError
from common.messages import (
    AHEAD_LIMIT_NS,
    EARLIEST_CLOCK_NS,
    NAME_PATTERN,
    Batch,
    Malformed,
    Priority,
    Status,
    TimeQuality,
    WireEvent,
    decode,
    decode_batch,
    digest,
    moved_stamps,
    parse_time,
    plain_size,
)

_PRIORITIES = {priority.name.lower(): int(priority) for priority in Priority}
_ALL_PRIORITIES = tuple(Priority)
_LARGEST = 2**63 - 1
_QUALITIES = frozenset(TimeQuality)


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A received batch; ``batch`` is None for an unreadable payload, and ``reason`` the cause."""

    site: str
    node: str
    payload: bytes
    arrived_ns: int
    batch: Batch | None
    reason: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the payload; the node identifies a refused batch by it."""
        return digest(self.payload)

    @property
    def size(self) -> int:
        """Number of events, for the bound of a transaction."""
        return max(1, len(self.batch.events)) if self.batch else 1

    @property
    def cost_bytes(self) -> int:
        """Estimated memory in the inbox."""
        return cost_bytes(self.payload)


@dataclass(frozen=True, slots=True)
class ReceivedStatus:
    """A node's status message; a retained one may be old, and does not count as seen."""

    site: str
    node: str
    status: Status
    arrived_ns: int
    retained: bool
    size: int = 0


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The cloud has connected to the broker; retained status messages of all nodes follow."""

    size: int = 0


OBJECTS_COST = 4
"""Memory of decoded events per byte of their text, measured with small events (the worst case)."""


def cost_bytes(payload: bytes) -> int:
    """Memory of a waiting batch, estimated before it is decompressed."""
    return len(payload) + OBJECTS_COST * plain_size(payload)


Message = ReceivedBatch | ReceivedStatus | Reconnected


def read_batch(site: str, node: str, payload: bytes, arrived_ns: int) -> ReceivedBatch:
    """Decode a payload of a node's ``up`` topic; never raises."""
    try:
        batch = decode_batch(payload)
        check_cover(batch.head, batch.events, batch.malformed)
    except BatchError as error:
        return ReceivedBatch(site, node, payload, arrived_ns, None, str(error))
    return ReceivedBatch(site, node, payload, arrived_ns, batch)


def read_status(site: str, node: str, payload: bytes, arrived_ns: int, retained: bool) -> ReceivedStatus:
    """Decode a payload of a node's ``status`` topic. Raises `MessageError`."""
    status = decode(payload, Status)
    if status.state not in ("online", "offline"):
        raise MessageError(f"{status.state[:40]!r} is not a state of a node: online, offline")
    for name in (status.app, status.version):
        if name and not NAME_PATTERN.fullmatch(name):
            raise MessageError(f"{name[:40]!r} is not the name of an app or version")
    return ReceivedStatus(site, node, status, arrived_ns, retained)


class Rows(NamedTuple):
    """Rows of the event table as one flat list, each in the order of `COLUMNS`, and the malformed events."""

    values: list[Any]
    malformed: list[Malformed]


COLUMNS = (
    "stream_id",
    "seq",
    "type",
    "subject",
    "time_ns",
    "received_ns",
    "priority",
    "clock_offset_ms",
    "time_quality",
    "body",
)


@dataclass(slots=True)
class Projected:
    """Events to project, by app, in the order of acceptance."""

    app_of: Callable[[str], str | None]
    """The app that projects an event type; None for a type that is only stored."""
    by_app: dict[str, list[ReceivedEvent]] = field(default_factory=dict)
    origins: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """``(stream_id, received_ns)`` of each event in ``by_app``."""

    def lists_of(self, event_type: str) -> tuple[list[ReceivedEvent], list[tuple[int, int]]] | None:
        """Lists for events of this type and their origins; None for a type that is only stored."""
        app = self.app_of(event_type)
        return None if app is None else (self.by_app.setdefault(app, []), self.origins.setdefault(app, []))


def make_rows(
    events: Sequence[WireEvent],
    *,
    received: ReceivedBatch,
    stream_id: int,
    offset_ns: int,
    tolerance_ns: int,
    projected: Projected,
) -> Rows:
    """Rows for ``events`` with times corrected by ``offset_ns``, the error of the node's clock, in whole
    milliseconds. ``body`` is stored as the node sent it; its times are corrected on reading.

    The offset applies to times of the clock that sent the batch. It does not apply to times with a
    ``timequality`` other than unsynchronised, or to plausible times of a node whose clock is not set. Times
    marked as unsynchronised count as correct if the clock is within ``tolerance_ns`` when it sends. A time
    after the arrival, corrected or not, is of another clock: it is not corrected, and its quality is
    ``unknown``. Times of a recording have no such bound.

    An event of another node, without a readable time or priority, or with text that a database cannot store
    is malformed: it goes to quarantine, and the rest of the batch is stored.
    """
    site, node, received_ns = received.site, received.node, received.arrived_ns
    source = f"/{site}/{node}"
    offset_ms = offset_ns // 1_000_000 if offset_ns else None
    sent_ns = received.batch.head.sent_ns if received.batch is not None else received_ns
    unset = sent_ns < EARLIEST_CLOCK_NS
    right = not offset_ns and abs(received_ns - sent_ns) <= tolerance_ns
    latest_ns = received_ns + AHEAD_LIMIT_NS + tolerance_ns
    values: list[Any] = []
    malformed: list[Malformed] = []
    lists: dict[str, tuple[list[ReceivedEvent], list[tuple[int, int]]] | None] = {}
    origin = (stream_id, received_ns)
    seconds: dict[str, int] = {}
    extend, priorities = values.extend, _PRIORITIES
    for event in events:
        kind, subject, time = event.type, event.subject, event.time
        try:
            priority = priorities[event.priority]
            second, fraction = time[:20], time[20:29]
            moved_ms, quality = offset_ms, "corrected" if offset_ms else None
            if event.timequality or unset:
                quality, by_this_clock = _quality(event, unset)
                time_ns = parse_time(time)
                moved_ms = offset_ms if by_this_clock else None
                if moved_ms is not None:
                    time_ns, quality = time_ns + offset_ns, "corrected"
                elif by_this_clock and right:
                    quality = None
            elif second in seconds and len(time) == 30 and time[29] == "Z" and fraction.isdigit():
                time_ns = seconds[second] + int(fraction)
            else:
                time_ns = parse_time(time) + offset_ns
                if len(time) == 30:
                    seconds[second] = time_ns - int(fraction)
            if time_ns > latest_ns and quality != TimeQuality.RECORDED:
                time_ns, moved_ms, quality = parse_time(time), None, str(TimeQuality.UNKNOWN)
            body = str(event.data, "utf-8")
            if kind not in lists:
                lists[kind] = projected.lists_of(kind)
            if (
                event.source != source
                or "\0" in subject
                or "\0" in kind
                or not -_LARGEST <= time_ns <= _LARGEST
            ):
                raise MessageError(_complaint(event, source))
        except (MessageError, KeyError, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, MessageError) else _complaint(event, source)
            malformed.append(Malformed(msgspec.json.encode(event), reason))
            continue
        extend((stream_id, event.seq, kind, subject, time_ns, received_ns, priority, moved_ms, quality, body))
        append_to = lists[kind]
        if append_to is not None:
            projected_event = ReceivedEvent(
                site=site,
                node=node,
                epoch=event.epoch,
                seq=event.seq,
                type=kind,
                subject=subject,
                time_ns=time_ns,
                priority=_ALL_PRIORITIES[priority],
                body=moved_stamps(bytes(event.data), (moved_ms or 0) * 1_000_000),
                time_quality=quality or "",
            )
            append_to[0].append(projected_event)
            append_to[1].append(origin)
    return Rows(values, malformed)


def _quality(event: WireEvent, unset: bool) -> tuple[str | None, bool]:
    """Quality of an event's time, and whether the time is of the clock that sent the batch."""
    if event.timequality:
        known = event.timequality if event.timequality in _QUALITIES else TimeQuality.UNKNOWN
        return str(known), known == TimeQuality.UNSYNCHRONISED
    return None, unset and parse_time(event.time) < EARLIEST_CLOCK_NS


def _complaint(event: WireEvent, source: str) -> str:
    where = f"seq {event.seq} of epoch {event.epoch}"
    if event.source != source:
        return f"{where} has the source {event.source[:80]!r}, but came over the topic of {source!r}"
    if event.priority not in _PRIORITIES:
        return f"{where}: {event.priority[:40]!r} is not a priority"
    return f"{where} holds text or a time that cannot be stored"

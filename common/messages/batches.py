"""A batch: many events of one node behind a head, zstd-compressed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec
import zstandard

from common import json_bounds
from common.errors import BatchError, MessageError
from common.json_bounds import MALFORMED
from common.messages.addressing import NAME_PATTERN
from common.messages.events import EVENT_LIMIT_BYTES, Event, Priority, WireEvent, decode_event, encode_event
from common.messages.times import LARGEST_NUMBER

BATCH_LIMIT_BYTES = 256 * 1024
"""Largest payload on the wire, its seal aside."""
BATCH_PLAIN_LIMIT_BYTES = 4 * 1024 * 1024
"""Largest batch after decompression; bounds what a hostile payload can make the cloud allocate."""
BATCH_LIMIT_EVENTS = 10_000
"""Maximum number of events in a batch."""
LARGEST_SEQ = 2**53 - 1
"""Largest seq: exact in every JSON reader, and sums of many marks cannot overflow."""
REACH_LIMIT = 2**40
"""Maximum span of seqs in a batch, gaps included: centuries of losses."""
BATCH_TYPE = "edgeloop.batch"


class BatchHead(msgspec.Struct, frozen=True):
    """Data of the ``edgeloop.batch`` event at the front of every batch.

    ``oldest`` is the lowest seq that the outbox keeps at ``sent_ns``, gap rows included (1 until the first
    ack of an epoch deletes something), so ``1 <= oldest <= first <= last``. ``sent_ns`` is the
    time of each transmission: the cloud derives the node's clock error from it.
    """

    epoch: str
    first: int
    last: int
    sent_ns: int
    oldest: int
    session: Annotated[str, msgspec.Meta(max_length=64)] = ""
    turn: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)] = 0


class Malformed(NamedTuple):
    """One element of a batch that is not a valid event."""

    body: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A decoded batch: ``events`` in sequence order, and its unreadable elements."""

    head: BatchHead
    events: list[WireEvent]
    malformed: list[Malformed]


_batch_decoder = msgspec.json.Decoder(list[WireEvent])
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_head_decoder = msgspec.json.Decoder(BatchHead)


def encode_batch(
    bodies: Sequence[bytes],
    *,
    source: str,
    epoch: str,
    first: int,
    last: int,
    sent_ns: int,
    oldest: int,
    session: str = "",
    turn: int = 0,
) -> bytes:
    """A batch of encoded events, headed and compressed; not sealed yet.

    ``oldest`` is the lowest seq still in the outbox (see `BatchHead`). It must be read no later than
    ``bodies`` are picked and must never be too high: a cloud that lost its own records treats everything
    below ``oldest`` as lost.

    Raises `BatchError` above `BATCH_LIMIT_BYTES`.
    """
    if len(bodies) > BATCH_LIMIT_EVENTS:
        raise BatchError(f"a batch of {len(bodies)} events; the limit is {BATCH_LIMIT_EVENTS}: split it")
    if not 1 <= oldest <= first <= last:
        raise BatchError(f"a batch {first}..{last} cannot come from an outbox whose oldest seq is {oldest}")
    head = encode_event(
        Event(
            BATCH_TYPE,
            "",
            sent_ns,
            Priority.TELEMETRY,
            msgspec.structs.asdict(BatchHead(epoch, first, last, sent_ns, oldest, session, turn)),
        ),
        source=source,
        epoch=epoch,
        seq=0,
    )
    plain = b"".join((b"[", b",".join((head, *bodies)), b"]"))
    payload = zstandard.compress(plain, 1)
    if len(payload) > BATCH_LIMIT_BYTES or len(plain) > BATCH_PLAIN_LIMIT_BYTES:
        raise BatchError(
            f"batch {first}..{last} is {len(payload)} bytes on the wire, {len(plain)} plain: split it"
        )
    return payload


def decode_batch(payload: bytes) -> Batch:
    """A received batch. Unreadable elements go to ``malformed``; the others are kept.

    Raises `BatchError` without a readable head, or for a payload that is too large.
    """
    if len(payload) > BATCH_LIMIT_BYTES:
        raise BatchError(f"batch of {len(payload)} bytes; the limit is {BATCH_LIMIT_BYTES}")
    plain = _decompress(payload)
    try:
        elements = _batch_decoder.decode(plain)
        malformed: list[Malformed] = []
    except MALFORMED:
        elements, malformed = _decode_one_by_one(plain)
    if len(elements) + len(malformed) > BATCH_LIMIT_EVENTS + 1:
        raise BatchError(
            f"a batch of {len(elements) + len(malformed) - 1} events; the limit is {BATCH_LIMIT_EVENTS}"
        )
    if not elements or elements[0].type != BATCH_TYPE:
        raise BatchError("the batch does not start with an edgeloop.batch event")
    try:
        head = _head_decoder.decode(elements[0].data)
    except MALFORMED as error:
        raise BatchError(f"the head of the batch cannot be decoded: {error}") from error
    in_order = 0 < head.oldest <= head.first <= head.last <= LARGEST_SEQ
    if (
        not in_order
        or head.last - head.first > REACH_LIMIT
        or abs(head.sent_ns) > LARGEST_NUMBER
        or not NAME_PATTERN.fullmatch(head.epoch)
    ):
        raise BatchError(f"the head of the batch is inconsistent: {head}")
    return _in_bounds(head, elements[1:], malformed, json_bounds.has_long_numbers(plain))


def plain_size(payload: bytes) -> int:
    """Declared size of a batch after decompression in bytes, bounded; nothing is decompressed."""
    try:
        size = zstandard.frame_content_size(payload)
    except zstandard.ZstdError:
        return len(payload)
    return min(size, BATCH_PLAIN_LIMIT_BYTES) if size > 0 else len(payload)


def _decompress(payload: bytes) -> bytes:
    try:
        if not 0 < zstandard.frame_content_size(payload) <= BATCH_PLAIN_LIMIT_BYTES:
            raise BatchError(
                f"the batch does not declare a decompressed size of at most {BATCH_PLAIN_LIMIT_BYTES} bytes"
            )
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=BATCH_PLAIN_LIMIT_BYTES)
    except zstandard.ZstdError as error:
        raise BatchError(f"not zstd: {error}") from error


def _decode_one_by_one(plain: bytes) -> tuple[list[WireEvent], list[Malformed]]:
    try:
        raws = _raw_decoder.decode(plain)
    except MALFORMED as error:
        raise BatchError(f"not a JSON array of events: {error}") from error
    events: list[WireEvent] = []
    malformed: list[Malformed] = []
    for raw in raws:
        try:
            events.append(decode_event(bytes(raw)))
        except MessageError as error:
            malformed.append(Malformed(bytes(raw), str(error)))
    return events, malformed


def _in_bounds(
    head: BatchHead, events: Iterable[WireEvent], malformed: list[Malformed], long_numbers: bool
) -> Batch:
    kept: list[WireEvent] = []
    previous = head.first - 1
    read, epoch, last = json_bounds.read_part, head.epoch, head.last
    for event in events:
        try:
            if event.epoch != epoch or not previous < event.seq <= last:
                raise MessageError(
                    f"seq {event.seq} of epoch {event.epoch[:80]} does not belong in {head.first}..{last}"
                )
            previous = event.seq
            data = bytes(event.data)
            if len(data) > EVENT_LIMIT_BYTES:
                raise MessageError(f"the data of seq {event.seq} are over {EVENT_LIMIT_BYTES} bytes")
            read(data, long_numbers)
        except MessageError as error:
            malformed.append(Malformed(msgspec.json.encode(event), str(error)))
            continue
        kept.append(event)
    return Batch(head, kept, malformed)

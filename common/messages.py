"""The wire contract between a node and the cloud.

A node turns what its app decides (`Event`) into CloudEvents 1.0 with a place in its stream:
``(node, epoch, seq)``. An *epoch* is the life of one outbox file; ``seq`` starts at 1 in each epoch
and has no holes. Rules:

- A batch is a CloudEvents JSON batch, zstd-compressed, at most `BATCH_LIMIT_BYTES` on the wire.
  Its first element is an ``edgeloop.batch`` event that tells ``epoch``, ``first``, ``last`` and when
  the node sent it; the others are the events from ``first`` to ``last``.
- Events that the node had to give up stand in the stream as one ``edgeloop.gap`` event whose ``seq``
  is the first lost one and whose data tell ``through``, ``reason`` and the counts by priority.
- The cloud takes a batch only where it continues the stream (``first <= high_water_mark + 1``), so
  it sees every node's events once and in order. Whatever arrives, it answers with an `Ack`; a node
  that reads a mark below what it sent, sends again from there.
- The head also tells ``oldest``, the lowest seq that the node still keeps. A cloud that was restored from
  a backup and misses what the node has already deleted writes a gap (``lost_by_cloud``) up to ``oldest``
  and goes on, so neither side waits for what no one has.
- A batch that cannot be read at all is answered with ``refused`` (its digest and the reason); the
  node then sends smaller batches until the one bad event stands alone and becomes a gap.

Topics are ``edgeloop/v1/<site>/<node>/{up,ack,hint,status}``; names are `NAME_PATTERN`. Every payload is
sealed with the key of the node's enrolment (`common.sealing`), so nobody speaks for another, whatever the
broker lets happen. What is sent again by others changes nothing:

- A *session* is one run of a node's uplink, named at random. Heads tell it, with a ``turn`` that grows; acks
  and hints repeat the session, and acks the turn. A node takes an ack or a hint of its own session only,
  each turn once. So an old ack counts for nothing, and neither does one for a copy of the node.
- A batch that was taken before is recognised by its seqs.

Two devices with one identity do not mix: where a batch of another session overlaps what is stored of its
epoch and differs, the cloud takes nothing of it and answers ``forked``; the device goes on in a new epoch
with all it keeps. Where sessions take turns, acks say ``shared``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import zstandard

from common import json_bounds
from common.errors import BatchError, EventTooLarge, MessageError

BATCH_LIMIT_BYTES = 256 * 1024
"""Largest payload on the wire, its seal aside."""
BATCH_PLAIN_LIMIT_BYTES = 4 * 1024 * 1024
"""Largest batch after decompression; bounds what a hostile payload can make the cloud allocate."""
BATCH_LIMIT_EVENTS = 10_000
"""Most events in a batch."""
EVENT_LIMIT_BYTES = 128 * 1024
"""Largest single event as JSON, so that it fits a batch even if it does not compress."""

LARGEST_NUMBER = 2**63 - 1
"""Largest time on the wire: what a database column holds."""
LARGEST_SEQ = 2**53 - 1
"""Largest seq: what every reader of JSON holds, and what sums of many marks cannot overflow with."""
REACH_LIMIT = 2**40
"""Most seqs from the first to the last of a batch, gaps among them: centuries of losses."""
TYPE_CHARACTERS = 200
"""Longest type of an event."""
SUBJECT_CHARACTERS = 1000
"""Longest subject of an event."""

FRAME_TEXT_LIMIT = 512
"""Characters of type and subject up to which the frame of an event is remembered."""
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
T = TypeVar("T")
GAP_TYPE = "edgeloop.gap"
BATCH_TYPE = "edgeloop.batch"
TOPIC_ROOT = "edgeloop/v1"
UP_TOPICS = f"{TOPIC_ROOT}/+/+/up"
STATUS_TOPICS = f"{TOPIC_ROOT}/+/+/status"


class Priority(IntEnum):
    """What is given up last, and sent first when the disk budget is short."""

    SAMPLE = 0
    TELEMETRY = 1
    EVENT = 2
    ALARM = 3


_PRIORITY_NAMES = {p: p.name.lower() for p in Priority}
_PRIORITIES = {name: p for p, name in _PRIORITY_NAMES.items()}


class Event(msgspec.Struct, frozen=True, gc=False):
    """What an app decided at the edge.

    ``type`` is dotted and starts with the app's name (``industrial.rul``); ``subject`` names what it is
    about (a machine, a camera, a patient's pseudonym); ``time_ns`` is the capture time of the reading
    behind it, UTC nanoseconds; ``data`` is a struct or a mapping of JSON values, units in their names
    (`common.app.events`). Integers directly under keys that end in ``_ns`` are times by the clock of
    ``time_ns``, and are corrected with it (`moved_stamps`).
    ``recorded`` marks a time that a recording has, not one by the node's clock.
    """

    type: str
    subject: str
    time_ns: int
    priority: Priority
    data: Mapping[str, Any] | msgspec.Struct
    recorded: bool = False


class TimeQuality(StrEnum):
    """How far the time of an event can be trusted."""

    PLAUSIBLE = ""
    """Nothing speaks against it. Not on the wire: the attribute is left out."""
    UNSYNCHRONISED = "unsynchronised"
    """By the clock that the node has now, which was not set; the cloud corrects it on arrival."""
    CORRECTED = "corrected"
    """By a wrong clock whose error became known later: the time is right within the delay on the way."""
    UNKNOWN = "unknown"
    """By a wrong clock of an earlier run or start of the machine: not to be used as a time."""
    RECORDED = "recorded"
    """As the recording has it, or a simulation that runs faster than the clock: an error of the node's clock
    does not concern it, and nobody corrects it."""


EARLIEST_CLOCK_NS = 1_767_225_600_000_000_000
"""2026-01-01: a node's clock that reads less was not set. Recordings may be of any time."""
AHEAD_LIMIT_NS = 300_000_000_000
"""How far a time may lie after the moment at which it is kept or arrives before it counts as wrong."""


class WireEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One CloudEvents 1.0 event with edgeloop's extension attributes.

    They are ``epoch``, ``seq``, ``priority``, and ``timequality`` (`TimeQuality`) where the time is doubtful
    or not by the node's clock.
    """

    specversion: str
    id: str
    source: str
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=TYPE_CHARACTERS)]
    time: str
    subject: Annotated[str, msgspec.Meta(max_length=SUBJECT_CHARACTERS)] = ""
    epoch: str
    seq: int
    priority: str
    timequality: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class BatchHead(msgspec.Struct, frozen=True):
    """Data of the ``edgeloop.batch`` event at the front of every batch.

    ``oldest`` is the lowest seq that the outbox keeps at ``sent_ns``, gap rows included (1 until the first
    ack of an epoch deletes something), so ``1 <= oldest <= first <= last``. ``sent_ns`` is stamped anew
    whenever the batch is sent again: the cloud reads the node's clock error from it.
    """

    epoch: str
    first: int
    last: int
    sent_ns: int
    oldest: int
    session: Annotated[str, msgspec.Meta(max_length=64)] = ""
    turn: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)] = 0


class Gap(msgspec.Struct, frozen=True):
    """Data of an ``edgeloop.gap`` event: ``seq .. through`` were given up."""

    through: int
    reason: str
    counts: dict[str, int]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cloud's answer: all of ``epoch`` up to ``high_water_mark`` is committed.

    ``limited`` names a batch (`common.sealing.name_of`) that was dropped unread because the node sends more
    than its share: send it again after ``limited_s``.
    """

    epoch: str
    high_water_mark: int
    refused_digest: str = ""
    refused_reason: str = ""
    session: str = ""
    turn: int = 0
    forked: bool = False
    """Another device continued this epoch differently: go on in a new one with what is above the mark."""
    shared: bool = False
    """Another device speaks under this node's identity now."""
    limited: str = ""
    limited_s: float = 0.0


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Retained on the status topic; ``offline`` is the last will."""

    state: str
    app: str
    version: str = ""
    sent_ns: int = 0
    session: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Hint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests an action of a node. A node ignores an ``action`` that it does not know.

    ``deployment``: whether there is another model for it; ``golden``: whether the live model still passes its
    golden cases on this device; ``revert``: back from ``version`` to the model before. None of them names a
    model to run: whoever has the broker can only choose among models that the node has verified itself.
    """

    action: str
    version: str = ""
    """The model that a ``revert`` is about: a node that runs another by now ignores it. Empty for any."""
    session: str = ""
    """Of the node that is meant; it ignores a hint to another session."""
    number: int = 0
    """Grows from hint to hint, so that none counts twice."""


class Malformed(NamedTuple):
    """One element of a batch that is not a valid event."""

    body: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A decoded batch: ``events`` in sequence order, and what in it could not be read."""

    head: BatchHead
    events: list[WireEvent]
    malformed: list[Malformed]


class Topics(NamedTuple):
    """The four topics of one node."""

    up: str
    ack: str
    hint: str
    status: str


def topics(site: str, node: str) -> Topics:
    """Topics of one node. Raises `MessageError` for a name that could escape its own topic."""
    for name in (site, node):
        if not NAME_PATTERN.fullmatch(name):
            raise MessageError(
                f"{name!r} cannot name a site or node: use a-z, 0-9, '.', '_' and '-', "
                "starting with a letter or digit, at most 63 characters"
            )
    root = f"{TOPIC_ROOT}/{site}/{node}"
    return Topics(f"{root}/up", f"{root}/ack", f"{root}/hint", f"{root}/status")


def node_of_topic(topic: str) -> tuple[str, str]:
    """``(site, node)`` of one of `topics`. Raises `MessageError` for any other topic."""
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != TOPIC_ROOT:
        raise MessageError(f"{topic!r} is not a topic of a node")
    topics(parts[2], parts[3])
    return parts[2], parts[3]


@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _second_number(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds: ``2026-11-24T02:57:52.000000001Z``."""
    second, nanosecond = divmod(time_ns, 1_000_000_000)
    return f"{_second_text(second)}.{nanosecond:09d}Z"


def parse_time(text: str) -> int:
    """UTC nanoseconds of an RFC 3339 time in UTC, up to 2262. Raises `MessageError` for anything else."""
    try:
        if len(text) == 30 and text[19] == "." and text[29] == "Z":
            fraction = text[20:29]
        elif text.endswith("Z") and (len(text) == 20 or (text[19] == "." and len(text) > 21)):
            fraction = text[20:-1].ljust(9, "0")
        else:
            raise ValueError
        if len(fraction) != 9 or not fraction.isdigit():
            raise ValueError
        time_ns = _second_number(text[:19]) * 1_000_000_000 + int(fraction)
        if not -LARGEST_NUMBER <= time_ns <= LARGEST_NUMBER:
            raise ValueError
        return time_ns
    except (ValueError, IndexError, OverflowError):
        raise MessageError(
            f"{text[:40]!r} is not an RFC 3339 time in UTC, such as 2026-11-24T02:57:52Z"
        ) from None


def moved_stamps(data: bytes, by_ns: int) -> bytes:
    """The JSON of an event's data with its times (`Event`) moved by ``by_ns``; all else stays as it is."""
    if not by_ns or b'_ns"' not in data:
        return data
    try:
        fields = _fields_decoder.decode(data)
    except _UNREADABLE:
        return data
    for key, value in fields.items():
        if key.endswith("_ns") and bytes(value).lstrip(b"-").isdigit():
            moved = min(max(int(bytes(value)) + by_ns, -LARGEST_NUMBER), LARGEST_NUMBER)
            fields[key] = msgspec.Raw(b"%d" % moved)
    return _json_encoder.encode(fields)


def priority_of(name: str) -> Priority:
    """The priority with this wire name. Raises `MessageError` for an unknown one."""
    try:
        return _PRIORITIES[name]
    except KeyError:
        raise MessageError(f"{name[:40]!r} is not a priority: {', '.join(_PRIORITIES)}") from None


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for hostile input: wrong JSON, wrong UTF-8, endless nesting."""
_json_encoder = msgspec.json.Encoder()
_batch_decoder = msgspec.json.Decoder(list[WireEvent])
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.json.Decoder(WireEvent)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_head_decoder = msgspec.json.Decoder(BatchHead)


@lru_cache(maxsize=1024)
def _frame(
    source: str, epoch: str, kind: str, subject: str, priority: Priority
) -> tuple[bytes, bytes, bytes, bytes]:
    """What surrounds the seq, the time, the seq again and the data in the JSON of a `WireEvent`."""
    quoted = _json_encoder.encode
    about = b',"subject":' + quoted(subject) if subject else b""
    return (
        b'{"specversion":"1.0","id":' + quoted(f"{epoch}-")[:-1],
        b'","source":' + quoted(source) + b',"type":' + quoted(kind) + b',"time":"',
        b'"' + about + b',"epoch":' + quoted(epoch) + b',"seq":',
        b',"priority":' + quoted(_PRIORITY_NAMES[priority]) + b',"data":',
    )


@lru_cache(maxsize=64)
def _time_text(time_ns: int) -> bytes:
    return format_time(time_ns).encode("ascii")


def encode_event(
    event: Event, *, source: str, epoch: str, seq: int, quality: TimeQuality = TimeQuality.PLAUSIBLE
) -> bytes:
    """One event as CloudEvents JSON; ``source`` is ``/<site>/<node>``.

    NaN and infinity become ``null``. Raises `EventTooLarge`, and `MessageError` for data that is not JSON.
    """
    try:
        data = _json_encoder.encode(event.data)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise MessageError(f"data of {event.type} about {event.subject!r} is not JSON: {error}") from error
    frame = _frame if len(event.type) + len(event.subject) <= FRAME_TEXT_LIMIT else _frame.__wrapped__
    before_seq, before_time, after_time, before_data = frame(
        source, epoch, event.type, event.subject, event.priority
    )
    number = b"%d" % seq
    body = b"".join(
        (
            before_seq,
            number,
            before_time,
            _time_text(event.time_ns),
            after_time,
            number,
            b',"timequality":"%b"' % quality.encode() if quality else b"",
            before_data,
            data,
            b"}",
        )
    )
    if len(body) > EVENT_LIMIT_BYTES:
        raise EventTooLarge(
            f"{event.type} about {event.subject!r} is {len(body)} bytes; an event holds at most "
            f"{EVENT_LIMIT_BYTES}: send large things as samples"
        )
    return body


def decode_event(body: bytes) -> WireEvent:
    """Inverse of `encode_event`. Raises `MessageError`."""
    try:
        return _event_decoder.decode(body)
    except _UNREADABLE as error:
        raise MessageError(f"not an edgeloop event: {error}") from error


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

    ``oldest`` is the lowest seq still in the outbox (see `BatchHead`). The node must read it no later than
    it picks ``bodies``, and never say more than it knows: a cloud that lost its own records takes
    everything below ``oldest`` as gone for good.

    Raises `BatchError` if it is over `BATCH_LIMIT_BYTES`: give it fewer events.
    """
    if len(bodies) > BATCH_LIMIT_EVENTS:
        raise BatchError(f"a batch of {len(bodies)} events; at most {BATCH_LIMIT_EVENTS} are taken: split it")
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
    """A batch as it arrived. One unreadable element is set aside in ``malformed``; the rest is kept.

    Raises `BatchError` when there is no readable head, or the payload is too large.
    """
    if len(payload) > BATCH_LIMIT_BYTES:
        raise BatchError(f"batch of {len(payload)} bytes; at most {BATCH_LIMIT_BYTES} are taken")
    plain = _decompress(payload)
    try:
        elements = _batch_decoder.decode(plain)
        malformed: list[Malformed] = []
    except _UNREADABLE:
        elements, malformed = _decode_one_by_one(plain)
    if len(elements) + len(malformed) > BATCH_LIMIT_EVENTS + 1:
        raise BatchError(
            f"a batch of {len(elements) + len(malformed) - 1} events; at most {BATCH_LIMIT_EVENTS} are taken"
        )
    if not elements or elements[0].type != BATCH_TYPE:
        raise BatchError("the batch does not start with an edgeloop.batch event")
    try:
        head = _head_decoder.decode(elements[0].data)
    except _UNREADABLE as error:
        raise BatchError(f"the head of the batch is not readable: {error}") from error
    in_order = 0 < head.oldest <= head.first <= head.last <= LARGEST_SEQ
    if (
        not in_order
        or head.last - head.first > REACH_LIMIT
        or abs(head.sent_ns) > LARGEST_NUMBER
        or not NAME_PATTERN.fullmatch(head.epoch)
    ):
        raise BatchError(f"the head of the batch makes no sense: {head}")
    return _in_bounds(head, elements[1:], malformed, json_bounds.has_long_numbers(plain))


def plain_size(payload: bytes) -> int:
    """What a batch says that it unpacks to, in bytes, bounded; nothing is unpacked for it."""
    try:
        size = zstandard.frame_content_size(payload)
    except zstandard.ZstdError:
        return len(payload)
    return min(size, BATCH_PLAIN_LIMIT_BYTES) if size > 0 else len(payload)


def _decompress(payload: bytes) -> bytes:
    try:
        if not 0 < zstandard.frame_content_size(payload) <= BATCH_PLAIN_LIMIT_BYTES:
            raise BatchError(
                f"the batch does not say that it unpacks to at most {BATCH_PLAIN_LIMIT_BYTES} bytes"
            )
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=BATCH_PLAIN_LIMIT_BYTES)
    except zstandard.ZstdError as error:
        raise BatchError(f"not zstd: {error}") from error


def _decode_one_by_one(plain: bytes) -> tuple[list[WireEvent], list[Malformed]]:
    try:
        raws = _raw_decoder.decode(plain)
    except _UNREADABLE as error:
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


def encode(message: Ack | Status | Hint) -> bytes:
    """A small control message as JSON."""
    return _json_encoder.encode(message)


def decode(payload: bytes, kind: type[T]) -> T:
    """A small control message (`Ack`, `Status`, `Hint`). Raises `MessageError`."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except _UNREADABLE as error:
        raise MessageError(f"not a valid {kind.__name__}: {error}") from error


def digest(payload: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(payload).hexdigest()

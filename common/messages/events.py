"""One event: as an app makes it, and as CloudEvents 1.0 JSON on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from common.errors import EventTooLarge, MessageError
from common.json_bounds import MALFORMED
from common.messages.times import LARGEST_NUMBER, TimeQuality, format_time

GAP_TYPE = "edgeloop.gap"
EVENT_LIMIT_BYTES = 128 * 1024
"""Largest single event as JSON, so that it fits a batch even if it does not compress."""
TYPE_CHARACTERS = 200
"""Maximum length of an event's type."""
SUBJECT_CHARACTERS = 1000
"""Maximum length of an event's subject."""

FRAME_TEXT_LIMIT = 512
"""Maximum length of type and subject together for a cached frame."""


class Priority(IntEnum):
    """Order of eviction when the disk budget is short, lowest first; the highest is sent first."""

    SAMPLE = 0
    TELEMETRY = 1
    EVENT = 2
    ALARM = 3


_PRIORITY_NAMES = {p: p.name.lower() for p in Priority}
_PRIORITIES = {name: p for p, name in _PRIORITY_NAMES.items()}


class Event(msgspec.Struct, frozen=True, gc=False):
    """A decision of an app at the edge.

    ``type`` is dotted and starts with the app's name (``industrial.rul``); ``subject`` names what it is
    about (a machine, a camera, a patient's pseudonym); ``time_ns`` is the capture time of the reading
    behind it, UTC nanoseconds; ``data`` is a struct or a mapping of JSON values, units in their names
    (`common.app.events`). Integers directly under keys that end in ``_ns`` are times by the clock of
    ``time_ns``, and are corrected with it (`moved_stamps`). ``recorded`` marks a time from a
    recording instead of the node's clock.
    """

    type: str
    subject: str
    time_ns: int
    priority: Priority
    data: Mapping[str, Any] | msgspec.Struct
    recorded: bool = False


class WireEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One CloudEvents 1.0 event with edgeloop's extension attributes.

    They are ``epoch``, ``seq``, ``priority``, and ``timequality`` (`TimeQuality`) for a time that is doubtful
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


class Gap(msgspec.Struct, frozen=True):
    """Data of an ``edgeloop.gap`` event: ``seq .. through`` were discarded."""

    through: int
    reason: str
    counts: dict[str, int]


_json_encoder = msgspec.json.Encoder()
_event_decoder = msgspec.json.Decoder(WireEvent)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def moved_stamps(data: bytes, by_ns: int) -> bytes:
    """The JSON of an event's data with its times (`Event`) shifted by ``by_ns``."""
    if not by_ns or b'_ns"' not in data:
        return data
    try:
        fields = _fields_decoder.decode(data)
    except MALFORMED:
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


@lru_cache(maxsize=1024)
def _frame(
    source: str, epoch: str, kind: str, subject: str, priority: Priority
) -> tuple[bytes, bytes, bytes, bytes]:
    """JSON around the seq, the time, the second seq and the data of a `WireEvent`."""
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
    except MALFORMED as error:
        raise MessageError(f"not an edgeloop event: {error}") from error

"""The wire contract: what is encoded comes back, and what is malformed never hides what is not."""

from __future__ import annotations

import json

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from common import messages
from common.errors import BatchError, EventTooLarge, MessageError
from common.messages import Event, Priority

SOURCE = "/plant/node-1"
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    type=st.text(min_size=1, max_size=30),
    subject=st.text(max_size=30),
    time_ns=st.integers(0, 4_000_000_000_000_000_000),
    priority=st.sampled_from(Priority),
    data=st.dictionaries(st.text(max_size=10), json_values, max_size=4),
)


def event(seq: int = 1, **data: object) -> bytes:
    return messages.encode_event(
        Event("industrial.rul", "engine-1", 1_700_000_000_123_456_789, Priority.TELEMETRY, data),
        source=SOURCE,
        epoch="e1",
        seq=seq,
    )


def batch_of(bodies: list[bytes], first: int = 1, last: int | None = None, oldest: int = 1) -> bytes:
    last = last or first + len(bodies) - 1
    return messages.encode_batch(
        bodies, source=SOURCE, epoch="e1", first=first, last=last, sent_ns=5, oldest=oldest
    )


@given(events, st.integers(1, 2**62))
def test_an_event_is_what_an_encoder_of_whole_events_would_write(sent: Event, seq: int) -> None:
    whole = messages.WireEvent(
        specversion="1.0",
        id=f"e1-{seq}",
        source=SOURCE,
        type=sent.type,
        time=messages.format_time(sent.time_ns),
        subject=sent.subject,
        epoch="e1",
        seq=seq,
        priority=sent.priority.name.lower(),
        data=msgspec.Raw(msgspec.json.encode(sent.data)),
    )
    assert messages.encode_event(sent, source=SOURCE, epoch="e1", seq=seq) == msgspec.json.encode(whole)


@given(events, st.integers(1, 2**62))
def test_an_event_comes_back_as_it_went(sent: Event, seq: int) -> None:
    received = messages.decode_event(messages.encode_event(sent, source=SOURCE, epoch="e1", seq=seq))
    assert (received.type, received.subject, received.seq) == (sent.type, sent.subject, seq)
    assert messages.parse_time(received.time) == sent.time_ns
    assert messages.priority_of(received.priority) is sent.priority
    assert json.loads(bytes(received.data)) == sent.data


def test_an_event_is_a_cloud_event() -> None:
    attributes = json.loads(event(7, rul_cycles=12.5))
    assert attributes["specversion"] == "1.0"
    assert attributes["id"] == "e1-7"
    assert attributes["source"] == SOURCE
    assert attributes["time"] == "2023-11-14T22:13:20.123456789Z"
    assert attributes["data"] == {"rul_cycles": 12.5}


@given(st.lists(st.text(max_size=50), max_size=40), st.integers(1, 2**40))
def test_a_batch_comes_back_in_order(texts: list[str], first: int) -> None:
    bodies = [event(first + i, text=text) for i, text in enumerate(texts)]
    batch = messages.decode_batch(batch_of(bodies, first, first + max(len(bodies), 1) - 1))
    assert [json.loads(bytes(e.data))["text"] for e in batch.events] == texts
    assert not batch.malformed


def test_one_poisoned_element_is_set_aside_and_the_rest_is_kept() -> None:
    batch = messages.decode_batch(batch_of([event(1), b'{"type": 12, "seq": "two"}', event(3)]))
    assert [e.seq for e in batch.events] == [1, 3]
    assert len(batch.malformed) == 1
    assert batch.malformed[0].body == b'{"type": 12, "seq": "two"}'
    assert "type" in batch.malformed[0].reason or "Object" in batch.malformed[0].reason


@pytest.mark.parametrize("seq", [0, 4, 2])
def test_an_event_out_of_its_place_is_set_aside(seq: int) -> None:
    batch = messages.decode_batch(batch_of([event(1), event(2), event(seq)], 1, 3))
    assert [e.seq for e in batch.events] == [1, 2]
    assert len(batch.malformed) == 1


@pytest.mark.parametrize("oldest", [0, -1, 3, 10])
def test_a_batch_cannot_be_older_than_its_outbox(oldest: int) -> None:
    with pytest.raises(BatchError, match="oldest"):
        batch_of([event(2)], 2, oldest=oldest)


def head_of(**changes: object) -> bytes:
    head = {"epoch": "e1", "first": 2, "last": 3, "sent_ns": 5, "oldest": 1} | changes
    element = json.loads(event(0)) | {"type": messages.BATCH_TYPE, "data": head}
    return zstandard.compress(json.dumps([element]).encode())


def test_a_head_states_what_the_node_still_keeps() -> None:
    assert messages.decode_batch(head_of()).head.oldest == 1
    assert messages.decode_batch(head_of(oldest=2)).head.oldest == 2


@pytest.mark.parametrize(
    "changes",
    [{"oldest": 0}, {"oldest": 3}, {"oldest": "2"}, {"first": 0}, {"first": 4}, {"last": 2**63},
     {"sent_ns": 2**63}, {"epoch": ""}, {"epoch": "../x"}],
)  # fmt: skip
def test_a_head_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BatchError, match="head"):
        messages.decode_batch(head_of(**changes))


def test_bytes_that_are_no_text_spoil_only_their_element() -> None:
    good, bad = event(1), event(2).replace(b"engine-1", b"engine-\xff")
    batch = messages.decode_batch(batch_of([good, bad]))
    assert [e.seq for e in batch.events] == [1]
    assert [m.body for m in batch.malformed] == [bad]


def test_endless_nesting_is_a_batch_error() -> None:
    deep = event(2, x=1).replace(b'{"x":1}', b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(BatchError, match="recursion"):
        messages.decode_batch(batch_of([event(1), deep]))


@given(st.binary(max_size=200))
def test_noise_is_a_batch_error(noise: bytes) -> None:
    with pytest.raises(BatchError):
        messages.decode_batch(noise)


@pytest.mark.parametrize("plain", [b"[]", b"{}", b"[1]", b"[" + b"[" * 100, b'[{"specversion":"1.0"}]'])
def test_json_that_is_no_batch_is_a_batch_error(plain: bytes) -> None:
    with pytest.raises(BatchError):
        messages.decode_batch(zstandard.compress(plain))


def test_a_batch_that_is_too_large_when_decompressed_is_refused_before_it_is_decompressed() -> None:
    bomb = zstandard.compress(b" " * (messages.BATCH_PLAIN_LIMIT_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(BatchError, match="decompressed size"):
        messages.decode_batch(bomb)


def test_an_event_that_fits_no_batch_is_refused_at_once() -> None:
    with pytest.raises(EventTooLarge, match="send large things as samples"):
        event(1, text="x" * messages.EVENT_LIMIT_BYTES)


def test_data_that_is_not_json_is_refused_by_name() -> None:
    with pytest.raises(MessageError, match="engine-1"):
        event(1, thing=object())


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "A", "a" * 64, "../x", "ä"])
def test_a_name_cannot_escape_its_topics(name: str) -> None:
    with pytest.raises(MessageError):
        messages.topics("plant", name)
    with pytest.raises(MessageError):
        messages.topics(name, "node")


def test_topics_name_their_node() -> None:
    for topic in messages.topics("plant", "node-1"):
        assert messages.node_of_topic(topic) == ("plant", "node-1")
    with pytest.raises(MessageError):
        messages.node_of_topic("edgeloop/v1/plant/node-1")


@pytest.mark.parametrize(
    "text", ["", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22:13:20+01:00", "2023-13-14T22:13:20Z",
             "2023-11-14T22:13:20.Z", "2400-01-01T00:00:00Z",
     "2023-11-14T22:13:20.12345678 Z", "2023-11-14T22:13:20.1234567890Z", "x" * 1000 + "Z"]
)  # fmt: skip
def test_a_time_that_is_not_utc_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="RFC 3339"):
        messages.parse_time(text)


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_time_keeps_its_nanoseconds(time_ns: int) -> None:
    assert messages.parse_time(messages.format_time(time_ns)) == time_ns

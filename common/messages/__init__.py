"""The wire contract between a node and the cloud.

A node sends what its app decides (`Event`) as CloudEvents 1.0 with a position in its stream:
``(node, epoch, seq)``. An *epoch* is the life of one outbox file; ``seq`` starts at 1 in each epoch and has
no holes. Rules:

- A batch is a CloudEvents JSON batch, zstd-compressed, at most `BATCH_LIMIT_BYTES` on the wire. Its first
  element is an ``edgeloop.batch`` event with ``epoch``, ``first``, ``last`` and the time of sending; the
  others are the events from ``first`` to ``last``.
- Events that the node had to discard stand in the stream as one ``edgeloop.gap`` event: its ``seq`` is the
  first lost one, its data are ``through``, ``reason`` and the counts by priority.
- The cloud accepts a batch only if it continues the stream (``first <= high_water_mark + 1``), so it sees
  every node's events once and in order. It answers every batch with an `Ack`; if the acknowledged mark is
  behind, the node resends from it.
- The head also has ``oldest``, the lowest seq that the node still keeps. A cloud that was restored from a
  backup and misses what the node has already deleted writes a gap (``lost_by_cloud``) up to ``oldest`` and
  continues, so neither side waits for events that no longer exist.
- A batch that cannot be decoded at all is answered with ``refused`` (its digest and the reason); the node
  then sends smaller batches until the one bad event stands alone and becomes a gap.

Topics are ``edgeloop/v1/<site>/<node>/{up,ack,hint,status}``; names match `NAME_PATTERN`. Every payload is
sealed with the key of the node's enrolment (`common.sealing`), so no node can speak for another, whatever
the broker allows. A replay has no effect:

- A *session* is one run of a node's uplink, with a random name. Heads carry it, with a ``turn`` that grows;
  acks and hints repeat the session, and acks the turn. A node accepts an ack or a hint of its own session
  only, each turn once: never an old ack, and never one for a copy of the node.
- A batch that was accepted before is recognised by its seqs.

Two devices with one identity do not mix: if a batch of another session overlaps the stored events of its
epoch and differs from them, the cloud accepts nothing of it and answers ``forked``; the device continues in
a new epoch with all it keeps. While sessions alternate, acks carry ``shared``.
A session that does not hold the epoch continues it only if all that the device keeps of it agrees with the
stored events; until then its ack has the last seq that agrees.

============  ==========================================================
`addressing`  names of sites and nodes, and their MQTT topics
`times`       RFC 3339 times, and how far they can be trusted
`events`      one event as CloudEvents JSON
`batches`     many events in one payload
`control`     acks, statuses and hints
============  ==========================================================
"""

from __future__ import annotations

from common.messages.addressing import (
    NAME_PATTERN,
    STATUS_TOPICS,
    TOPIC_ROOT,
    UP_TOPICS,
    Topics,
    node_of_topic,
    topics,
)
from common.messages.batches import (
    BATCH_LIMIT_BYTES,
    BATCH_LIMIT_EVENTS,
    BATCH_PLAIN_LIMIT_BYTES,
    BATCH_TYPE,
    LARGEST_SEQ,
    REACH_LIMIT,
    Batch,
    BatchHead,
    Malformed,
    decode_batch,
    encode_batch,
    plain_size,
)
from common.messages.control import Ack, Hint, SettingsChange, Status, decode, digest, encode
from common.messages.events import (
    EVENT_LIMIT_BYTES,
    GAP_TYPE,
    SUBJECT_CHARACTERS,
    TYPE_CHARACTERS,
    Event,
    Gap,
    Priority,
    WireEvent,
    decode_event,
    encode_event,
    moved_stamps,
    priority_of,
)
from common.messages.times import (
    AHEAD_LIMIT_NS,
    EARLIEST_CLOCK_NS,
    LARGEST_NUMBER,
    TimeQuality,
    format_time,
    parse_time,
)

__all__ = [
    "AHEAD_LIMIT_NS",
    "BATCH_LIMIT_BYTES",
    "BATCH_LIMIT_EVENTS",
    "BATCH_PLAIN_LIMIT_BYTES",
    "BATCH_TYPE",
    "EARLIEST_CLOCK_NS",
    "EVENT_LIMIT_BYTES",
    "GAP_TYPE",
    "LARGEST_NUMBER",
    "LARGEST_SEQ",
    "NAME_PATTERN",
    "REACH_LIMIT",
    "STATUS_TOPICS",
    "SUBJECT_CHARACTERS",
    "TOPIC_ROOT",
    "TYPE_CHARACTERS",
    "UP_TOPICS",
    "Ack",
    "Batch",
    "BatchHead",
    "Event",
    "Gap",
    "Hint",
    "Malformed",
    "Priority",
    "SettingsChange",
    "Status",
    "TimeQuality",
    "Topics",
    "WireEvent",
    "decode",
    "decode_batch",
    "decode_event",
    "digest",
    "encode",
    "encode_batch",
    "encode_event",
    "format_time",
    "moved_stamps",
    "node_of_topic",
    "parse_time",
    "plain_size",
    "priority_of",
    "topics",
]

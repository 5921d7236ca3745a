"""Unreliable network for MQTT: lost acks and duplicated batches.

`Mangler` sits on a link between node and broker and reads MQTT 3.1.1 packets (OASIS standard, section 2:
one byte of type and flags, the remaining length as a variable byte integer). It drops some PUBLISH
packets on ack topics on their way to the node, and duplicates some on up topics on their way to the
broker. A dropped packet of QoS 1 is answered in the node's place, so that the broker believes it
arrived: that is the loss that only end-to-end acks can see.
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator

from apps.demo.world.network import Rewrite

PUBLISH = 3
PUBACK = 4
DUPLICATE_FLAG = 0x08
LIMIT_BYTES = 1024 * 1024


def packets(buffer: bytearray) -> Iterator[bytes]:
    """Take whole packets off the front of ``buffer``. Raises ``ValueError`` for bytes that are not MQTT."""
    while len(buffer) >= 2:
        length, shift, used = 0, 0, 1
        while True:
            if used > 4:
                raise ValueError("a remaining length has at most 4 bytes")
            if used >= len(buffer):
                return
            length |= (buffer[used] & 0x7F) << shift
            shift += 7
            used += 1
            if not buffer[used - 1] & 0x80:
                break
        if length > LIMIT_BYTES:
            raise ValueError(f"a packet of {length} bytes")
        if len(buffer) < used + length:
            return
        packet = bytes(buffer[: used + length])
        del buffer[: used + length]
        yield packet


def publication(packet: bytes) -> tuple[str, int, int] | None:
    """``(topic, qos, packet identifier)`` of a PUBLISH packet, None for any other."""
    if packet[0] >> 4 != PUBLISH:
        return None
    start = 1
    while packet[start] & 0x80:
        start += 1
    start += 1
    (length,) = struct.unpack_from(">H", packet, start)
    topic = packet[start + 2 : start + 2 + length].decode()
    qos = packet[0] >> 1 & 3
    identifier = struct.unpack_from(">H", packet, start + 2 + length)[0] if qos else 0
    return topic, qos, identifier


class Mangler:
    """Drops and duplicates packets at random, and counts them; shared by all connections."""

    def __init__(self, seed: int, *, drop_ack: float, double_up: float) -> None:
        self._chance = random.Random(seed)
        self._drop_ack = drop_ack
        self._double_up = double_up
        self._lock = threading.Lock()
        self.enabled = True
        self.acks_dropped = 0
        self.batches_duplicated = 0

    def connection(self) -> tuple[Rewrite, Rewrite]:
        """Mangling of a connection: one function for each direction."""
        answers = bytearray()
        upward, downward = bytearray(), bytearray()

        def up(chunk: bytes) -> bytes:
            upward.extend(chunk)
            sent = bytearray()
            for packet in packets(upward):
                sent += answers
                answers.clear()
                sent += packet
                if self._doubles(packet):
                    sent += bytes([packet[0] | DUPLICATE_FLAG]) + packet[1:]
            return bytes(sent)

        def down(chunk: bytes) -> bytes:
            downward.extend(chunk)
            sent = bytearray()
            for packet in packets(downward):
                found = publication(packet)
                if found and self._drops(found[0]):
                    if found[1] == 1:
                        answers.extend(bytes([PUBACK << 4, 2]) + struct.pack(">H", found[2]))
                else:
                    sent += packet
            return bytes(sent)

        return up, down

    def _doubles(self, packet: bytes) -> bool:
        found = publication(packet)
        if not found or not found[0].endswith("/up"):
            return False
        with self._lock:
            if not self.enabled or self._chance.random() >= self._double_up:
                return False
            self.batches_duplicated += 1
            return True

    def _drops(self, topic: str) -> bool:
        if not topic.endswith("/ack"):
            return False
        with self._lock:
            if not self.enabled or self._chance.random() >= self._drop_ack:
                return False
            self.acks_dropped += 1
            return True

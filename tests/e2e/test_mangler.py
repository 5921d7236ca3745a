"""The bad network itself is tested first: a rig that does nothing proves nothing."""

from __future__ import annotations

import pytest

from tests.e2e.mangler import Mangler, packets, publication

PINGREQ = b"\xc0\x00"


def publish(topic: str, payload: bytes, *, qos: int = 1, identifier: int = 7) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic.encode()
    body += identifier.to_bytes(2, "big") * (qos > 0) + payload
    length = bytearray()
    rest = len(body)
    while True:
        rest, digit = rest >> 7, rest & 0x7F
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([0x30 | qos << 1]) + bytes(length) + body


def test_packets_are_found_however_they_are_cut():
    stream = PINGREQ + publish("edgeloop/v1/s/n/up", b"x" * 20_000) + PINGREQ
    for step in (1, 2, 3, 1000, len(stream)):
        buffer = bytearray()
        found = []
        for start in range(0, len(stream), step):
            buffer += stream[start : start + step]
            found += packets(buffer)
        assert [len(packet) for packet in found] == [2, len(stream) - 4, 2]
        assert publication(found[1]) == ("edgeloop/v1/s/n/up", 1, 7)


def test_what_is_not_mqtt_is_refused():
    with pytest.raises(ValueError, match="remaining length"):
        list(packets(bytearray(b"\x30\xff\xff\xff\xff\xff")))


def test_batches_are_duplicated_and_nothing_else_is():
    up, _ = Mangler(1, drop_ack=0, double_up=1).connection()
    batch, status = publish("edgeloop/v1/s/n/up", b"b"), publish("edgeloop/v1/s/n/status", b"s")
    assert up(status + batch) == status + batch + bytes([batch[0] | 8]) + batch[1:]


def test_a_dropped_ack_is_answered_in_place_of_the_node():
    mangler = Mangler(1, drop_ack=1, double_up=0)
    up, down = mangler.connection()
    hint = publish("edgeloop/v1/s/n/hint", b"h")
    assert down(publish("edgeloop/v1/s/n/ack", b"a", identifier=0x0102) + hint) == hint
    assert up(PINGREQ) == b"\x40\x02\x01\x02" + PINGREQ
    assert mangler.acks_dropped == 1


def test_nothing_changes_while_it_is_off():
    mangler = Mangler(1, drop_ack=1, double_up=1)
    mangler.enabled = False
    up, down = mangler.connection()
    batch, ack = publish("edgeloop/v1/s/n/up", b"b"), publish("edgeloop/v1/s/n/ack", b"a")
    assert (up(batch), down(ack)) == (batch, ack)

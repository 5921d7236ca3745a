"""Packets of straps are decoded to the byte, and a lost strap is found again. No real strap was ever here."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceError, SourceFormatError
from hardware.sensors.ble import BleSource, open_source, parse
from hardware.sensors.ble_packets import (
    HEART_RATE_MEASUREMENT,
    PMD_CONTROL,
    PMD_DATA,
    START_ECG,
    EcgFrame,
    HeartRate,
    decode_ecg,
    decode_heart_rate,
    start_refused,
)
from hardware.sensors.ble_readings import EcgChunks
from tests.waiting import PATIENCE_S

STARTED = bytes.fromhex("f0 02 00 00 00")
FRAME_NS = round(73 / 130 * 1e9)


def ecg_packet(number: int, samples: int = 73) -> bytes:
    """Frame ``number`` of a strap: its samples count on, in microvolts."""
    values = number * samples + np.arange(samples)
    last_ns = 600_000_000_000_000_000 + number * FRAME_NS
    return (
        b"\0"
        + struct.pack("<Q", last_ns)
        + b"\0"
        + b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)
    )


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        ("00 48", HeartRate(72, (), None, None)),  # 8 bits, nothing else
        ("01 2c 01", HeartRate(300, (), None, None)),  # 16 bits
        ("04 48", HeartRate(72, (), False, None)),  # contact supported, none
        ("06 48", HeartRate(72, (), True, None)),  # contact supported, and there
        ("02 48", HeartRate(72, (), None, None)),  # a contact bit without support means nothing
        ("08 48 10 27", HeartRate(72, (), None, 10000)),  # energy expended
        ("10 3c 00 04", HeartRate(60, (1.0,), None, None)),  # one RR interval of 1024/1024 s
        ("16 3c 11 04 f5 03", HeartRate(60, (1041 / 1024, 1013 / 1024), True, None)),
        ("1f 2c 01 05 00 00 02 ff ff", HeartRate(300, (0.5, 65535 / 1024), True, 5)),  # all of it
        ("10 3c", HeartRate(60, (), None, None)),
    ],
)
def test_a_heart_rate_measurement_is_read_to_the_byte(packet: str, expected: HeartRate) -> None:
    assert decode_heart_rate(bytes.fromhex(packet)) == expected


@pytest.mark.parametrize("packet", ["", "00", "01 2c", "08 48 10", "10 3c 00 04 00"])
def test_half_a_measurement_is_refused(packet: str) -> None:
    with pytest.raises(ReadingError, match="not a heart rate"):
        decode_heart_rate(bytes.fromhex(packet))


def test_a_frame_of_ecg_is_read_to_the_byte() -> None:
    frame = decode_ecg(bytes.fromhex("00 00943577 00000000 00 0280ff 028000 ffffff 000000 ffff7f 000080"))
    assert frame.last_ns == 2_000_000_000
    assert list(frame.millivolts) == [-32.766, 32.770, -0.001, 0.0, 8388.607, -8388.608]


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "00 00943577 00000000 00",  # no sample
        "00 00943577 00000000 00 0280ff 02",  # half a sample
        "02 00943577 00000000 00 0280ff",  # acceleration
        "00 00943577 00000000 80 0280ff",  # a compressed frame
    ],
)
def test_another_frame_is_refused(packet: str) -> None:
    with pytest.raises(ReadingError, match="not a frame of ECG"):
        decode_ecg(bytes.fromhex(packet))


def test_the_answer_to_a_start_is_understood() -> None:
    assert bytes.fromhex("02 00 00 01 82 00 01 01 0e 00") == START_ECG
    assert start_refused(STARTED) is None
    assert start_refused(bytes.fromhex("f0 02 00 06 00")) is None  # it was on already
    assert start_refused(bytes.fromhex("f0 02 00 0d 00")) == "device in charger"
    assert start_refused(bytes.fromhex("f0 02 00 63 00")) == "error 99"
    for other in ("", "f0 01 00 00", "0f 02 00 00"):
        with pytest.raises(ReadingError):
            start_refused(bytes.fromhex(other))


def chunks_of(numbers: list[int], lost_after: int | None = None, samples: int = 130) -> list[Reading]:
    cut, found = EcgChunks("anna", samples, 10), []
    for number in numbers:
        now_ns = 1_700_000_000_000_000_000 + number * FRAME_NS + (40_000_000 if number % 3 else 0)
        found += cut.add(decode_ecg(ecg_packet(number)), now_ns)
        if number == lost_after:
            found += cut.lost()
    return found


def test_frames_become_chunks_of_a_second() -> None:
    found = chunks_of(list(range(20)))
    assert [len(r.values) for r in found] == [130] * 11
    assert [r.position for r in found] == list(range(11, 22))
    assert [r.attributes["first_sample"] for r in found] == [130 * k for k in range(11)]
    assert np.allclose(np.concatenate([r.values for r in found])[:, 0], np.arange(1430) / 1000)
    steps = np.diff([r.captured_ns for r in found])
    assert np.all(np.abs(steps - 1_000_000_000) < 1000)
    assert found[0].captured_ns == pytest.approx(1_700_000_000_000_000_000 - 72 / 130 * 1e9, abs=2000)


def test_a_lost_frame_is_a_gap() -> None:
    found = chunks_of([0, 1, 2, 3, 6, 7, 8, 9])
    firsts = [(r.attributes["first_sample"], len(r.values)) for r in found]
    assert firsts == [(0, 130), (130, 130), (260, 32), (438, 130), (568, 130)]
    by_first = {r.attributes["first_sample"]: r for r in found}
    assert by_first[438].values[0, 0] == pytest.approx(0.438)
    assert by_first[438].captured_ns - by_first[0].captured_ns == pytest.approx(438 / 130 * 1e9, abs=10000)


def test_a_lost_connection_gives_what_is_left_and_a_gap() -> None:
    found = chunks_of([0, 1, 2, 50, 51], lost_after=2)
    assert [(r.attributes["first_sample"], len(r.values)) for r in found[:2]] == [(0, 130), (130, 89)]
    assert found[2].attributes["first_sample"] == pytest.approx(50 * 73, abs=8)


class FakeStrap:
    """A strap as `bleak.BleakClient` shows one; it sends ``packets`` and is then out of reach."""

    def __init__(self, packets: list[bytes], lost: Callable[[Any], None], answer: bytes = STARTED) -> None:
        self._packets = packets
        self._lost = lost
        self._answer = answer
        self._callbacks: dict[str, Callable[[Any, bytearray], None]] = {}
        self.written: list[tuple[str, bytes]] = []
        self.connected = False

    async def connect(self) -> None:
        await asyncio.sleep(0)
        self.connected = True

    async def start_notify(self, char_specifier: str, callback: Callable[[Any, bytearray], None]) -> None:
        self._callbacks[char_specifier] = callback
        if char_specifier == HEART_RATE_MEASUREMENT:
            asyncio.get_running_loop().call_soon(self._send, HEART_RATE_MEASUREMENT)

    async def write_gatt_char(self, char_specifier: str, data: bytes, response: bool) -> None:
        self.written.append((char_specifier, data))
        self._callbacks[PMD_CONTROL](None, bytearray(self._answer))
        asyncio.get_running_loop().call_soon(self._send, PMD_DATA)

    async def disconnect(self) -> None:
        self.connected = False

    def _send(self, characteristic: str) -> None:
        for packet in self._packets:
            self._callbacks[characteristic](None, bytearray(packet))
        self._lost(self)


class NoStrap(FakeStrap):
    async def connect(self) -> None:
        raise OSError("device AA:BB not found")


class Radio:
    """Gives one strap after the other, then straps that stay connected and silent."""

    def __init__(self, *straps: Callable[[Callable[[Any], None]], FakeStrap]) -> None:
        self._straps = list(straps)
        self.dialled: list[FakeStrap] = []

    def __call__(self, address: str, lost: Callable[[Any], None]) -> FakeStrap:
        assert address == "AA:BB"
        strap = self._straps.pop(0)(lost) if self._straps else FakeStrap([], lambda _: None)
        self.dialled.append(strap)
        return strap


def source(radio: Radio, service: str = "polar_ecg") -> BleSource:
    return BleSource("AA:BB", service, "anna", 1.0, radio, lambda: 1_700_000_000_000_000_000, 0.001)


def take(strap: BleSource, count: int, after: int | None = None) -> list[Reading | ReadingError]:
    found = []
    for item in strap.readings(after):
        found.append(item)
        if len(found) == count:
            strap.close()
    return found


def test_a_strap_that_is_lost_is_found_again() -> None:
    radio = Radio(
        lambda lost: NoStrap([], lost),
        lambda lost: FakeStrap([ecg_packet(k) for k in range(4)], lost),
        lambda lost: FakeStrap([ecg_packet(k) for k in range(4)], lost),
    )
    found = take(source(radio), 9, after=41)
    absent, one, two, rest, lost, *_ = found
    assert "not found" in str(absent)
    assert isinstance(one, Reading)
    assert isinstance(two, Reading)
    assert isinstance(rest, Reading)
    assert (one.position, two.position, len(rest.values)) == (42, 43, 32)
    assert (one.channels, one.rate_hz, one.subject) == (("ECG",), 130.0, "anna")
    assert "connection is lost" in str(lost)
    assert [item.position for item in found if isinstance(item, Reading)] == [42, 43, 44, 45, 46, 47]
    assert radio.dialled[1].written == [(PMD_CONTROL, START_ECG)]
    assert not any(strap.connected for strap in radio.dialled[:3])


def test_a_refused_start_is_reported() -> None:
    radio = Radio(lambda lost: FakeStrap([], lost, bytes.fromhex("f0 02 00 0d 00")))
    (problem,) = take(source(radio), 1)
    assert "device in charger" in str(problem)


def test_a_bad_packet_is_reported_and_the_next_is_read() -> None:
    radio = Radio(lambda lost: FakeStrap([b"\x02\0", ecg_packet(0), ecg_packet(1)], lost))
    bad, good = take(source(radio), 2)
    assert isinstance(bad, ReadingError)
    assert isinstance(good, Reading)


def test_heart_rate_becomes_rows() -> None:
    packets = [bytes.fromhex("16 3c 00 04 00 02"), bytes.fromhex("00 48")]
    radio = Radio(lambda lost: FakeStrap(packets, lost))
    both, none = take(source(radio, "heart_rate"), 2)
    assert isinstance(both, Reading)
    assert isinstance(none, Reading)
    assert both.channels == ("heart_rate_bpm", "rr_ms")
    assert np.array_equal(both.values, [[60, 1000], [60, 500]])
    assert both.attributes == {"contact": True}
    assert none.values[0, 0] == 72
    assert math.isnan(none.values[0, 1])


def test_close_from_another_thread_ends_it() -> None:
    radio = Radio()
    strap = source(radio)
    thread = threading.Thread(target=lambda: list(strap.readings(None)))
    thread.start()
    strap.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_what_waits_is_bounded_and_what_is_lost_is_reported_with_its_count() -> None:
    strap = source(Radio())
    for number in range(2000):
        strap._put(ReadingError(str(number)))
    assert len(strap._waiting) == 600
    items = strap.readings(None)
    lost, oldest = next(items), next(items)
    strap.close()
    assert isinstance(lost, ReadingError)
    assert (lost.kind, lost.count, str(oldest)) == ("lost", 1400, "1400")
    assert "1400 readings were lost" in str(lost)


START_NS = 1_700_000_000_000_000_000
JUMP_NS = 8 * 365 * 86_400 * 10**9


def streamed(
    strap_shift_ns: Callable[[int], int], arrival_ns: Callable[[int], int], frames: int = 60
) -> tuple[list[tuple[int, Reading]], list[ReadingError]]:
    """Readings of a stream with when they were given, and what was reported; frame by frame."""
    cut, given, reported = EcgChunks("anna", 73, 0), [], []
    for number in range(frames):
        frame = decode_ecg(ecg_packet(number))
        frame = EcgFrame(frame.last_ns + strap_shift_ns(number), frame.millivolts)
        now_ns = START_NS + arrival_ns(number)
        for item in cut.add(frame, now_ns):
            if isinstance(item, Reading):
                given.append((now_ns, item))
            else:
                reported.append(item)
    return given, reported


@pytest.mark.parametrize("jump_ns", [JUMP_NS, -JUMP_NS, -3 * 10**9, 3600 * 10**9])
def test_a_straps_clock_that_is_set_while_it_streams_is_reported_once_and_not_followed(jump_ns: int) -> None:
    given, reported = streamed(lambda n: jump_ns if n >= 20 else 0, lambda n: n * FRAME_NS)
    assert [error.kind for error in reported] == ["changed"]
    assert all(0 <= now_ns - reading.captured_ns < 2 * FRAME_NS for now_ns, reading in given)
    assert [r.attributes["first_sample"] for _, r in given] == [73 * k for k in range(60)]
    steps = np.diff([r.captured_ns for _, r in given])
    assert np.all(np.abs(steps - FRAME_NS) < 1000)


def test_a_clock_that_is_set_again_and_again_is_reported_each_time_and_never_followed() -> None:
    given, reported = streamed(lambda n: (n // 20) * JUMP_NS, lambda n: n * FRAME_NS)
    assert len(reported) == 2
    assert all(0 <= now_ns - reading.captured_ns < 2 * FRAME_NS for now_ns, reading in given)


def test_frames_that_are_late_and_come_at_once_keep_their_times() -> None:
    late = range(10, 40)
    given, reported = streamed(lambda n: 0, lambda n: (late.stop if n in late else n) * FRAME_NS)
    assert reported == []
    assert np.all(np.abs(np.diff([r.captured_ns for _, r in given]) - FRAME_NS) < 1000)


@pytest.mark.parametrize("rate", [-0.02, 0.02])
def test_a_straps_clock_that_drifts_away_is_brought_back(rate: float) -> None:
    given, reported = streamed(lambda n: round(rate * n * FRAME_NS), lambda n: n * FRAME_NS, 1500)
    assert 1 <= len(reported) <= 6
    firsts = [(r.attributes["first_sample"], len(r.values)) for _, r in given]
    assert all(before + count == after for (before, count), (after, _) in itertools.pairwise(firsts))
    assert all(abs(now_ns - reading.captured_ns) < 7 * 10**9 for now_ns, reading in given)


def test_a_clock_of_the_node_that_is_set_takes_the_stream_along() -> None:
    cut = EcgChunks("anna", 73, 0)
    (before,) = cut.add(decode_ecg(ecg_packet(0)), 50 * 10**9)
    cut.set_on(START_NS)
    (after,) = cut.add(decode_ecg(ecg_packet(1)), START_NS + 50 * 10**9 + FRAME_NS)
    assert isinstance(before, Reading)
    assert isinstance(after, Reading)
    assert after.captured_ns - before.captured_ns == pytest.approx(START_NS + FRAME_NS, abs=1000)
    assert after.attributes["first_sample"] == 73


def test_a_missing_radio_is_an_error() -> None:
    def no_radio(address: str, lost: Callable[[Any], None]) -> FakeStrap:
        raise RuntimeError("no Bluetooth here")

    strap = BleSource("AA:BB", "polar_ecg", "anna", 1.0, no_radio, lambda: 0, 0.001)
    with pytest.raises(SourceError, match="no Bluetooth here"):
        list(strap.readings(None))


def test_the_uri_is_understood_and_wrong_parameters_refused() -> None:
    found = parse(parse_uri("ble:24:AC:AC:01:02:03?service=heart_rate"))
    assert (found["service"], found["subject"]) == ("heart_rate", "24:AC:AC:01:02:03")
    for query in ("service=weather", "chunk_s=0", "chunk_s=x", "colour=red"):
        with pytest.raises(SourceFormatError):
            parse(parse_uri(f"ble:24:AC?{query}"))


def test_bleak_has_what_is_used_of_it() -> None:
    bleak = pytest.importorskip("bleak", reason="bleak is not installed (extra ble)")
    for name in ("connect", "start_notify", "write_gatt_char", "disconnect"):
        assert callable(getattr(bleak.BleakClient, name))
    assert isinstance(open_source(parse_uri("ble:24:AC:AC:01:02:03"), 1.0), BleSource)

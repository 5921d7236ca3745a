"""Messages of straps over Bluetooth Low Energy, byte by byte. No radio here.

Heart Rate Measurement: Bluetooth SIG, Heart Rate Service 1.0, 3.1. Polar's ECG: *Polar Measurement Data
Specification for 3rd party* (in the repository of Polar's BLE SDK): a frame is one byte of measurement type
(0 is ECG), eight of the time of its last sample in nanoseconds since 2000, one of frame type (0), and three
for each sample, signed microvolts; all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import ReadingError

HEART_RATE_MEASUREMENT = "00002a37-0000-1000-8000-00805f9b34fb"
PMD_CONTROL = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
PMD_DATA = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"

POLAR_ECG_RATE_HZ = 130.0
"""Nominal; a strap's own clock makes it 128 to 131."""
START_ECG = bytes([0x02, 0x00, 0x00, 0x01, 0x82, 0x00, 0x01, 0x01, 0x0E, 0x00])
"""Start the measurement ECG at 130 Hz (setting 0) with 14 bits (setting 1)."""
_REFUSALS = (
    "", "invalid op code", "invalid measurement type", "not supported", "invalid length", "invalid parameter",
    "already in this state", "invalid resolution", "invalid sample rate", "invalid range", "invalid MTU",
    "invalid number of channels", "invalid state", "device in charger",
)  # fmt: skip
_ALREADY = 6


@dataclass(frozen=True, slots=True)
class HeartRate:
    """A heart rate measurement. ``contact`` and ``energy_kj`` are None where the strap does not send them."""

    heart_rate_bpm: int
    rr_s: tuple[float, ...]
    """RR intervals since the last measurement, the oldest first, in steps of 1/1024 s."""
    contact: bool | None
    energy_kj: int | None


@dataclass(frozen=True, slots=True)
class EcgFrame:
    """A frame of ECG: the strap's time of the last sample, and the samples in mV ``(n,)``."""

    last_ns: int
    millivolts: NDArray[np.float64]


def decode_heart_rate(packet: bytes) -> HeartRate:
    """A Heart Rate Measurement. Raises `ReadingError` for one that ends early or has half an interval."""
    try:
        flags = packet[0]
        wide, at = flags & 0x01, 2 + (flags & 0x01)
        rate = struct.unpack_from("<H" if wide else "<B", packet, 1)[0]
        energy = None
        if flags & 0x08:
            energy, at = struct.unpack_from("<H", packet, at)[0], at + 2
        intervals: tuple[float, ...] = ()
        if flags & 0x10:
            intervals = tuple(value / 1024 for (value,) in struct.iter_unpack("<H", packet[at:]))
        contact = bool(flags & 0x02) if flags & 0x04 else None
    except (struct.error, IndexError):
        raise ReadingError(f"{packet.hex(' ')!r} is not a heart rate measurement") from None
    return HeartRate(rate, intervals, contact, energy)


def decode_ecg(packet: bytes) -> EcgFrame:
    """A frame of Polar's ECG. Raises `ReadingError` for another measurement, frame type or length."""
    if len(packet) < 13 or packet[0] != 0 or packet[9] != 0 or (len(packet) - 10) % 3:
        raise ReadingError(f"{packet[:16].hex(' ')!r}... ({len(packet)} bytes) is not a frame of ECG")
    low, middle, high = np.frombuffer(packet, np.uint8, offset=10).reshape(-1, 3).astype(np.int32).T
    microvolts = low | middle << 8 | high << 16
    microvolts -= (microvolts & 0x800000) << 1
    return EcgFrame(int.from_bytes(packet[1:9], "little"), microvolts / 1000)


def start_refused(packet: bytes) -> str | None:
    """Reason of a failed start, from the answer of the strap's control point; None if it started.

    Raises `ReadingError` for what is no answer to a start.
    """
    if len(packet) < 4 or packet[:3] != bytes([0xF0, START_ECG[0], START_ECG[1]]):
        raise ReadingError(f"{packet.hex(' ')!r} does not answer the start of the ECG")
    if packet[3] in (0, _ALREADY):
        return None
    return _REFUSALS[packet[3]] if packet[3] < len(_REFUSALS) else f"error {packet[3]}"

"""Packets of a strap as readings: the rules, without a radio or a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.errors import ReadingError
from hardware.sensors.ble_packets import POLAR_ECG_RATE_HZ, EcgFrame, decode_heart_rate

_GAP_SHARE = 0.5
"""A frame that is later than expected by this share of its length is behind a gap."""
CLOCKS_APART_NS = 5_000_000_000
"""Difference between a sample's time and its arrival from which the strap's clock is not followed."""
_LATE_FRAMES = 64
"""Frames in a row, half a minute, that arrive too late before the clock, not the radio, is to blame."""


class EcgChunks:
    """Frames of a strap, cut into chunks of one size, with its gaps.

    The strap's clock orders the samples; what it shows when a connection begins is taken for now. A frame
    that comes later than its samples account for is behind a gap: the chunk before it is given short.

    A strap's clock that is set while it streams, or drifts away, is not followed: the samples are counted on
    by the node's clock, so that they stay within `CLOCKS_APART_NS` of their arrival, and a `ReadingError` of
    the kind ``changed`` reports it.
    """

    def __init__(self, subject: str, samples: int, position: int) -> None:
        self._subject = subject
        self._samples = samples
        self._position = position
        self._held: NDArray[np.float64] = np.empty(0)
        self._first = 0
        self._first_ns = 0
        self._offset_ns: int | None = None
        self._last_ns = 0
        self._delays_ns: deque[int] = deque(maxlen=_LATE_FRAMES)

    def lost(self) -> Iterator[Reading]:
        """The connection is lost: what is left, as a short chunk."""
        self._offset_ns = None
        self._delays_ns.clear()
        yield from self._give(len(self._held))

    def set_on(self, shift_ns: int) -> None:
        """The node's clock was set by ``shift_ns``: what is stamped from here on is by the new one."""
        if self._offset_ns is not None:
            self._offset_ns += shift_ns
        if self._last_ns:
            self._last_ns += shift_ns
            self._first_ns += shift_ns

    def add(self, frame: EcgFrame, now_ns: int) -> Iterator[Reading | ReadingError]:
        """The chunks that ``frame``, received at ``now_ns``, completes."""
        count, length_ns = len(frame.millivolts), _nanoseconds(len(frame.millivolts))
        first, drifts = self._offset_ns is None, False
        if self._offset_ns is None:
            self._offset_ns = now_ns - frame.last_ns
        last_ns = frame.last_ns + self._offset_ns
        self._delays_ns.append(now_ns - last_ns)
        expected_ns = self._last_ns + length_ns
        if not first and self._is_set(last_ns - expected_ns, length_ns):
            drifts = abs(last_ns - expected_ns) <= _GAP_SHARE * length_ns
            by_s = (last_ns - (now_ns if drifts else expected_ns)) / 1e9
            counts_on = not drifts and abs(now_ns - expected_ns) <= CLOCKS_APART_NS
            last_ns = expected_ns if counts_on else now_ns
            self._offset_ns = last_ns - frame.last_ns
            self._delays_ns.clear()
            note = "its samples are stamped by the node's clock from here on"
            yield ReadingError(f"the strap's clock was set or is wrong (by {by_s:+.0f} s): {note}", "changed")
        if not self._last_ns:
            self._first_ns = last_ns - _nanoseconds(count - 1)
        else:
            late_ns = last_ns - self._last_ns - length_ns
            if abs(late_ns) > _GAP_SHARE * length_ns:
                yield from self._give(len(self._held))
                if not drifts:
                    self._first += max(0, round(late_ns * POLAR_ECG_RATE_HZ / 1e9))
                self._first_ns = last_ns - _nanoseconds(count - 1)
        self._last_ns = last_ns
        self._held = np.concatenate([self._held, frame.millivolts])
        while len(self._held) >= self._samples:
            yield from self._give(self._samples)
            self._first_ns = last_ns - _nanoseconds(len(self._held) - 1)

    def _is_set(self, late_ns: int, length_ns: int) -> bool:
        """Whether the newest frame's time, ``late_ns`` behind the one expected, is not one to follow.

        No frame comes before it was measured, nor before the one before it ended; and a radio is not late
        for half a minute on end.
        """
        delays = self._delays_ns
        return (
            late_ns < -_GAP_SHARE * length_ns
            or delays[-1] < -CLOCKS_APART_NS
            or (len(delays) == _LATE_FRAMES and min(delays) > CLOCKS_APART_NS)
        )

    def _give(self, count: int) -> Iterator[Reading]:
        if count:
            self._position += 1
            values, self._held = self._held[:count, np.newaxis], self._held[count:]
            attributes = {"first_sample": self._first}
            yield Reading(
                self._subject, self._first_ns, self._position, values, ("ECG",), POLAR_ECG_RATE_HZ, attributes
            )
            self._first += count
            self._first_ns += _nanoseconds(count)


class HeartRateRows:
    """Heart rate measurements as readings: a row ``heart_rate_bpm, rr_ms`` for each interval, NaN if none."""

    def __init__(self, subject: str, position: int) -> None:
        self._subject = subject
        self._position = position

    def reading(self, packet: bytes, now_ns: int) -> Reading:
        """The reading of a packet received at ``now_ns``. Raises `ReadingError`."""
        measured = decode_heart_rate(packet)
        intervals = [1000 * rr for rr in measured.rr_s] or [float("nan")]
        values = np.array([[measured.heart_rate_bpm, interval] for interval in intervals], np.float64)
        known = {"contact": measured.contact, "energy_kj": measured.energy_kj}
        attributes = {name: value for name, value in known.items() if value is not None}
        self._position += 1
        return Reading(
            self._subject, now_ns, self._position, values, ("heart_rate_bpm", "rr_ms"), None, attributes
        )


def _nanoseconds(samples: int) -> int:
    return round(samples / POLAR_ECG_RATE_HZ * 1e9)

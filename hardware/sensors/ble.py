"""Straps over Bluetooth Low Energy: ``ble:ADDRESS?service=polar_ecg`` or ``?service=heart_rate``.

``polar_ecg`` (the default) is the raw ECG of a Polar H10 in mV, in chunks of a second. ``heart_rate`` is what
any strap with the Heart Rate Service sends: one row ``heart_rate_bpm, rr_ms`` for each beat, without a
waveform.

A strap that is out of reach is tried again, at first after 1 s and at last every 30 s. Each loss is reported
as a `ReadingError`, and so are readings that the node did not take in time. Missed samples are a gap in
``first_sample`` and in the time of capture, which is by the node's clock. The radio is
`bleak` (extra ``ble``); tests put a strap of their own in its place, so that no test has seen a real strap.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from common.app.edge import Reading
from common.clock import Clock, NodeClock
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceError, SourceFormatError
from hardware.sensors.ble_packets import (
    HEART_RATE_MEASUREMENT,
    PMD_CONTROL,
    PMD_DATA,
    POLAR_ECG_RATE_HZ,
    START_ECG,
    decode_ecg,
    start_refused,
)
from hardware.sensors.ble_readings import EcgChunks, HeartRateRows

PARAMETERS = {
    "service": "polar_ecg or heart_rate (polar_ecg)",
    "subject": "who wears the strap (its address)",
    "chunk_s": "seconds in a chunk of ECG (1)",
}
SERVICES = ("polar_ecg", "heart_rate")
WAITING_LIMIT = 600
"""Readings that wait for the node (ten minutes); beyond, the oldest are lost, which is reported."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
ANSWER_S = 10.0


class Strap(Protocol):
    """The used part of ``bleak.BleakClient``."""

    async def connect(self) -> Any: ...

    async def start_notify(self, char_specifier: str, callback: Callable[[Any, bytearray], None]) -> None: ...

    async def write_gatt_char(self, char_specifier: str, data: bytes, response: bool) -> None: ...

    async def disconnect(self) -> Any: ...


Dial = Callable[[str, Callable[[Any], None]], Strap]
"""A strap from its address and what to call when the connection is lost."""


class BleSource:
    """A `Source` over a strap. A thread holds the connection; readings wait in a bounded queue."""

    live = False
    virtual = False

    def __init__(
        self, address: str, service: str, subject: str, chunk_s: float, dial: Dial, clock: Clock,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:  # fmt: skip
        self._address = address
        self._service = service
        self._subject = subject
        self._samples = max(1, round(chunk_s * POLAR_ECG_RATE_HZ))
        self._dial = dial
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._waiting: deque[Reading | ReadingError] = deque()
        self._lost = 0
        self._changed = threading.Condition()
        self._closed = False
        self._failed: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Readings from now on, counted on from ``after``. Raises `SourceError` where there is no radio."""
        thread = threading.Thread(
            target=self._run, args=(after or 0,), name=f"ble-{self._address}", daemon=True
        )
        thread.start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closed or self._failed)
                    if self._closed:
                        return
                    if not self._waiting:
                        raise SourceError(f"ble:{self._address}: {self._failed}") from self._failed
                    lost, self._lost = self._lost, 0
                    item = self._waiting.popleft()
                if lost:
                    yield ReadingError(
                        f"ble:{self._address}: {lost} readings were lost: {WAITING_LIMIT} newer ones waited",
                        "lost",
                        lost,
                    )
                yield item
        finally:
            self.close()
            thread.join(ANSWER_S)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(stop.set)

    def _put(self, item: Reading | ReadingError) -> None:
        with self._changed:
            if len(self._waiting) >= WAITING_LIMIT:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(item)
            self._changed.notify_all()

    def _named(self, error: ReadingError) -> ReadingError:
        return ReadingError(f"ble:{self._address}: {error}", error.kind)

    def _run(self, position: int) -> None:
        try:
            asyncio.run(self._hold(position))
        except Exception as error:  # noqa: BLE001  raised to the reader of the source
            with self._changed:
                self._failed = error
                self._changed.notify_all()

    async def _hold(self, position: int) -> None:
        """Connect, listen, and connect again, until `close`."""
        stop = asyncio.Event()
        with self._changed:
            self._loop, self._stop = asyncio.get_running_loop(), stop
            if self._closed:
                return
        chunks = EcgChunks(self._subject, self._samples, position)
        rows = HeartRateRows(self._subject, position)
        pause_s = self._first_pause_s
        while not stop.is_set():
            lost, received = asyncio.Event(), asyncio.Event()

            def receive(_: Any, packet: bytearray, received: asyncio.Event = received) -> None:
                received.set()
                if isinstance(self._clock, NodeClock) and (shift_ns := self._clock.adjust()):
                    chunks.set_on(shift_ns)
                try:
                    if self._service == "heart_rate":
                        self._put(rows.reading(bytes(packet), self._clock()))
                        return
                    for item in chunks.add(decode_ecg(bytes(packet)), self._clock()):
                        self._put(self._named(item) if isinstance(item, ReadingError) else item)
                except ReadingError as error:
                    self._put(self._named(error))

            strap = self._dial(self._address, lambda _, lost=lost: lost.set())
            try:
                await self._begin(strap, receive)
                await _first(stop, lost)
                problem = "the connection is lost"
            except (OSError, TimeoutError, SourceError) as error:
                problem = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001  bleak has its own tree, which is not imported here
                problem = f"{type(error).__name__}: {error}"
            with suppress(Exception):
                await asyncio.wait_for(strap.disconnect(), ANSWER_S)
            for reading in chunks.lost():
                self._put(reading)
            if stop.is_set():
                return
            pause_s = self._first_pause_s if received.is_set() else min(2 * pause_s, LONGEST_PAUSE_S)
            self._put(ReadingError(f"ble:{self._address}: {problem}; tried again after {pause_s:g} s"))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    async def _begin(self, strap: Strap, receive: Callable[[Any, bytearray], None]) -> None:
        """Connect and have the strap send. Raises `SourceError` if it refuses."""
        await strap.connect()
        if self._service == "heart_rate":
            await strap.start_notify(HEART_RATE_MEASUREMENT, receive)
            return
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(_: Any, packet: bytearray) -> None:
            if not answer.done():
                answer.set_result(bytes(packet))

        await strap.start_notify(PMD_CONTROL, answered)
        await strap.start_notify(PMD_DATA, receive)
        await strap.write_gatt_char(PMD_CONTROL, START_ECG, response=True)
        refused = start_refused(await asyncio.wait_for(answer, ANSWER_S))
        if refused is not None:
            raise SourceError(f"the strap does not start its ECG: {refused}")


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _bleak(address: str, lost: Callable[[Any], None]) -> Strap:
    from bleak import BleakClient

    return BleakClient(address, disconnected_callback=lost)


def parse(uri: SourceUri) -> Mapping[str, str]:
    """The parameters of a ``ble:`` URI with their defaults. Raises `SourceFormatError`."""
    unknown = sorted(set(uri.parameters) - set(PARAMETERS))
    if unknown:
        raise SourceFormatError(f"ble: does not know {unknown[0]!r}; it has {', '.join(PARAMETERS)}")
    found = {"service": "polar_ecg", "subject": uri.target, "chunk_s": "1", **uri.parameters}
    if found["service"] not in SERVICES:
        raise SourceFormatError(f"service={found['service']} is not one of {', '.join(SERVICES)}")
    try:
        usable = 0.02 <= float(found["chunk_s"]) <= 60
    except ValueError:
        usable = False
    if not usable:
        raise SourceFormatError(f"chunk_s={found['chunk_s']} is not a number of seconds from 0.02 to 60")
    return found


def open_source(uri: SourceUri, _speed: float) -> BleSource:
    """Open ``ble:ADDRESS?...``; its speed is the strap's. Raises `SourceFormatError` or `SourceError`."""
    found = parse(uri)
    try:
        import bleak  # noqa: F401
    except ImportError:
        raise SourceError("ble: needs the package bleak: pip install 'edgeloop[ble]'") from None
    return BleSource(
        uri.target, found["service"], found["subject"], float(found["chunk_s"]), _bleak, NodeClock()
    )

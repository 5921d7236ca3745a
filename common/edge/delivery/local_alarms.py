"""Local alarms: to a log, a webhook, a program or a broker at the machine, with or without a cloud.

An alarm is an event with that priority; its end is one too, or an event of a type that the app names
(`common.app.spec.AppSpec.alarm_ends`). Each goes to every output that the settings name
(`common.edge.delivery.alarm_outputs`), as one JSON object::

    {"id", "node", "site", "app", "virtual", "type", "subject", "time", "priority", "state", "text", "data"}

- An output has a thread and a bounded queue of its own: a slow one holds up neither the node nor another one.
- Each alarm is sent *at least once*: how far an output came is kept in ``local-alarms.json``, and what an
  earlier process had kept and not sent is sent at the start, from the outbox and the history. ``id`` is the
  same then, so that a receiver can leave out what it has. What the node had kept before an output was first
  set up is not sent there.
- An output that fails is tried again, at first after `RETRY_FIRST_S` and at last every `RETRY_LAST_S`; after
  ``retry_timeout_s``, or when the queue is full, the oldest alarm is dropped there. Both are reported as
  ``edgeloop.local_alarm`` events, in health and in ``/healthz``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from common import durable
from common.backoff import Backoff
from common.clock import Clock
from common.config.node import LocalAlarmSettings
from common.edge.delivery.history import kept_events
from common.edge.problems import Problems
from common.errors import LocalAlarmError, MessageError
from common.messages import Event, Priority, WireEvent, decode_event, encode_event, priority_of

log = logging.getLogger(__name__)

PROBLEM_TYPE = "edgeloop.local_alarm"
FILE = "local-alarms.json"
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 60.0
NOTE_S = 1.0
"""How often an output that is busy has its place kept; at once when its queue is empty."""
TEXT_CHARACTERS = 300


class Output(Protocol):
    """Destination of alarms."""

    name: str

    def send(self, message: bytes, alarm: Alarm) -> None:
        """Deliver one alarm, ``message`` as JSON. Raises `LocalAlarmError`."""
        ...


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm, as an output receives it."""

    id: str
    node: str
    site: str
    app: str
    virtual: bool
    type: str
    subject: str
    time: str
    priority: str
    state: str
    """``raised``, ``ended``, or the app's own word."""
    text: str
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of the alarms; ``ends`` are the types of events that end one."""

    node: str
    site: str
    app: str
    virtual: bool
    ends: tuple[str, ...]

    def is_alarm(self, event: Event | WireEvent) -> bool:
        priority = event.priority if isinstance(event, Event) else priority_of(event.priority)
        return priority == Priority.ALARM or event.type in self.ends

    def alarm(self, event: WireEvent) -> Alarm:
        facts = _facts(event.data)
        state = facts.get("state")
        if event.type in self.ends:
            state = "ended"
        text = facts.get("text")
        if not isinstance(text, str) or not text:
            text = ", ".join(f"{name} {_text(value)}" for name, value in facts.items())
        return Alarm(
            id=f"{self.site}/{self.node}/{event.epoch}/{event.seq}",
            node=self.node,
            site=self.site,
            app=self.app,
            virtual=self.virtual,
            type=event.type,
            subject=event.subject,
            time=event.time,
            priority=event.priority,
            state=state if isinstance(state, str) else "raised",
            text=" ".join(text.split())[:TEXT_CHARACTERS],
            data=event.data,
        )


EventPosition = tuple[str, int]
"""Epoch and seq of the last alarm that an output has done with."""


class LocalAlarms:
    """The outputs of one node. `offer` belongs to the process thread and never waits."""

    def __init__(
        self,
        outputs: Sequence[Output],
        settings: LocalAlarmSettings,
        origin: Origin,
        folder: Path,
        clock: Clock,
        report: Callable[[Event], None],
    ) -> None:
        self._origin = origin
        self._folder = folder
        self._clock = clock
        self._report = report
        self._problems = Problems(PROBLEM_TYPE)
        self._lock = threading.Lock()
        self._places = self._load()
        self._channels = [_Channel(output, settings, self) for output in outputs]

    @property
    def waiting(self) -> int:
        """Alarms that wait for an output; one that waits for two counts twice."""
        return sum(channel.waiting for channel in self._channels)

    @property
    def problem(self) -> str:
        """Failing outputs with their reasons; empty if none fails."""
        return "; ".join(f"{c.output.name}: {c.problem}" for c in self._channels if c.problem)

    def start(self, epoch: str, last_seq: int) -> None:
        """Start the outputs, first with what an earlier process has kept and not sent."""
        if not self._channels:
            return
        with self._lock:
            for channel in self._channels:
                self._places.setdefault(channel.output.name, (epoch, last_seq))
        self._save()
        kept = [kept.event for kept in kept_events(self._folder, min_priority=Priority.EVENT)]
        alarms = [event for event in kept if self._origin.is_alarm(event)]
        for channel in self._channels:
            for event in _missed(alarms, self._places[channel.output.name], epoch):
                channel.put(event)
            channel.start()

    def offer(self, events: Sequence[Event], epoch: str, last_seq: int) -> None:
        """Take the alarms among the events of a commit."""
        for seq, event in enumerate(events, last_seq - len(events) + 1):
            if event.priority >= Priority.EVENT and self._origin.is_alarm(event):
                try:
                    body = encode_event(event, source="/local", epoch=epoch, seq=seq)
                except (MessageError, ValueError, TypeError, OverflowError, OSError):
                    bare = Event(event.type, event.subject, event.time_ns, event.priority, {})
                    body = encode_event(bare, source="/local", epoch=epoch, seq=seq)
                wire = decode_event(body)
                for channel in self._channels:
                    channel.put(wire)

    def stop(self, patience_s: float) -> None:
        """End the outputs, after at most ``patience_s``; what waits then is sent at the next start."""
        until = time.monotonic() + patience_s
        for channel in self._channels:
            channel.stop(max(0.0, until - time.monotonic()))
        if self._channels:
            self._save()

    # ------------------------------------------------------------------------------ for the channels

    def alarm(self, event: WireEvent) -> Alarm:
        return self._origin.alarm(event)

    def done(self, name: str, event: WireEvent, *, keep: bool) -> None:
        """An output has done with ``event``: sent or dropped it."""
        with self._lock:
            self._places[name] = (event.epoch, event.seq)
        if keep:
            self._save()

    def failed(self, kind: str, detail: str) -> None:
        """Report what an output cannot do."""
        self._problems.add(kind, detail, self._origin.node)
        for event in self._problems.events(self._clock()):
            self._report(event)

    # ------------------------------------------------------------------------------------- its place

    def _load(self) -> dict[str, EventPosition]:
        try:
            return msgspec.json.decode((self._folder / FILE).read_bytes(), type=dict[str, EventPosition])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read; alarms that waited for an output are lost: %s", FILE, error)
            return {}

    def _save(self) -> None:
        with self._lock:
            try:
                durable.write(self._folder / FILE, msgspec.json.encode(self._places))
            except OSError as error:
                log.warning("%s cannot be written; alarms may be sent again after a restart: %s", FILE, error)


class _Channel:
    """One output with its queue and its thread."""

    def __init__(self, output: Output, settings: LocalAlarmSettings, alarms: LocalAlarms) -> None:
        self.output = output
        self.problem = ""
        self._settings = settings
        self._alarms = alarms
        self._queue: deque[tuple[WireEvent, float]] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alarms-{output.name}", daemon=True)
        self._next_note_s = 0.0

    @property
    def waiting(self) -> int:
        return len(self._queue) + self._busy

    def start(self) -> None:
        self._thread.start()

    def put(self, event: WireEvent) -> None:
        dropped = 0
        with self._changed:
            while len(self._queue) >= self._settings.queue_alarms:
                self._queue.popleft()
                dropped += 1
            self._queue.append((event, time.monotonic()))
            self._changed.notify_all()
        if dropped:
            self._alarms.failed(
                f"{self.output.name} given up",
                f"more than {self._settings.queue_alarms} alarms wait: the oldest is dropped",
            )

    def stop(self, patience_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._busy, patience_s)
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(self._settings.timeout_s + 1.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or self._stopped.is_set())
                if self._stopped.is_set():
                    return
                event, since_s = self._queue.popleft()
                self._busy = True
            if not self._deliver(event, since_s):
                return
            now_s = time.monotonic()
            keep = not self._queue or now_s >= self._next_note_s
            self._next_note_s = now_s + NOTE_S if keep else self._next_note_s
            self._alarms.done(self.output.name, event, keep=keep)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _deliver(self, event: WireEvent, since_s: float) -> bool:
        """Try until it is sent or dropped; False if the node ends before."""
        alarm = self._alarms.alarm(event)
        message = msgspec.json.encode(alarm)
        backoff = Backoff(RETRY_FIRST_S, RETRY_LAST_S)
        while True:
            try:
                self.output.send(message, alarm)
                self.problem = ""
                return True
            except LocalAlarmError as error:
                self.problem = str(error)
                self._alarms.failed(self.output.name, f"alarm {alarm.id} cannot be sent: {error}")
            if time.monotonic() - since_s > self._settings.retry_timeout_s:
                self._alarms.failed(
                    f"{self.output.name} given up", f"alarm {alarm.id} is dropped: {self.problem}"
                )
                return True
            if self._stopped.wait(backoff.next_s()):
                return False


def _missed(alarms: Iterable[WireEvent], place: EventPosition, epoch: str) -> Iterator[WireEvent]:
    """The alarms behind ``place``; of a new epoch only those that are no old ones with another number."""
    sent: set[tuple[str, str, str]] = set()
    for event in alarms:
        identity = (event.type, event.subject, event.time)
        if event.epoch == place[0] and event.seq <= place[1]:
            sent.add(identity)
        elif event.epoch in (place[0], epoch) and identity not in sent:
            yield event


def _facts(data: msgspec.Raw) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

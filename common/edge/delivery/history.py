"""Decisions of a node, for a person at the node: the newest events, kept after the cloud has them.

The outbox forgets what the cloud has acknowledged. `History` keeps the events from a priority on beside it,
one JSON object a line in ``history.jsonl`` and, when that is half of the budget, ``history.1.jsonl``. It is
not synced by itself: after a power cut its last seconds may be missing, and what was not yet delivered then
is still in the outbox. `kept_events` reads both, each event once, while the node runs or afterwards.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from common.edge.delivery.gaps import GAP, GapRow, encode_gap
from common.errors import ConfigError, MessageError
from common.messages import GAP_TYPE, Event, Priority, WireEvent, decode_event, encode_event

log = logging.getLogger(__name__)

FILE, OLDER_FILE = "history.jsonl", "history.1.jsonl"
OUTBOX_FILE = "outbox.sqlite"
FOLLOW_S = 0.25
"""Polling interval of a followed node."""
WARNING_EVERY_S = 60.0


class History:
    """Keeps events of ``min_priority`` or higher in ``folder``, in at most ``budget_bytes``."""

    def __init__(self, folder: Path, source: str, budget_bytes: int, min_priority: Priority) -> None:
        self._path = folder / FILE
        self._older = folder / OLDER_FILE
        self._source = source
        self._half_bytes = budget_bytes // 2
        self._min_priority = min_priority
        self._next_warning_s = 0.0
        if not self._half_bytes:
            self._path.unlink(missing_ok=True)
            self._older.unlink(missing_ok=True)

    def add(self, events: Sequence[Event], epoch: str, last_seq: int) -> None:
        """Keep of the events of a commit; ``last_seq`` is the last one's. What the disk refuses is lost."""
        lines = [
            self._line(event, epoch, seq)
            for seq, event in enumerate(events, last_seq - len(events) + 1)
            if event.priority >= self._min_priority
        ]
        if not lines or not self._half_bytes:
            return
        try:
            if self._path.exists() and self._path.stat().st_size >= self._half_bytes:
                self._path.replace(self._older)
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            if time.monotonic() >= self._next_warning_s:
                self._next_warning_s = time.monotonic() + WARNING_EVERY_S
                log.warning(
                    "%s cannot be written; `node events` lacks what is delivered: %s", self._path, error
                )

    def facts(self, events: Sequence[Event], epoch: str, last_seq: int) -> Iterator[dict[str, Any]]:
        """The events of a commit as JSON objects, as `KeptEvent.facts` gives them."""
        for seq, event in enumerate(events, last_seq - len(events) + 1):
            if kept := _event(self._line(event, epoch, seq)):
                yield KeptEvent(kept, False).facts()

    def _line(self, event: Event, epoch: str, seq: int) -> bytes:
        try:
            return encode_event(event, source=self._source, epoch=epoch, seq=seq) + b"\n"
        except (MessageError, ValueError, TypeError, OverflowError, OSError):
            return b""  # The outbox has it without its data, and has reported why.


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that a node has kept. ``delivered`` is whether the cloud has acknowledged it."""

    event: WireEvent
    delivered: bool

    def facts(self) -> dict[str, Any]:
        """As one JSON object."""
        event = self.event
        return {
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            **({"time_quality": event.timequality} if event.timequality else {}),
            "priority": event.priority,
            "data": event.data,
            "epoch": event.epoch,
            "seq": event.seq,
            "delivered": self.delivered,
        }


def kept_events(
    folder: Path,
    after: tuple[str, int] | None = None,
    min_priority: Priority = Priority.SAMPLE,
    acked: tuple[str, int] = ("", 0),
) -> Iterator[KeptEvent]:
    """Events of the node in ``folder`` in order, each once: its history and its outbox.

    From the outbox, those of a priority of at least ``min_priority``, and gaps.

    With ``after``, those behind this epoch and seq; all of another epoch. ``acked`` is the epoch and seq up
    to which a running node knows its events to be delivered; the file learns it with the next commit.
    Raises `ConfigError` where there is no node.
    """
    with closing(_connection(folder)) as connection:
        epoch, source = connection.execute("SELECT epoch, source FROM meta").fetchone()
        start = after[1] if after is not None and after[0] == epoch else 0
        lines = list(_lines(folder, epoch, after))
        yield from (KeptEvent(event, True) for event in lines if event.epoch != epoch)
        known = ((event.seq, True, event) for event in lines if event.epoch == epoch)
        rows = ((event.seq, False, event) for event in _rows(connection, epoch, source, start, min_priority))
        through = 0
        for seq, same in groupby(merge(rows, known, key=itemgetter(0)), key=itemgetter(0)):
            events = {delivered: event for _, delivered, event in same}
            if False in events:
                last = _last_of(events[False])
                yield KeptEvent(events[False], acked[0] == epoch and last <= acked[1])
                through = max(through, last)
            if True in events and (False not in events or events[False].type == GAP_TYPE):
                yield KeptEvent(events[True], seq > through)  # Below it, the outbox dropped the event.


def follow(
    folder: Path, ended: Callable[[float], bool], acked: Callable[[], tuple[str, int]] = lambda: ("", 0)
) -> Iterator[KeptEvent | int]:
    """`kept_events`, and then new ones as they come until ``ended``, which waits so many seconds.

    An int counts events that the cloud has acknowledged before they could be seen here: those below the
    history's priority.
    """
    after: tuple[str, int] | None = None
    seen: tuple[Any, ...] = ()
    while True:
        state = _state(folder)
        if state != seen:
            for kept in kept_events(folder, after, acked=acked()):
                same_epoch = after is not None and after[0] == kept.event.epoch
                if after is not None and same_epoch and kept.event.seq > after[1] + 1:
                    yield kept.event.seq - after[1] - 1
                yield kept
                through = max(_last_of(kept.event), after[1] if same_epoch and after is not None else 0)
                after = (kept.event.epoch, through)
            seen = state
        if ended(FOLLOW_S):
            return


def _last_of(event: WireEvent) -> int:
    """The last seq that an event stands for: a gap stands for many."""
    try:
        facts = msgspec.json.decode(event.data, type=Mapping[str, Any])
    except msgspec.MsgspecError:
        return event.seq
    through = facts.get("through")
    return through if event.type == GAP_TYPE and isinstance(through, int) else event.seq


def _lines(folder: Path, epoch: str, after: tuple[str, int] | None) -> Iterator[WireEvent]:
    """Entries of the history, in the order of its lines."""
    for name in (OLDER_FILE, FILE):
        try:
            with (folder / name).open("rb") as file:
                for line in file:
                    event = _event(line)
                    if event is not None and _is_after(event, epoch, after):
                        yield event
        except FileNotFoundError:
            continue


def _is_after(event: WireEvent, epoch: str, after: tuple[str, int] | None) -> bool:
    if after is None:
        return True
    return event.seq > after[1] if event.epoch == after[0] else event.epoch == epoch


def _event(line: bytes) -> WireEvent | None:
    """The event of a line; None for one that is torn."""
    try:
        return decode_event(line) if line.endswith(b"\n") else None
    except MessageError:
        return None


def _rows(
    connection: sqlite3.Connection, epoch: str, source: str, after: int, min_priority: Priority
) -> Iterator[WireEvent]:
    query = (
        "SELECT seq, last, priority, body FROM events WHERE seq > ? AND (priority >= ? OR priority = ?) "
        "ORDER BY seq"
    )
    for seq, last, priority, body in connection.execute(query, (after, int(min_priority), GAP)):
        if priority == GAP:
            body = encode_gap(GapRow.of(seq, last, body), source=source, epoch=epoch)
        yield decode_event(body)


def _state(folder: Path) -> tuple[Any, ...]:
    """A value that changes with every kept event."""
    found: list[tuple[int, int, int] | None] = []
    for name in (OUTBOX_FILE, f"{OUTBOX_FILE}-wal", FILE):
        try:
            about = (folder / name).stat()
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return tuple(found)


def _connection(folder: Path) -> sqlite3.Connection:
    path = folder / OUTBOX_FILE
    if not path.is_file():
        raise ConfigError(f"there is no node in {folder}: {path} is missing; give the node's --data")
    try:
        connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=10.0)
        connection.execute("SELECT 1 FROM meta").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return connection


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")

"""The SQLite file of an outbox: its schema, connections, transactions and damage. It knows no events.

WAL mode with two connections: the writer syncs each commit to disk, the reader (for the uplink) does not.
`StreamState` is the file's state in memory; a transaction that fails restores it. An error that shows damage
is kept in `OutboxFile.damage`; whoever commits next replaces the file (`common.edge.delivery.recovery`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import durable
from common.clock import Clock
from common.edge.delivery.gaps import GAP
from common.errors import OutboxError
from common.messages import Priority

log = logging.getLogger(__name__)

ROW_COST_BYTES = 32
"""Disk space of a row beside its body."""
PAGE_BYTES = 2048
"""Page size of a new file. A commit writes whole pages, and a node at rest has little to write each time."""
WAL_BYTES = 4 * 1024 * 1024
"""Size of the log at which it is folded into the file."""
VERSION = 2
_SCHEMA = """
CREATE TABLE events(
    seq INTEGER PRIMARY KEY, last INTEGER NOT NULL, priority INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL,
    next_seq INTEGER NOT NULL, position INTEGER, acked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE app_state(
    id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB, journal INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE journal(id INTEGER PRIMARY KEY, content BLOB NOT NULL);
INSERT INTO app_state VALUES (1, NULL, 0);
PRAGMA user_version = 2;
"""
_FROM_1 = """
ALTER TABLE meta ADD COLUMN acked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_state ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;
CREATE TABLE journal(id INTEGER PRIMARY KEY, content BLOB NOT NULL);
PRAGMA user_version = 2;
"""


def _zeros() -> dict[int, int]:
    return dict.fromkeys((GAP, *map(int, Priority)), 0)


@dataclass(slots=True)
class StreamState:
    """Counters of the stream. Up to ``acked`` it is the cloud's; up to ``deleted`` it has no rows."""

    epoch: str = ""
    next_seq: int = 1
    acked: int = 0
    deleted: int = 0
    journal_id: int = 0
    rows: dict[int, int] = field(default_factory=_zeros)
    """Rows that wait for the cloud, by priority (`GAP` for gaps)."""
    size_bytes: dict[int, int] = field(default_factory=_zeros)
    """Their share of the disk budget."""
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    """Events dropped since the start, by name of their priority."""

    def count(self, priority: int, rows: int, body_bytes: int) -> None:
        """Add rows (negative: remove)."""
        self.rows[priority] += rows
        self.size_bytes[priority] += body_bytes + rows * ROW_COST_BYTES

    def drop(self, name: str, count: int) -> None:
        """Count dropped events."""
        self.dropped[name] = self.dropped.get(name, 0) + count

    def copy(self) -> StreamState:
        return replace(
            self, rows=dict(self.rows), size_bytes=dict(self.size_bytes), dropped=dict(self.dropped)
        )


class OutboxFile:
    """The file ``path`` of the node ``source`` (``/<site>/<node>``), which reads the source ``stream``."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection

    def __init__(self, path: Path, source: str, stream: str, clock: Clock) -> None:
        self.path = path
        self.source = source
        self.stream = stream
        self.state = StreamState()
        self.damage: sqlite3.Error | None = None
        self.reader_lock = threading.RLock()
        """Held while `reader` is used."""
        self._clock = clock
        self._connections: list[sqlite3.Connection] = []

    @property
    def is_open(self) -> bool:
        return bool(self._connections)

    def open(self) -> None:
        """Connect; create or migrate the tables; load the state. Raises ``sqlite3.Error``, `OutboxError`."""
        try:
            self.writer = self._connection("FULL")
            (version,) = self.writer.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._execute("BEGIN IMMEDIATE", _SCHEMA)
                self._create()
            elif version == 1:
                self._execute("BEGIN IMMEDIATE", _FROM_1, "COMMIT")
            elif version > VERSION:
                raise OutboxError(
                    f"the outbox {self.path} has format {version}, of a newer edgeloop: update edgeloop"
                )
            self.load()
            self.reader = self._connection("NORMAL")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def load(self) -> None:
        """Load the state; every page is checked, so that damage shows now. Raises ``sqlite3.Error``."""
        problem = self.writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        meta = self.writer.execute(
            "SELECT epoch, next_seq, acked, journal, (SELECT max(id) FROM journal) FROM meta, app_state"
        ).fetchone()
        if meta is None:
            raise sqlite3.DatabaseError("its first page lacks a row")
        epoch, next_seq, acked, *journal = meta
        journal_id = max(number or 0 for number in journal)
        state = StreamState(epoch, next_seq, acked, acked, journal_id, dropped=self.state.dropped)
        for priority, count, size in self.writer.execute(
            "SELECT priority, count(*), sum(length(body)) FROM events GROUP BY priority"
        ).fetchall():
            state.count(priority, count, size)
        self.state = state

    def is_committed(self, next_seq: int) -> bool:
        """Whether a transaction up to ``next_seq`` is there although its commit raised an error."""
        with suppress(sqlite3.Error):
            found = self.writer.execute("SELECT next_seq FROM meta").fetchone()[0]
            return found == next_seq != self.state.next_seq
        return False

    def new_epoch(self) -> str:
        started = time.strftime("%Y%m%d%H%M%S", time.gmtime(self._clock() / 1e9))
        return f"{started}-{os.urandom(4).hex()}"

    def one(self, query: str, *parameters: int) -> Any:
        """The first column of one row. Raises `OutboxError`."""
        with self.reading() as reader:
            return reader.execute(query, parameters).fetchone()[0]

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The reader, with its lock. An SQLite error is raised as `OutboxError`."""
        try:
            with self.reader_lock:
                yield self.reader
        except sqlite3.Error as error:
            self._note_damage(error)
            raise OutboxError(f"the outbox {self.path} cannot be read: {error}") from error

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Generator[None]:
        """One transaction. If it fails, the state is restored and `OutboxError` is raised."""
        before = self.state.copy()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                self.state = before
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            self._note_damage(error)
            raise OutboxError(
                f"the outbox {self.path} cannot be written ({error}): check the disk's space and health"
            ) from error

    def set_aside(self, error: Exception) -> Path:
        """Rename the damaged file and its log to ``<name>.corrupt-<time>``. It must be closed."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock() / 1e9))
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{os.urandom(2).hex()}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        durable.sync_folder(self.path.parent)
        log.error("the outbox %s is damaged (%s): moved to %s", self.path, error, aside)
        return aside

    def _connection(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._connections.append(connection)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_bytes}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {2 * WAL_BYTES}")
        connection.execute("PRAGMA cache_size = -2048")
        return connection

    def _execute(self, *scripts: str) -> None:
        for statement in ";\n".join(scripts).split(";\n"):
            if statement.strip():
                self.writer.execute(statement)

    def _create(self) -> None:
        self.writer.execute(
            "INSERT INTO meta VALUES (1, ?, ?, ?, 1, NULL, 0)", (self.new_epoch(), self.source, self.stream)
        )
        self.writer.execute("COMMIT")
        durable.sync_folder(self.path.parent)

    def _note_damage(self, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self.damage = error


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is to blame, not the disk, its space, or another process."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if "unsupported file format" in str(error):  # SQLite has no code of its own for a damaged format number
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

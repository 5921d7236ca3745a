"""An outbox whose file is damaged, cut or cannot be written: whole commits stay."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.edge.delivery.outbox import Outbox
from common.edge.delivery.outbox_file import PAGE_BYTES
from common.errors import OutboxError
from tests.builders import FIRST_NS, make_event
from tests.common.edge.delivery.rows import all_of, covered
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("damage", ["nonsense", "page", "truncated"])
def test_a_damaged_file_is_set_aside_and_a_new_one_takes_over(
    open_outbox, tmp_path: Path, damage: str
) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, data={"t": "x" * 500}) for n in range(500)], b"state", 42)
    epoch = outbox.epoch
    outbox.close()
    path = tmp_path / "outbox.sqlite"
    content = bytearray(path.read_bytes())
    if damage == "nonsense":
        content[:] = b"not a database at all" * 1000
    elif damage == "page":
        content[-3 * 4096 :] = b"\xff" * (3 * 4096)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    again = open_outbox()
    assert (again.epoch == epoch) == (damage != "nonsense")
    assert again.recovery
    assert Path(again.recovery.moved_to).name.startswith("outbox.sqlite.corrupt-")
    assert Path(again.recovery.moved_to).read_bytes() == bytes(content)
    assert again.commit([make_event()]) == (1 if damage == "nonsense" else 501)
    if damage != "nonsense":
        assert (again.saved_state(), again.position()) == (b"state", 42)


def test_damage_that_shows_while_it_runs_loses_nothing_of_the_commit(open_outbox, tmp_path: Path) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, data={"t": "x" * 500}) for n in range(2000)], b"old", 1)
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite", timeout=PATIENCE_S)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
        with (tmp_path / "outbox.sqlite").open("r+b") as file:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        other.execute("UPDATE meta SET stream = stream")
        other.commit()
    assert outbox.commit([make_event()], b"new", 2) == 2001
    assert outbox.recovery
    assert covered(outbox) == list(range(1, 2002))
    assert (outbox.saved_state(), outbox.position()) == (b"new", 2)


def test_a_file_of_a_newer_edgeloop_is_left_alone(open_outbox, tmp_path: Path) -> None:
    open_outbox().close()
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(OutboxError, match="update edgeloop"):
        open_outbox()
    assert not list(tmp_path.glob("*.corrupt*"))


def test_a_full_disk_keeps_nothing_of_the_call_and_the_next_one_works(open_outbox, tmp_path: Path) -> None:
    outbox = open_outbox()
    outbox.commit([make_event()], b"state", 1)
    events = [make_event(n, data={"t": "x" * 1000}) for n in range(500)]
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OutboxError, match="check the disk"):
            outbox.commit(events, b"lost", 2)
        assert (outbox.last_seq, outbox.events, outbox.position()) == (1, 1, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    assert outbox.commit(events, b"kept", 2) == 501
    assert (outbox.saved_state(), outbox.position()) == (b"kept", 2)
    assert covered(outbox) == list(range(1, 502))


def test_a_process_that_is_killed_leaves_whole_commits_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from common.edge.delivery.outbox import Outbox\n"
        "from tests.builders import make_event\n"
        "outbox = Outbox(Path(sys.argv[1]), '/s/n', 10**8, time.time_ns)\n"
        "position = outbox.position() or 0\n"
        "while True:\n"
        "    position += 1\n"
        "    outbox.commit([make_event(position)] * 7, str(position).encode(), position)\n"
        "    print(position, flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(30)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        reported = int([line for line in lines if line.endswith("\n")][-1])
        with closing(Outbox(path, "/s/n", 10**8, time.time_ns)) as outbox:
            position = outbox.position()
            assert position is not None
            assert reported <= position <= reported + 1
            assert outbox.last_seq == 7 * position
            assert outbox.saved_state() == str(position).encode()
            assert covered(outbox) == list(range(1, 7 * position + 1))


def test_a_path_that_is_no_file_is_reported(tmp_path: Path) -> None:
    blocker = tmp_path / "folder"
    blocker.mkdir()
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(blocker, "/s/n", 10**6, lambda: FIRST_NS)


class FailingAfterCommit:
    """A connection whose next COMMIT reaches the disk, then raises, as for a late error of the sync."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        cursor = self._connection.execute(statement, *parameters)
        if statement == "COMMIT" and not self._failed:
            self._failed = True
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return cursor


def test_a_commit_that_fails_after_it_reached_the_disk_counts_once(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(1)])
    outbox._file.writer = FailingAfterCommit(outbox._file.writer)
    assert outbox.commit([make_event(2), make_event(3)]) == 3
    assert outbox.commit([make_event(4)]) == 4
    assert [event.seq for event in all_of(outbox)] == [1, 2, 3, 4]
    assert (outbox.events, outbox.recovery) == (4, None)

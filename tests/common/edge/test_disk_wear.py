"""The rate of writing is that of the last hour, and not known before there is one."""

from __future__ import annotations

import os
from pathlib import Path

from common.edge.disk_wear import DiskWear, written_bytes


def test_the_rate_is_known_after_a_minute_and_forgets_the_start() -> None:
    wear = DiskWear()
    assert wear.bytes_per_day is None
    wear.add(0.0, 0)
    wear.add(30.0, 10**9)
    assert wear.bytes_per_day is None
    for minute in range(1, 200):
        wear.add(60.0 * minute, 10**9 + 60_000 * minute)
    assert wear.bytes_per_day == 86_400_000


def test_a_system_that_does_not_count_leaves_it_unknown() -> None:
    wear = DiskWear()
    wear.add(0.0, None)
    wear.add(100.0, None)
    assert wear.bytes_per_day is None
    assert written_bytes(0) is None


def test_what_is_written_is_counted(tmp_path: Path) -> None:
    before = written_bytes()
    if before is None:
        return
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x" * 100_000)
        os.fsync(file.fileno())
    after = written_bytes()
    assert after is not None
    assert after >= before

"""Files that rotated while the node was down: every row once, in order."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tests.hardware.csv_files.following import HEADER, Logger, kinds, positions
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("how", ["rename", "truncate"])
@pytest.mark.parametrize("unread", [0, 4])
def test_a_rotation_while_the_node_is_down_loses_and_doubles_nothing(
    logger: Logger, follow, how: str, unread: int
) -> None:
    logger.rows(30)
    reader = follow()
    reader.wait(30)
    position = reader.end()
    logger.rows(unread)
    getattr(logger, how)()
    logger.rows(3)
    again = follow(position)
    again.wait(unread + 3)
    position = again.end()
    assert reader.values() + again.values() == list(range(logger.written))
    assert positions(again.items)[0] > positions(reader.items)[-1]
    assert "lost" not in kinds(again.errors())
    logger.rows(2)
    third = follow(position)
    third.wait(2)
    third.end()
    assert third.values() == [logger.written - 2, logger.written - 1]
    assert third.errors() == []


@pytest.mark.parametrize("how", ["rename", "truncate"])
def test_several_rotations_while_the_node_is_down_lose_and_double_nothing(
    logger: Logger, follow, how: str
) -> None:
    logger.rows(20)
    logger.rename("engine.csv.0")
    logger.rows(20)
    reader = follow()
    reader.wait(20)
    position = reader.end()
    for number in range(1, 5):
        logger.rows(6)
        getattr(logger, how)(f"engine.csv.{number}")
    logger.rows(3)
    shutil.copy(logger.path.with_name("engine.csv.0"), logger.path.with_name("engine.csv.bak"))
    logger.path.with_name("engine2.csv").write_text(HEADER + "e,-1\n")
    again = follow(position)
    again.wait(4 * 6 + 3)
    again.end()
    assert again.values() == list(range(40, logger.written))
    assert "lost" not in kinds(again.errors())


def test_a_truncation_and_a_renaming_between_two_looks_lose_nothing(
    logger: Logger, follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger.rows(5)
    reader = follow()
    reader.wait(5)
    pause, waiting, rotated = reader.source._pace.pause, threading.Event(), threading.Event()

    def pause_until_rotated(seconds: float) -> None:
        waiting.set()
        rotated.wait()
        pause(seconds)

    monkeypatch.setattr(reader.source._pace, "pause", pause_until_rotated)
    assert waiting.wait(PATIENCE_S)
    logger.rows(4)
    logger.truncate("engine.csv.1")
    logger.rows(1)
    logger.rename("engine.csv.2")
    logger.rows(2)
    rotated.set()
    reader.wait(12)
    reader.end()
    assert reader.values() == list(range(12))


def test_a_compressed_file_in_between_is_reported_as_lost(logger: Logger, follow) -> None:
    logger.rows(5)
    reader = follow()
    reader.wait(5)
    position = reader.end()
    logger.rename("engine.csv.2")
    logger.rows(5)
    logger.path.rename(logger.path.with_name("gone"))
    logger.path.with_name("engine.csv.1.gz").write_bytes(b"\x1f\x8b\x08 rows")
    logger.path.write_text(HEADER)
    logger.rows(1)
    again = follow(position)
    again.wait(1)
    again.end()
    (lost,) = [error for error in again.errors() if error.kind == "lost"]
    assert "engine.csv.1.gz came in between" in str(lost)


@pytest.mark.parametrize("committed", [3, 21, 31, 32, 33, 40])
def test_what_was_not_committed_is_read_again_over_a_rotation(
    logger: Logger, follow, memory: Path, committed: int
) -> None:
    """A node that is killed asks for what is behind its last commit, which may lie some files back."""
    logger.rows(20)
    reader = follow()
    reader.wait(20)
    logger.rename("engine.csv.2")
    logger.rows(10)
    reader.wait(30)
    kept = (memory / "csv-files.json").read_bytes()
    reader.end()
    (memory / "csv-files.json").write_bytes(kept)  # As a kill leaves it: not noted at the end.
    logger.path.with_name("engine.csv.2").rename(logger.path.with_name("engine.csv.3"))
    logger.rename("engine.csv.2")
    logger.rows(5)
    done = [p for p in positions(reader.items) if p <= committed]
    after = done[-1]
    again = follow(after)
    again.wait(35 - len(done))
    again.end()
    assert reader.values()[: len(done)] + again.values() == list(range(35))
    assert positions(again.items) == sorted(set(positions(again.items)))
    assert positions(again.items)[0] > after


def test_files_read_before_are_read_again_in_order_under_names_that_no_rotation_gives(
    logger: Logger, follow
) -> None:
    logger.rows(20)
    reader = follow(None)
    for name in ("engine-first.csv", "engine-second.csv"):
        reader.wait(logger.written)
        logger.rename(name)
        logger.rows(10)
    reader.wait(logger.written)
    reader.end()
    again = follow(positions(reader.items)[9])
    again.wait(30)
    again.end()
    assert again.values() == list(range(10, 40))
    assert positions(again.items) == positions(reader.items)[10:]
    assert "lost" not in kinds(again.errors())

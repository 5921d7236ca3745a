"""The memory of files that were read: another file at the same path, and its own damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.app.edge import Reading
from common.errors import ReadingError
from tests.hardware.csv_files.following import HEADER, Logger, positions, source_at


def test_the_next_days_file_at_the_same_path_is_read_from_its_start(logger: Logger, memory: Path) -> None:
    logger.rows(50)
    first = list(source_at(logger.path, memory).readings(None))
    assert len(first) == 50
    last = positions(first)[-1]
    assert list(source_at(logger.path, memory).readings(last)) == []
    other = "".join(f"e,{900 + i}\n" for i in range(60))
    for text in (HEADER + other, HEADER + other[:198]):
        logger.path.write_text(text)
        reported, *rows = source_at(logger.path, memory).readings(last)
        assert isinstance(reported, ReadingError)
        assert reported.kind == "changed"
        assert "another file" in str(reported)
        assert len(rows) == text.count("\n") - 1
        assert positions(rows)[0] > last
        last = positions(rows)[-1]


def test_a_days_file_that_begins_alike_is_seen_as_another(logger: Logger, memory: Path) -> None:
    still = "".join("e,7\n" for _ in range(40))
    logger.path.write_text(HEADER + still + "e,8\n")
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.path.write_text(HEADER + still + "e,9\n" * 5)
    reported, *rows = source_at(logger.path, memory).readings(last)
    assert isinstance(reported, ReadingError)
    assert len(rows) == 45


def test_rows_that_were_added_are_all_that_is_read(logger: Logger, memory: Path) -> None:
    logger.rows(10)
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.rows(3)
    rows = list(source_at(logger.path, memory).readings(last))
    assert [int(row.values[0]) for row in rows if isinstance(row, Reading)] == [10, 11, 12]


def test_a_shorter_file_is_another_one_for_a_node_that_kept_only_the_position(logger: Logger) -> None:
    logger.rows(10)
    reported, *rows = source_at(logger.path, None).readings(61)
    assert isinstance(reported, ReadingError)
    assert positions(rows) == list(range(63, 73))


def test_what_cannot_be_found_again_is_reported(logger: Logger, memory: Path) -> None:
    logger.rows(10)
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.path.unlink()
    logger.path.write_text(HEADER + "e,100\n")
    reported, _ = source_at(logger.path, memory).readings(last)
    assert "rows after its line 11, if there were any, are lost" in str(reported)


def test_a_file_of_another_node_folder_or_path_is_not_taken_for_this_one(
    logger: Logger, memory: Path, tmp_path: Path
) -> None:
    logger.rows(3)
    list(source_at(logger.path, memory).readings(None))
    other = tmp_path / "other.csv"
    other.write_text(HEADER + "e,1\n")
    assert positions(list(source_at(other, memory).readings(None))) == [2]


@pytest.mark.parametrize("content", [b"", b"{", b'{"path": 3}', b'{"path": "x", "parts": [{}]}'])
def test_a_damaged_memory_costs_no_row(logger: Logger, memory: Path, content: bytes) -> None:
    logger.rows(4)
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    (memory / "csv-files.json").write_bytes(content)
    logger.rows(2)
    rows = list(source_at(logger.path, memory).readings(last))
    assert [int(row.values[0]) for row in rows if isinstance(row, Reading)] == [4, 5]


def test_what_is_kept_of_files_stays_small_and_private(logger: Logger, follow, memory: Path) -> None:
    reader = follow()
    for turn in range(20):
        logger.rows(3)
        reader.wait(logger.written)
        logger.rename(f"engine.csv.{turn}")
        logger.rows(1)
        reader.wait(logger.written)
    reader.end()
    file = memory / "csv-files.json"
    assert len(file.read_bytes()) < 4096
    assert os.stat(file).st_mode & 0o077 == 0

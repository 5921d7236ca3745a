"""A followed file that grows, rotates and is replaced: every row once, in order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.app.edge import Reading
from common.errors import SourceFormatError
from tests.hardware.csv_files.following import HEADER, Logger, kinds, positions, source_at
from tests.waiting import wait_for


def test_a_followed_file_gives_rows_as_they_are_finished(logger: Logger, follow) -> None:
    logger.rows(3)
    reader = follow()
    reader.wait(3)
    with logger.path.open("a") as file:
        file.write("e,2")
        file.flush()
        logger.written = 24
        wait_for(lambda: reader.source._files.unfinished, "the torn row was read")
        file.write("3\n")
    reader.wait(4)
    logger.rows(1)
    reader.wait(5)
    assert reader.values() == [0, 1, 2, 23, 24]
    assert positions(reader.items) == [2, 3, 4, 5, 6]
    assert reader.errors() == []
    reader.end()


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("how", ["rename", "truncate"])
def test_a_rotation_loses_and_doubles_nothing(logger: Logger, follow, how: str, header: bool) -> None:
    logger.rows(5)
    reader = follow()
    for turn in range(1, 5):
        logger.rows(20)
        reader.wait(logger.written)
        logger.rows(4)
        getattr(logger, how)(f"engine.csv.{turn}", header=header)
        logger.rows(3)
        reader.wait(logger.written)
    reader.end()
    assert reader.values() == list(range(logger.written))
    assert positions(reader.items) == sorted(set(positions(reader.items)))
    assert set(kinds(reader.errors())) == {"changed"}


def test_the_old_file_is_read_while_nobody_writes_to_the_new_one(logger: Logger, follow) -> None:
    logger.rows(2)
    reader = follow()
    reader.wait(2)
    old = logger.path.with_name("engine.csv.1")
    logger.path.rename(old)
    logger.rows(2, file=old)
    reader.wait(4)
    logger.path.write_text("")
    logger.rows(2, file=old)
    reader.wait(6)
    logger.path.write_text(HEADER)
    logger.rows(1)
    reader.wait(7)
    reader.end()
    assert reader.values() == list(range(7))


def test_a_file_that_is_written_again_and_longer_goes_on(logger: Logger, follow) -> None:
    logger.rows(5)
    reader = follow()
    reader.wait(5)
    logger.rows(1, file=shutil.copy(logger.path, logger.path.with_name("new")))
    logger.path.with_name("new").replace(logger.path)
    reader.wait(6)
    reader.end()
    assert reader.values() == list(range(6))
    assert reader.errors() == []


def test_a_file_replaced_in_place_by_other_rows_is_read_from_its_start(logger: Logger, follow) -> None:
    logger.rows(5)
    reader = follow()
    reader.wait(5)
    with logger.path.open("w") as file:
        file.write(HEADER + "".join(f"e,{100 + i}\n" for i in range(50)))
    reader.wait(55)
    reader.end()
    assert reader.values() == [*range(5), *range(100, 150)]
    assert "changed" in kinds(reader.errors())


def test_a_file_that_is_away_is_waited_for_and_that_is_reported(logger: Logger, follow) -> None:
    logger.rows(2)
    reader = follow()
    reader.wait(2)
    logger.path.unlink()
    wait_for(lambda: any("is gone" in str(error) for error in reader.errors()), "it is reported")
    logger.path.write_text(HEADER)
    logger.rows(2)
    reader.wait(4)
    reader.end()
    assert reader.values() == list(range(4))


def test_new_columns_behind_a_rotation_are_reported(logger: Logger, follow) -> None:
    logger.rows(2)
    reader = follow()
    reader.wait(2)
    logger.path.rename(logger.path.with_name("engine.csv.1"))
    logger.path.write_text("subject,value,more\ne,2,7\n")
    reader.wait(3)
    reader.end()
    last = reader.items[-1]
    assert isinstance(last, Reading)
    assert last.channels == ("value", "more")
    assert any("columns are others" in str(error) for error in reader.errors())


def test_an_absent_file_is_refused_also_when_it_is_to_be_followed(tmp_path: Path, memory: Path) -> None:
    with pytest.raises(SourceFormatError, match="cannot be read"):
        source_at(tmp_path / "absent.csv", memory, follow="true")


def test_an_empty_file_is_waited_for_when_it_is_followed(logger: Logger, follow) -> None:
    logger.path.write_text("")
    reader = follow()
    with logger.path.open("a") as file:
        file.write(HEADER)
    logger.rows(1)
    reader.wait(1)
    reader.end()
    assert reader.values() == [0]


def test_the_cut_row_of_a_file_that_was_rotated_away_is_reported(logger: Logger, follow) -> None:
    logger.rows(2)
    reader = follow()
    reader.wait(2)
    with logger.path.open("a") as file:
        file.write("e,2")
    logger.rename()
    logger.rows(1)
    reader.wait(3)
    reader.end()
    assert "lost" in kinds(reader.errors())

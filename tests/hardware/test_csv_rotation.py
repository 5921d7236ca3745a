"""Files that grow, rotate and are replaced at one path: every row once, in order; what changed is told."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.app.edge import Reading
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv import CsvSource, open_source
from tests.waiting import wait_for

HEADER = "subject,value\n"


class Logger:
    """Writes numbered rows to a file, as a logger does, and rotates it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine.csv"
        self.written = 0
        self.path.write_text(HEADER)

    def rows(self, count: int, *, file: Path | str | None = None) -> None:
        with Path(file or self.path).open("a") as out:
            for _ in range(count):
                out.write(f"e,{self.written}\n")
                self.written += 1

    def rename(self, name: str = "engine.csv.1", *, header: bool = True) -> None:
        self.path.rename(self.path.with_name(name))
        self.path.write_text(HEADER if header else "")

    def truncate(self, name: str = "engine.csv.1", *, header: bool = True) -> None:
        shutil.copy2(self.path, self.path.with_name(name))
        with self.path.open("r+") as file:
            file.truncate()
            file.write(HEADER if header else "")


@pytest.fixture
def logger(tmp_path: Path) -> Logger:
    return Logger(tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


def source_at(path: Path, memory: Path | None, **parameters: str) -> CsvSource:
    return open_source(SourceUri("", "csv", str(path), parameters, memory), 0.0)


class Followed:
    """A source that is followed by a thread; what it gave."""

    def __init__(self, source: CsvSource, after: int | None = None) -> None:
        self.source = source
        self.items: list[Reading | ReadingError] = []
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(after,), daemon=True)
        self._thread.start()

    def _read(self, after: int | None) -> None:
        try:
            for item in self.source.readings(after):
                self.items.append(item)
        except Exception as error:  # Told to the test.
            self.failed = error

    def values(self) -> list[int]:
        return [int(item.values[0]) for item in self.items if isinstance(item, Reading)]

    def errors(self) -> list[ReadingError]:
        return [item for item in self.items if isinstance(item, ReadingError)]

    def wait(self, count: int) -> None:
        wait_for(lambda: len(self.values()) >= count or self.failed, f"{count} rows of {self.items[-3:]}")
        assert self.failed is None

    def end(self) -> int:
        """Close the source; the last position."""
        self.source.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return positions(self.items)[-1]


def positions(items: list[Reading | ReadingError]) -> list[int]:
    return [item.position for item in items if isinstance(item, Reading)]


def kinds(errors: list[ReadingError]) -> list[str]:
    return [error.kind for error in errors]


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardware.sensors.csv.FOLLOW_S", 0.01)


@pytest.fixture
def follow(logger: Logger, memory: Path) -> Iterator[Callable[..., Followed]]:
    followed: list[Followed] = []

    def start(after: int | None = None) -> Followed:
        followed.append(Followed(source_at(logger.path, memory, follow="true"), after))
        return followed[-1]

    yield start
    for each in followed:
        each.source.close()


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


def test_a_file_that_is_away_is_waited_for_and_that_is_told(logger: Logger, follow) -> None:
    logger.rows(2)
    reader = follow()
    reader.wait(2)
    logger.path.unlink()
    wait_for(lambda: any("is gone" in str(error) for error in reader.errors()), "it is told")
    logger.path.write_text(HEADER)
    logger.rows(2)
    reader.wait(4)
    reader.end()
    assert reader.values() == list(range(4))


def test_new_columns_behind_a_rotation_are_told(logger: Logger, follow) -> None:
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
    looks = threading.Semaphore(0)
    monkeypatch.setattr(reader.source._pace, "pause", lambda _: looks.acquire())
    wait_for(lambda: len(looks._cond._waiters) == 1, "the source waits")  # type: ignore[attr-defined]  no public count
    logger.rows(4)
    logger.truncate("engine.csv.1")
    logger.rows(1)
    logger.rename("engine.csv.2")
    logger.rows(2)
    looks.release(1000)
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


def test_the_next_days_file_at_the_same_path_is_read_from_its_start(logger: Logger, memory: Path) -> None:
    logger.rows(50)
    first = list(source_at(logger.path, memory).readings(None))
    assert len(first) == 50
    last = positions(first)[-1]
    assert list(source_at(logger.path, memory).readings(last)) == []
    other = "".join(f"e,{900 + i}\n" for i in range(60))
    for text in (HEADER + other, HEADER + other[:198]):
        logger.path.write_text(text)
        told, *rows = source_at(logger.path, memory).readings(last)
        assert isinstance(told, ReadingError)
        assert told.kind == "changed"
        assert "another file" in str(told)
        assert len(rows) == text.count("\n") - 1
        assert positions(rows)[0] > last
        last = positions(rows)[-1]


def test_a_days_file_that_begins_alike_is_seen_as_another(logger: Logger, memory: Path) -> None:
    still = "".join("e,7\n" for _ in range(40))
    logger.path.write_text(HEADER + still + "e,8\n")
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.path.write_text(HEADER + still + "e,9\n" * 5)
    told, *rows = source_at(logger.path, memory).readings(last)
    assert isinstance(told, ReadingError)
    assert len(rows) == 45


def test_rows_that_were_added_are_all_that_is_read(logger: Logger, memory: Path) -> None:
    logger.rows(10)
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.rows(3)
    rows = list(source_at(logger.path, memory).readings(last))
    assert [int(row.values[0]) for row in rows if isinstance(row, Reading)] == [10, 11, 12]


def test_a_shorter_file_is_another_one_for_a_node_that_kept_only_the_position(logger: Logger) -> None:
    logger.rows(10)
    told, *rows = source_at(logger.path, None).readings(61)
    assert isinstance(told, ReadingError)
    assert positions(rows) == list(range(63, 73))


def test_what_cannot_be_found_again_is_told(logger: Logger, memory: Path) -> None:
    logger.rows(10)
    last = positions(list(source_at(logger.path, memory).readings(None)))[-1]
    logger.path.unlink()
    logger.path.write_text(HEADER + "e,100\n")
    told, _ = source_at(logger.path, memory).readings(last)
    assert "rows after its line 11, if there were any, are lost" in str(told)


def test_the_cut_row_of_a_file_that_was_rotated_away_is_told(logger: Logger, follow) -> None:
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

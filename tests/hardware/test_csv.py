"""Rows of a CSV file become readings; a bad row is told with its line and costs nothing else."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from common.app import Reading
from common.edge.sources import parse_uri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv import open_source

GOOD = "captured,subject,run,cycle,T24,T30\n"


def source_of(tmp_path: Path, text: str, query: str = ""):
    file = tmp_path / "engine.csv"
    file.write_text(text)
    return open_source(parse_uri(f"csv:{file}{query}"), 0.0)


def readings_of(
    tmp_path: Path, text: str, query: str = "", after: int | None = None
) -> list[Reading | ReadingError]:
    return list(source_of(tmp_path, text, query).readings(after))


def test_a_row_is_a_reading(tmp_path: Path) -> None:
    (reading,) = readings_of(tmp_path, GOOD + "2023-11-14T22:13:20.5Z,engine-4,2,17,642.1,1587\n")
    assert isinstance(reading, Reading)
    assert (reading.subject, reading.captured_ns, reading.position) == (
        "engine-4",
        1_700_000_000_500_000_000,
        2,
    )
    assert reading.channels == ("T24", "T30")
    assert list(reading.values) == [642.1, 1587]
    assert reading.attributes == {"run": 2, "cycle": 17}


def test_a_file_of_channels_alone_will_do(tmp_path: Path) -> None:
    readings = readings_of(tmp_path, "a;b\n1;2\n3;4\n", "?delimiter=;&period_s=2&subject=pump")
    assert [r.subject for r in readings if isinstance(r, Reading)] == ["pump", "pump"]
    first, second = readings
    assert second.captured_ns - first.captured_ns == 2 * 10**9  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,e,1,1,642", "5 columns where the header has 6"),
        ("1,e,1,1,642,1587,9", "7 columns"),
        ("1,e,1,1,hot,1587", "T24 is 'hot'"),
        ("1,e,one,1,642,1587", "run is 'one'"),
        ("yesterday,e,1,1,642,1587", "RFC 3339"),
        ("-5,e,1,1,642,1587", "seconds since 1970"),
        ("1,e,1,1,642,158\x007", ""),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_the_rest_is_read(tmp_path: Path, row: str, message: str) -> None:
    text = GOOD + "1,e,1,1,642,1587\n" + row + "\n3,e,1,3,642,1587\n"
    first, bad, last = readings_of(tmp_path, text)
    assert isinstance(first, Reading)
    assert isinstance(bad, ReadingError)
    assert "engine.csv:3" in str(bad)
    assert message in str(bad)
    assert isinstance(last, Reading)
    assert last.position == 4


def test_a_missing_value_is_nan_for_the_app_to_judge(tmp_path: Path) -> None:
    (reading,) = readings_of(tmp_path, "T24,T30\n,1587\n")
    assert isinstance(reading, Reading)
    assert math.isnan(reading.values[0])


def test_reading_goes_on_after_a_position(tmp_path: Path) -> None:
    text = "a\n" + "".join(f"{i}\n" for i in range(10))
    readings = readings_of(tmp_path, text, after=8)
    assert [r.values[0] for r in readings if isinstance(r, Reading)] == [7, 8, 9]


def test_rows_without_a_time_are_from_now_on_wherever_reading_goes_on(tmp_path: Path) -> None:
    text = "a\n" + "".join(f"{i}\n" for i in range(10))
    for after in (None, 8):
        before_ns = time.time_ns()
        first = readings_of(tmp_path, text, after=after)[0]
        assert isinstance(first, Reading)
        assert abs(first.captured_ns - before_ns) < 60 * 10**9 // 20


@pytest.mark.parametrize(
    "text", ["", "\n", "1,2,3\n4,5,6\n", "a,a\n1,2\n", "run,cycle\n1,2\n", "a,,b\n1,2,3\n"]
)
def test_a_file_without_a_usable_header_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceFormatError, match="first row"):
        source_of(tmp_path, text)


@pytest.mark.parametrize("query", ["?period_s=0", "?period_s=x", "?delimiter=ab", "?colour=red"])
def test_a_wrong_parameter_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(SourceFormatError):
        source_of(tmp_path, "a\n1\n", query)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"absent\.csv"):
        open_source(parse_uri(f"csv:{tmp_path}/absent.csv"), 0.0)

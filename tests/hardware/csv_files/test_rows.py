"""Rows of a CSV file become readings; a bad row is reported with its line and costs nothing else."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from apps.industrial.app import SPEC
from common.app.edge import Reading
from common.edge.sensing.sources import open_source as open_any
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv import open_source

GOOD = "captured,subject,run,cycle,T24,T30\n"


def source_of(tmp_path: Path, text: str | bytes, query: str = ""):
    file = tmp_path / "engine.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source(parse_uri(f"csv:{file}{query}"), 0.0)


def readings_of(
    tmp_path: Path, text: str | bytes, query: str = "", after: int | None = None
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
    first, second = (each for each in readings if isinstance(each, Reading))
    assert first.subject == second.subject == "pump"
    assert second.captured_ns - first.captured_ns == 2 * 10**9


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,e,1,1,642", "5 columns where the header has 6"),
        ("1,e,1,1,642,1587,9", "7 columns"),
        ("1,e,1,1,hot,1587", "column 5 (T24) is 'hot', not a number"),
        ("1,e,1,12.5,642,1587", "column 4 (cycle) is '12.5', not a whole number"),
        ("1,e,1,,642,1587", "column 4 (cycle) is empty"),
        ("1,,1,1,642,1587", "column 2 (subject) is empty"),
        ("1,e,1,1,642,1_587", "thousands separators"),
        ('1,e,1,1,642,"1,587.5"', "thousands separators"),
        ("1,e,1,1,642,1 587", "thousands separators"),
        ('1,e,1,1,642,"1587', "a quote is not closed"),
        ("1,e,1,1,642," + "1" * 70000, "longer than 65536 bytes"),
        ("1764000000000,e,1,1,642,1587", "milliseconds are not read"),
        ("2026-11-01 00:00:00,e,1,1,642,1587", "zone=Europe/Berlin"),
        ("0901-11-01T00:00:00Z,e,1,1,642,1587", "1678 to 2261"),
        ("1,e,one,1,642,1587", "column 3 (run) is 'one'"),
        ("yesterday,e,1,1,642,1587", "RFC 3339"),
        ("-5,e,1,1,642,1587", "seconds since 1970"),
        ("1,e,1,1,642,158\x007", "NUL"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_the_rest_is_read(
    tmp_path: Path, row: str, message: str
) -> None:
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


@pytest.mark.parametrize("query", ["", "?follow=true"])
def test_times_of_a_column_are_recorded_and_those_of_the_clock_are_not(tmp_path: Path, query: str) -> None:
    for text, recorded in ((f"{GOOD}2023-11-14T22:13:20Z,e,1,1,1,2\n", True), ("a\n1\n", False)):
        source = source_of(tmp_path, text, query)
        reading = next(iter(source.readings(None)))
        source.close()
        assert isinstance(reading, Reading)
        assert reading.recorded is recorded


def test_a_header_may_be_written_in_any_usual_way(tmp_path: Path) -> None:
    row = "e-1", 7, (642.5, 1587.0)
    for text in (
        "subject,cycle,T24,T30\ne-1,7,642.5,1587\n",
        "\ufeffsubject,cycle,T24,T30\ne-1,7,642.5,1587\n",
        "Subject,CYCLE,T24,T30\r\ne-1,7.0,642.5,1587\r\n",
        "subject,cycle,T24,T30,\ne-1,7,642.5,1587,\n",
        "subject,cycle,T24,T30,,\ne-1,7,642.5,1587\n",
        "subject,cycle,T24,T30\ne-1,7,642.5,1587,,\n",
        '"subject", "cycle", "T24", "T30"\n"e-1", "7", "642.5", "1587"\n',
        "subject;cycle;T24;T30\ne-1;7;642.5;1587\n",
        "subject\tcycle\tT24\tT30\ne-1\t7\t642.5\t1587\n",
        "sep=;\r\nsubject;cycle;T24;T30\r\ne-1;7;642.5;1587\r\n",
        "subject , cycle , T24 , T30\n e-1 , 7 , 642.5 , 1587 \n\n",
    ):
        (reading,) = readings_of(tmp_path, text)
        assert isinstance(reading, Reading), (text, reading)
        assert reading.channels == ("T24", "T30")
        assert (reading.subject, reading.attributes["cycle"], tuple(reading.values)) == row


def test_a_decimal_comma_is_read_where_the_source_declares_it(tmp_path: Path) -> None:
    text = "cycle;T24;T30\n7,0;-642,5;1,5e3\n8;;3\n9;1.5;3\n10;1.234,5;3\n11;1,234,567;3\n"
    first, second, *bad = readings_of(tmp_path, text, "?decimal=comma")
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    assert list(first.values) == [-642.5, 1500]
    assert first.attributes == {"cycle": 7}
    assert math.isnan(second.values[0])
    assert [isinstance(error, ReadingError) for error in bad] == [True] * 3
    assert all("thousands separators" in str(error) for error in bad)
    quoted = readings_of(tmp_path, 'T24,T30\n"642,5","1587,25"\n', "?decimal=,")
    assert [list(r.values) for r in quoted if isinstance(r, Reading)] == [[642.5, 1587.25]]


@pytest.mark.parametrize(
    "text", ["cycle;T24\n1;642,5\n", 'T24,T30\n"642,5",3\n', "cycle;T24\n1;1,5e3\n", "a;b\n-1,5;2\n"]
)
def test_a_decimal_comma_is_refused_at_open_with_the_option_that_reads_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceFormatError, match=r"engine\.csv:2: column .* decimal=comma"):
        source_of(tmp_path, text)


def test_a_comma_further_down_is_reported_with_the_option_too(tmp_path: Path) -> None:
    _, bad = readings_of(tmp_path, "a;b\n1;2\n1;2,5\n")
    assert "column 2 (b) is '2,5': for a decimal comma, add decimal=comma" in str(bad)
    _, bad = readings_of(tmp_path, "a,b\n1,2\n1,5,2,5\n")
    assert "4 columns where the header has 2" in str(bad)
    assert "decimal comma" in str(bad)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("2026-11-01T02:30:00+02:00", ""),
        ("2026-11-01 00:30:00Z", ""),
        ("2026-10-31T19:30:00.000-05:00", ""),
        ("2026-11-01T00:30:00+0000", ""),
        ("2026-11-01T00:30", "?zone=UTC"),
        ("2026-11-01 02:30:00", "?zone=%2B02:00"),
        ("2026-11-01 01:30:00", "?zone=Europe/Berlin"),
        ("2026-11-01T00:30:00Z", "?zone=Europe/Berlin"),
        ("1793493000", ""),
        ("1793493000.0", ""),
    ],
)
def test_a_time_is_converted_to_utc(tmp_path: Path, text: str, query: str) -> None:
    (reading,) = readings_of(tmp_path, f"captured,a\n{text},1\n", query)
    assert isinstance(reading, Reading)
    assert reading.captured_ns == 1_793_493_000 * 10**9


def test_a_fraction_of_a_second_is_kept_to_the_nanosecond(tmp_path: Path) -> None:
    (reading,) = readings_of(tmp_path, "captured,a\n2023-11-14T23:13:20.123456789+01:00,1\n")
    assert isinstance(reading, Reading)
    assert reading.captured_ns == 1_700_000_000_123_456_789


def test_a_time_without_a_zone_is_refused_at_open(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"without a zone.*add zone=UTC"):
        source_of(tmp_path, "captured,a\n2026-11-01 00:00:00,1\n")


def test_columns_that_are_no_sensors_are_left_out_by_name(tmp_path: Path) -> None:
    text = "a,operator,b,note\n1,Ann,2,\xe9\n"
    (reading,) = readings_of(tmp_path, text, "?ignore=operator,note")
    assert isinstance(reading, Reading)
    assert reading.channels == ("a", "b")
    (bad,) = readings_of(tmp_path, text)
    assert "column 2 (operator) is 'Ann', not a number; a column that is no sensor" in str(bad)
    with pytest.raises(SourceFormatError, match="there is no such column; there are a, operator, b, note"):
        source_of(tmp_path, text, "?ignore=Operator")


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "#N/A", "null", "-"])
def test_what_stands_for_no_value_is_nan(tmp_path: Path, cell: str) -> None:
    (reading,) = readings_of(tmp_path, f"a,b\n{cell},2\n")
    assert isinstance(reading, Reading)
    assert math.isnan(reading.values[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first row must name the columns"),
        ("\n", "first row must name the columns"),
        ("a,b", "first row must name the columns and end with a line break"),
        ("1,2,3\n4,5,6\n", "first row must name the columns"),
        ("a,b,a\n1,2,3\n", "names 'a' twice, in columns 1 and 3"),
        ("Cycle,cycle,a\n1,2,3\n", "names 'cycle' twice"),
        ("run,cycle\n1,2\n", "no column of sensor values"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        (",a,b\n0,1,2\n", "column 1 has no name"),
        ('"a,b\n1,2\n', "a quote is not closed"),
        ("a,b\r1,2\r3,4\r\n", "CR alone"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16"),
        ("a,T [\xb0C]\n1,2\n".encode("latin-1"), "byte 0xb0.*encoding=cp1252"),
        ("a," * 40000 + "b\n", "longer than 65536 bytes"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SourceFormatError, match=message):
        source_of(tmp_path, text)


def test_the_delimiter_of_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="another delimiter="):
        source_of(tmp_path, "a;b\n1;2\n", "?delimiter=comma")


def test_another_encoding_is_read_where_the_source_declares_it(tmp_path: Path) -> None:
    text = "subject,T [\xb0C]\nM\xfcller,2\n".encode("latin-1")
    (reading,) = readings_of(tmp_path, text, "?encoding=cp1252")
    assert isinstance(reading, Reading)
    assert (reading.subject, reading.channels) == ("M\xfcller", ("T [\xb0C]",))
    (bad,) = readings_of(tmp_path, b"subject,a\nM\xfcller,2\n")
    assert "encoding=" in str(bad)


def test_a_last_row_without_a_line_break_is_reported_and_read_only_if_the_source_declares_it(
    tmp_path: Path,
) -> None:
    text = "a,b\n1,2\n3,2"
    first, cut = readings_of(tmp_path, text)
    assert isinstance(first, Reading)
    assert "engine.csv:3: the last row has no line break" in str(cut)
    assert "last_row=read" in str(cut)
    _, last = readings_of(tmp_path, text, "?last_row=read")
    assert isinstance(last, Reading)
    assert list(last.values) == [3, 2]
    assert readings_of(tmp_path, text, "?last_row=read", after=3) == []


def test_a_header_alone_gives_nothing(tmp_path: Path) -> None:
    assert readings_of(tmp_path, "a,b\n") == []


def test_an_app_is_given_no_source_that_lacks_what_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "engine.csv"
    file.write_text("subject,T24,T50\ne,1,2\n")
    with pytest.raises(
        SourceFormatError, match=r"lacks T30, P15, .*which the app 'industrial' needs; it has T24"
    ):
        open_any(f"csv:{file}", SPEC, 0.0)


@pytest.mark.parametrize("name", [".", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceFormatError, match="is not a file"):
        open_source(parse_uri(f"csv:{tmp_path / name}"), 0.0)


@pytest.mark.parametrize(
    "query",
    [
        "?period_s=0",
        "?period_s=x",
        "?delimiter=ab",
        "?colour=red",
        "?decimal=;",
        "?zone=Moon",
        "?follow=maybe",
        "?encoding=x",
    ],
)
def test_a_wrong_parameter_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(SourceFormatError):
        source_of(tmp_path, "a\n1\n", query)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"absent\.csv"):
        open_source(parse_uri(f"csv:{tmp_path}/absent.csv"), 0.0)

"""Records of PhysioNet are read to the byte; what is wrong with one is reported, and the rest is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.edge import filters
from common.app.edge import Reading
from common.app.spec import find_app
from common.edge.sensing import sources
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.wfdb import open_source

# A record written by hand from signal(5): two signals in format 212, samples (0, -1), (1, -2048), (2047, 5).
PAIRS = bytes([0x00, 0xF0, 0xFF, 0x01, 0x80, 0x00, 0xFF, 0x07, 0x05])
HEADER = "r 2 360 3\nr.dat 212 200(1)/mV 12 0 0 2048 0 MLII\nr.dat 212 100 12 0 -1 -2044 0 V5\n"


def items(
    folder: Path, query: str = "", after: int | None = None, record: str = "r"
) -> list[Reading | ReadingError]:
    return list(open_source(parse_uri(f"wfdb:{folder / record}{query}"), 0.0).readings(after))


def values(found: Sequence[Reading | ReadingError]) -> np.ndarray:
    return np.concatenate([item.values for item in found if isinstance(item, Reading)])


def problems(found: list[Reading | ReadingError]) -> list[str]:
    return [str(item) for item in found if isinstance(item, ReadingError)]


def write(folder: Path, header: str = HEADER, raw: bytes = PAIRS) -> Path:
    (folder / "r.hea").write_text(header)
    (folder / "r.dat").write_bytes(raw)
    return folder


def test_samples_are_millivolts_and_what_is_none_is_nan(tmp_path: Path) -> None:
    (reading,) = items(write(tmp_path))
    assert isinstance(reading, Reading)
    assert np.array_equal(
        reading.values, [[-1 / 200, -1 / 100], [0.0, np.nan], [2046 / 200, 5 / 100]], equal_nan=True
    )
    assert (reading.channels, reading.rate_hz, reading.subject) == (("MLII", "V5"), 360.0, "r")
    assert (reading.position, reading.attributes) == (1, {"first_sample": 0, "last": True})


@pytest.mark.parametrize(
    ("name", "raw", "stored"),
    [
        ("16", bytes([0x01, 0x00, 0xFF, 0xFF, 0x00, 0x80]), [1, -1, None]),
        ("61", bytes([0x00, 0x01, 0xFF, 0xFF, 0x80, 0x00]), [1, -1, None]),
        ("160", bytes([0x01, 0x80, 0xFF, 0x7F, 0x00, 0x00]), [1, -1, None]),
        ("80", bytes([0x81, 0x7F, 0x00]), [1, -1, None]),
        ("24", bytes([0x01, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x80]), [1, -1, None]),
        ("32", bytes([1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0x80]), [1, -1, None]),
        ("212", bytes([0x01, 0xF0, 0xFF, 0x00, 0x08]), [1, -1, None]),
    ],
)
def test_every_format_is_read_to_the_byte(
    tmp_path: Path, name: str, raw: bytes, stored: list[int | None]
) -> None:
    write(tmp_path, f"r 1 250\nr.dat {name}+2 1 12 0 0 0 0 II\n", b"xx" + raw)
    expected = [np.nan if value is None else value for value in stored]
    assert np.array_equal(values(items(tmp_path))[:, 0], expected, equal_nan=True)


def test_several_samples_in_a_frame_are_a_higher_rate(tmp_path: Path) -> None:
    raw = np.array([[1, 2, 90], [3, 4, 91], [5, 6, 92]], "<i2").tobytes()
    write(tmp_path, "r 2 100 3\nr.dat 16x2 1 12 0 0 21 0 II\nr.dat 16 1/mV 12 0 0 273 0 resp\n", raw)
    found = items(tmp_path, "?chunk_s=0.015")
    assert not problems(found)
    assert np.array_equal(values(found)[:, 0], [1, 2, 3, 4, 5, 6])
    assert {(r.rate_hz, r.channels) for r in found if isinstance(r, Reading)} == {(200.0, ("II",))}


def test_a_unit_is_scaled_and_pressure_left_out(tmp_path: Path) -> None:
    raw = np.array([[1500, 80]], "<i2").tobytes()
    write(tmp_path, "r 2 250 1\nr.dat 16 1/uV 16 0 0 1500 0 II\nr.dat 16 1/mmHg 16 0 0 80 0 ABP\n", raw)
    assert np.array_equal(values(items(tmp_path)), [[1.5]])


def test_chunks_count_on_and_reading_goes_on_after_one(tmp_path: Path) -> None:
    raw = np.arange(2500, dtype="<i2").tobytes()
    write(tmp_path, "r 1 250 0 10:00:00.500 01/02/2024\nr.dat 16 1000 16 0 0 -17746 0 II\n", raw)
    whole = [item for item in items(tmp_path) if isinstance(item, Reading)]
    assert [r.attributes.get("last") for r in whole] == [*[None] * 9, True]
    assert whole[0].captured_ns == 1_706_781_600_500_000_000
    assert [r.position for r in whole] == list(range(1, 11))
    assert np.array_equal(values(whole)[:, 0], np.arange(2500) / 1000)
    assert whole[1].captured_ns - whole[0].captured_ns == 10**9
    rest = [item for item in items(tmp_path, after=7) if isinstance(item, Reading)]
    assert [(r.position, r.attributes["first_sample"], r.captured_ns) for r in rest] == [
        (r.position, r.attributes["first_sample"], r.captured_ns) for r in whole[7:]
    ]


def test_the_time_is_as_recorded_or_as_set(tmp_path: Path) -> None:
    write(tmp_path, HEADER.replace("360 3", "360 3 12:00:00 31/12/2023"))
    (recorded,) = items(tmp_path)
    (reported,) = items(tmp_path, "?start=2026-01-01T00:00:00Z")
    assert isinstance(recorded, Reading)
    assert isinstance(reported, Reading)
    assert recorded.captured_ns == 1_704_024_000_000_000_000
    assert reported.captured_ns == 1_767_225_600_000_000_000
    assert recorded.recorded
    (now,) = items(tmp_path, "?start=now")
    assert isinstance(now, Reading)
    assert not now.recorded, "by this device's clock"


def test_leads_are_picked_by_name(tmp_path: Path) -> None:
    (reading,) = items(write(tmp_path), "?leads=V5")
    assert isinstance(reading, Reading)
    assert reading.channels == ("V5",)
    with pytest.raises(SourceFormatError, match="no lead 'III' in volts; it has MLII, V5"):
        items(tmp_path, "?leads=III")


@pytest.mark.parametrize("name", ["", "noise1", "PLETH", "Resp II"])
def test_a_signal_without_an_ecg_label_is_taken_by_name_only(tmp_path: Path, name: str) -> None:
    raw = np.arange(500, dtype="<i2").tobytes()
    write(tmp_path, f"r 1 250\nr.dat 16 1000 16 0 0 0 0 {name}\n", raw)
    with pytest.raises(SourceFormatError, match=rf"choose with leads={name or 'signal 1'}"):
        items(tmp_path)
    found = items(tmp_path, f"?leads={name or 'signal 1'}")
    assert {r.channels for r in found if isinstance(r, Reading)} == {(name or "signal 1",)}


@pytest.mark.parametrize(
    ("date", "start_ns"),
    [
        ("00:00:00 01/01/1678", -9_214_560_000_000_000_000),
        ("17:47:00.123456789 28/04/1899", -2_230_351_979_876_543_211),
        ("17:47:00.123 28/04/2191", 6_984_294_420_123_000_000),
        ("23:59:59 31/12/2261", 9_214_646_399_000_000_000),
    ],
)
def test_a_shifted_date_is_kept_to_the_nanosecond(tmp_path: Path, date: str, start_ns: int) -> None:
    (found,) = items(write(tmp_path, HEADER.replace("360 3", f"360 3 {date}")))
    assert isinstance(found, Reading)
    assert found.captured_ns == start_ns


@pytest.mark.parametrize(
    "date", ["12:00:00 28/04/3036", "23:59:59 31/12/1677", "23:59:59.995 31/12/2261", "00:00:00 01/01/2262"]
)
def test_a_date_that_no_clock_holds_is_refused_unless_another_is_given(tmp_path: Path, date: str) -> None:
    write(tmp_path, HEADER.replace("360 3", f"360 3 {date}"))
    with pytest.raises(SourceFormatError, match=r"recorded in (3036|1677|226[12]).*1678 to 2261.*start=now"):
        items(tmp_path)
    assert len(values(items(tmp_path, "?start=2026-01-01T00:00:00Z"))) == 3


def test_a_start_that_is_no_date_is_reported(tmp_path: Path) -> None:
    found = items(write(tmp_path, HEADER.replace("360 3", "360 3 12:00:00 31/02/2024")))
    assert "'12:00:00 31/02/2024' is no time and date" in problems(found)[0]


def test_a_wrong_checksum_is_reported_and_the_record_read(tmp_path: Path) -> None:
    found = items(write(tmp_path, raw=PAIRS[:-1] + b"\x06"))
    assert len(problems(found)) == 1
    assert "checksum of V5" in problems(found)[0]
    assert len(values(found)) == 3


def test_a_file_that_ends_early_is_reported_and_read_to_its_end(tmp_path: Path) -> None:
    found = items(write(tmp_path, raw=PAIRS[:7]))
    assert "ends after 2 of 3 samples" in problems(found)[0]
    assert len(values(found)) == 2


@pytest.mark.parametrize(("gain", "word"), [("0", "no gain"), ("0.001", "cannot be"), ("1e9", "cannot be")])
def test_an_absurd_gain_is_reported(tmp_path: Path, gain: str, word: str) -> None:
    found = items(write(tmp_path, HEADER.replace(" 100 ", f" {gain} ")))
    assert len(problems(found)) == 1
    assert "V5" in problems(found)[0]
    assert word in problems(found)[0]
    assert not np.isnan(values(found)[:, 0]).any()
    assert np.isnan(values(found)[:, 1]).sum() == (1 if gain == "0" else 3)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "not the header of a record"),
        ("<html>", "not the header of a record"),
        ("r 2 360 3\nr.dat 212 200\n", "2 signals are announced, 1 described"),
        ("r 1 fast 3\nr.dat 212 200\n", "no usable rate"),
        ("r 1 -3 3\nr.dat 212 200\n", "no usable rate"),
        ("r/3 1 360 3\nr.dat 212 200\n", "several segments"),
        ("r 1 360 3\nr.dat 516 200\n", "format 516 cannot be read"),
        ("r 1 360 3\nr.dat 212:4 200\n", "skewed"),
        ("r 1 360 3\nr.dat\n", "r.hea:2: .* does not describe a signal"),
        ("r 1 360 3\nr.dat 212 200 12 zero\n", "does not describe a signal"),
        ("r 1 360 3\n../r.dat 212 200\n", "not a file beside the header"),
        ("r 1 360 3\nabsent.dat 212 200\n", "absent.dat cannot be read"),
        ("r 1 360 3\nr.dat 212 200/mmHg\n", "no signal in volts"),
        ("r 2 360 3\nr.dat 212 200\nr.dat 16 200\n", "one format"),
    ],
)
def test_a_wrong_header_is_refused_with_its_place(tmp_path: Path, header: str, message: str) -> None:
    write(tmp_path, header)
    with pytest.raises(SourceFormatError, match=message):
        items(tmp_path)


def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"absent\.hea"):
        items(tmp_path, record="absent")
    write(tmp_path, raw=b"")
    with pytest.raises(SourceFormatError, match="no samples"):
        items(tmp_path)


@pytest.mark.parametrize("query", ["?chunk_s=0", "?chunk_s=x", "?colour=red", "?start=soon"])
def test_a_wrong_parameter_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(SourceFormatError):
        items(write(tmp_path), query)


def test_a_relative_path_is_found_among_the_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets").mkdir()
    write(tmp_path / "sets")
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path))
    assert len(list(open_source(parse_uri("wfdb:sets/r"), 0.0).readings(None))) == 1


def test_records_of_mitdb_are_as_the_wfdb_package_reads_them() -> None:
    folder = Path(os.environ.get("EDGELOOP_DATA", "../shared/data")) / "mitdb"
    if not (folder / "100.hea").is_file():
        pytest.skip("mitdb is not under EDGELOOP_DATA")
    package = pytest.importorskip("wfdb", reason="wfdb is not installed")
    for record in ("114", "207"):
        theirs = package.rdrecord(str(folder / record))
        found = items(folder, record=record, query="?chunk_s=10")
        assert problems(found) == []
        assert np.array_equal(values(found), theirs.p_signal)
        first = found[0]
        assert isinstance(first, Reading)
        assert (list(first.channels), first.rate_hz) == (theirs.sig_name, theirs.fs)


@pytest.mark.parametrize("name", ["16", "24", "32", "80", "212"])
def test_records_that_the_wfdb_package_writes_are_read_alike(tmp_path: Path, name: str) -> None:
    package = pytest.importorskip("wfdb", reason="wfdb is not installed")
    random = np.random.default_rng(1)
    stored = random.integers(-127, 128, (999, 3))
    package.wrsamp("w", 500, ["mV"] * 3, ["I", "II", "III"], d_signal=stored, fmt=[name] * 3,
                   adc_gain=[100.0] * 3, baseline=[0, 3, -3], write_dir=str(tmp_path))  # fmt: skip
    found = items(tmp_path, record="w", query="?chunk_s=0.1")
    assert problems(found) == []
    assert np.array_equal(values(found), package.rdrecord(str(tmp_path / "w")).p_signal)


@pytest.mark.parametrize(
    ("rate_hz", "taken"), [(100, False), (124.9, False), (125, True), (1000, True), (2000, False)]
)
def test_a_rate_that_the_app_does_not_take_is_refused_at_open(
    tmp_path: Path, rate_hz: float, taken: bool
) -> None:
    write(tmp_path, HEADER.replace("r 2 360 3", f"r 2 {rate_hz} 3"))
    uri = f"wfdb:{tmp_path / 'r'}"
    if taken:
        sources.open_source(uri, find_app("ecg"), 0.0).close()
        return
    with pytest.raises(SourceFormatError, match=rf"sampled at {rate_hz:g} Hz.*125 to 1000 Hz"):
        sources.open_source(uri, find_app("ecg"), 0.0)


def test_the_app_declares_the_rates_of_its_filters() -> None:
    assert find_app("ecg").rates_hz == (filters.MIN_RATE_HZ, filters.MAX_RATE_HZ)

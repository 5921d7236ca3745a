"""EDF and EDF+ files are read to the byte; gaps show, and what is wrong with a file is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from common.app.edge import Reading
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.edf import open_source


@dataclass
class Written:
    """A signal of a file that the test writes."""

    label: str
    samples: np.ndarray
    """``(records, samples in a record)``"""
    unit: str = "uV"
    physical: tuple[str, str] = ("-3277", "3276.8")
    digital: tuple[str, str] = ("-32768", "32767")


@dataclass
class File:
    signals: list[Written]
    kind: str = ""
    record_s: str = "1"
    records: str | None = None
    started: str = "02.03.2408.09.10"
    changes: dict[int, bytes] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """The file, byte by byte as the specification has it."""

        def text(value: str, width: int) -> bytes:
            return value.encode("latin-1").ljust(width)

        count, records = len(self.signals), len(self.signals[0].samples)
        head = (
            text("0", 8) + text("MCH-0234567 F 02-MAY-1951 Haagse_Harry", 80) + text("Startdate X X X X", 80)
        )
        head += self.started.encode() + text(str(256 * (count + 1)), 8) + text(self.kind, 44)
        head += text(self.records or str(records), 8) + text(self.record_s, 8) + text(str(count), 4)
        columns = [
            [text(s.label, 16) for s in self.signals], [text("", 80)] * count,
            [text(s.unit, 8) for s in self.signals],
            [text(s.physical[0], 8) for s in self.signals], [text(s.physical[1], 8) for s in self.signals],
            [text(s.digital[0], 8) for s in self.signals], [text(s.digital[1], 8) for s in self.signals],
            [text("HP:0.05Hz", 80)] * count, [text(str(s.samples.shape[1]), 8) for s in self.signals],
            [text("", 32)] * count,
        ]  # fmt: skip
        raw = bytearray(head + b"".join(b"".join(column) for column in columns))
        for place, new in self.changes.items():
            raw[place : place + len(new)] = new
        for record in range(records):
            for signal in self.signals:
                raw += signal.samples[record].astype("<i2").tobytes()
        path.write_bytes(raw)
        return path


def ramp(records: int, rate: int, start: int = 0) -> np.ndarray:
    return (start + np.arange(records * rate)).reshape(records, rate)


def onsets(*times: str) -> Written:
    """The signal that keeps the time of data records, 16 bytes in each."""
    raw = b"".join(f"+{time}\x14\x14\x00".encode().ljust(16, b"\0") for time in times)
    return Written("EDF Annotations", np.frombuffer(raw, "<i2").reshape(len(times), 8), "", ("-1", "1"))


def items(path: Path, query: str = "", after: int | None = None) -> list[Reading | ReadingError]:
    return list(open_source(parse_uri(f"edf:{path}{query}"), 0.0).readings(after))


def readings(path: Path, query: str = "", after: int | None = None) -> list[Reading]:
    found = items(path, query, after)
    assert all(isinstance(item, Reading) for item in found), found
    return [item for item in found if isinstance(item, Reading)]


def test_samples_are_millivolts(tmp_path: Path) -> None:
    path = File([Written("ECG II", np.array([[0, 10, -10, 32767, -32768]]))]).write(tmp_path / "a.edf")
    (reading,) = readings(path)
    assert np.allclose(reading.values[:, 0], [0.0, 0.001, -0.001, 3.2768, -3.277], atol=6e-5)
    assert reading.values[3, 0] == pytest.approx(3.2768, abs=1e-12)
    assert reading.values[4, 0] == pytest.approx(-3.277, abs=1e-12)
    assert (reading.subject, reading.channels, reading.rate_hz) == ("a", ("II",), 5.0)
    assert reading.captured_ns == 1_709_366_950_000_000_000  # 2024-03-02T08:09:10Z


def test_the_units_are_those_of_the_header(tmp_path: Path) -> None:
    one = np.array([[1000]])
    signals = [
        Written("V1", one, "uV", ("-32768", "32767")),
        Written("V2", one, "mV", ("-32.768", "32.767")),
        Written("V3", one, "V", ("-0.03277", "0.032767")),
    ]
    (reading,) = readings(File(signals).write(tmp_path / "a.edf"))
    assert np.allclose(reading.values, 1.0, atol=2e-3)
    assert reading.values[0, 0] == pytest.approx(1.0, abs=1e-12)


def test_only_the_ecg_at_its_own_rate_is_taken(tmp_path: Path) -> None:
    signals = [
        Written("EEG Fpz-Cz", ramp(3, 100)), Written("ECG I", ramp(3, 250)), Written("SaO2", ramp(3, 1), "%"),
        Written("EKG V2", ramp(3, 250, 7)), Written("ECG V3", ramp(3, 500)), onsets("0", "1", "2"),
    ]  # fmt: skip
    path = File(signals, "EDF+C").write(tmp_path / "a.edf")
    reported, *found = items(path)
    assert "V3 is sampled at another rate than I and left out; leads=V3 takes it instead" in str(reported)
    found = [item for item in found if isinstance(item, Reading)]
    assert [(r.channels, r.rate_hz, len(r.values)) for r in found] == [(("I", "V2"), 250.0, 250)] * 3
    first = np.concatenate([r.values for r in found])
    assert np.allclose(np.diff(first[:, 0]), 6553.8e-3 / 65535, atol=1e-12)
    (_, second, _) = readings(tmp_path / "a.edf", "?leads=EEG Fpz-Cz")
    assert (second.channels, second.rate_hz) == (("EEG Fpz-Cz",), 100.0)
    with pytest.raises(SourceFormatError, match="not at one rate"):
        items(tmp_path / "a.edf", "?leads=I,V3")
    with pytest.raises(SourceFormatError, match="no lead 'SaO2' in volts"):
        items(tmp_path / "a.edf", "?leads=SaO2")


@pytest.mark.parametrize("record_s", ["0.25", "10"])
def test_chunks_do_not_depend_on_the_data_records(tmp_path: Path, record_s: str) -> None:
    rate = round(200 * float(record_s))
    path = File([Written("ECG", ramp(1000 // rate or 1, rate))], record_s=record_s).write(tmp_path / "a.edf")
    found = readings(path, "?chunk_s=0.7")
    assert {len(r.values) for r in found[:-1]} == {140}
    whole = np.concatenate([r.values for r in found])[:, 0]
    assert np.allclose(np.diff(whole), 6553.8e-3 / 65535, atol=1e-12)
    rest = readings(path, "?chunk_s=0.7", after=3)
    assert [(r.position, r.attributes["first_sample"]) for r in rest] == [
        (r.position, r.attributes["first_sample"]) for r in found[3:]
    ]
    assert np.array_equal(rest[0].values, found[3].values)


def test_a_gap_in_a_discontinuous_recording_shows(tmp_path: Path) -> None:
    signals = [Written("ECG", ramp(4, 100)), onsets("0", "1", "63.5", "64.5")]
    path = File(signals, "EDF+D").write(tmp_path / "a.edf")
    found = readings(path, "?chunk_s=1.5")
    assert [(r.attributes["first_sample"], len(r.values)) for r in found] == [
        (0, 150), (150, 50), (6350, 150), (6500, 50)
    ]  # fmt: skip
    assert found[2].captured_ns - found[0].captured_ns == 63_500_000_000


@pytest.mark.parametrize("times", [("0", "5", "4"), ("0", "", "2")])
def test_a_discontinuous_recording_without_its_times_is_refused(
    tmp_path: Path, times: tuple[str, ...]
) -> None:
    path = File([Written("ECG", ramp(3, 100)), onsets(*times)], "EDF+D").write(tmp_path / "a.edf")
    with pytest.raises(SourceFormatError, match=r"in order|has no time"):
        items(path)


def test_a_file_that_ends_early_is_reported_and_read_to_its_end(tmp_path: Path) -> None:
    path = File([Written("ECG", ramp(5, 100))]).write(tmp_path / "a.edf")
    path.write_bytes(path.read_bytes()[:-250])
    problem, *rest = items(path)
    assert isinstance(problem, ReadingError)
    assert "after 3 of 5 data records" in str(problem)
    assert len(rest) == 3


def test_a_recording_that_was_never_closed_is_read(tmp_path: Path) -> None:
    assert len(readings(File([Written("ECG", ramp(5, 100))], records="-1").write(tmp_path / "a.edf"))) == 5


@pytest.mark.parametrize(
    "odd",
    [
        Written("ECG V1", ramp(1, 9), digital=("5", "5")),
        Written("ECG V1", ramp(1, 9), physical=("0", "0")),
        Written("ECG V1", ramp(1, 9), physical=("-9e9", "9e9")),
    ],
)
def test_an_absurd_scale_is_reported_and_its_samples_left_out(tmp_path: Path, odd: Written) -> None:
    problem, reading = items(File([Written("ECG II", ramp(1, 9)), odd]).write(tmp_path / "a.edf"))
    assert isinstance(problem, ReadingError)
    assert "ECG V1" in str(problem)
    assert isinstance(reading, Reading)
    assert np.isnan(reading.values[:, 1]).all()
    assert not np.isnan(reading.values[:, 0]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: b"1"}, "must begin with version 0"),
        ({252: b"two "}, "number of signals is 'two'"),
        ({252: b"7   "}, "does not go with 7 signals"),
        ({184: b"512x    "}, "header size"),
        ({244: b"0       "}, "no duration"),
        ({244: b"soon    "}, "duration of a data record is 'soon'"),
        ({256 + 216: b"0       "}, "0 samples"),
        ({256 + 104: b"lots    "}, "physical minimum is 'lots'"),
        ({256 + 96: b"mmHg    "}, "no signal in volts"),
    ],
)
def test_a_wrong_header_is_refused_with_the_field(
    tmp_path: Path, changes: dict[int, bytes], message: str
) -> None:
    with pytest.raises(SourceFormatError, match=message):
        items(File([Written("ECG", ramp(2, 100))], changes=changes).write(tmp_path / "a.edf"))


def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"absent\.edf"):
        items(tmp_path / "absent.edf")
    path = File([Written("ECG", ramp(2, 100))]).write(tmp_path / "a.edf")
    path.write_bytes(path.read_bytes()[:512])
    with pytest.raises(SourceFormatError, match="no data records"):
        items(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceFormatError, match="header ends early"):
        items(path)


def test_a_file_without_an_ecg_label_is_refused_with_its_labels(tmp_path: Path) -> None:
    signals = [Written("C3", ramp(2, 256)), Written("Chin1", ramp(2, 256)), Written("LOC", ramp(2, 256))]
    path = File(signals).write(tmp_path / "a.edf")
    with pytest.raises(SourceFormatError, match="It has C3, Chin1, LOC: choose with leads=C3"):
        items(path)
    assert {r.channels for r in readings(path, "?leads=loc")} == {("LOC",)}


def test_the_fraction_of_the_first_onset_is_kept(tmp_path: Path) -> None:
    signals = [Written("ECG", ramp(2, 100)), onsets("0.123456", "1.123456")]
    (first, second) = readings(File(signals, "EDF+C").write(tmp_path / "a.edf"))
    assert first.captured_ns == 1_709_366_950_123_456_000
    assert second.captured_ns - first.captured_ns == 10**9
    signals = [Written("ECG", ramp(2, 100)), onsets("0.25", "9.25")]
    (first, second) = readings(File(signals, "EDF+D").write(tmp_path / "a.edf"))
    assert (first.captured_ns, second.captured_ns) == (1_709_366_950_250_000_000, 1_709_366_959_250_000_000)


@pytest.mark.parametrize(("year", "start_ns"), [(1899, -2_235_311_450), (2191, 6_979_334_950), (3036, None)])
def test_a_full_year_of_edf_plus_is_believed(tmp_path: Path, year: int, start_ns: int | None) -> None:
    changes = {88: f"Startdate 02-MAR-{year} X X X".encode()}
    path = File([Written("ECG", ramp(2, 100))], "EDF+C", changes=changes).write(tmp_path / "a.edf")
    if start_ns is None:
        with pytest.raises(SourceFormatError, match=r"recorded in 3036.*start=now"):
            items(path)
    else:
        assert readings(path)[0].captured_ns == start_ns * 10**9


def test_the_recorders_filter_is_passed_on(tmp_path: Path) -> None:
    place = 256 + 16 + 80 + 8 * 5
    changes = {place: b"HP:0.5Hz LP:40Hz N:50Hz"}
    path = File([Written("ECG", ramp(2, 100))], changes=changes).write(tmp_path / "a.edf")
    assert readings(path)[0].attributes["low_pass_hz"] == 40.0


def test_files_of_edfio_are_read_alike(tmp_path: Path) -> None:
    edfio = pytest.importorskip("edfio", reason="edfio is not installed")
    random = np.random.default_rng(2)
    data = random.normal(0, 500, (2, 2560))
    signals = [
        edfio.EdfSignal(data[k], 256, label=name, physical_dimension="uV")
        for k, name in enumerate(("ECG I", "ECG II"))
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    theirs = np.stack([signal.data for signal in edfio.read_edf(tmp_path / "a.edf").signals], axis=1) / 1000
    ours = np.concatenate([r.values for r in readings(tmp_path / "a.edf")])
    assert np.allclose(ours, theirs, rtol=0, atol=1e-12)

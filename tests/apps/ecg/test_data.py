from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from apps.ecg.data import DS1, DS2, PACED, RECORDS, Span, find_mitdb, load_record
from common.errors import DatasetError


def write_record(folder: Path, *, unit: str = "mV", last: int = 900) -> Path:
    """A record of 1000 samples with five beats, two rhythms and a flutter."""
    folder.mkdir(parents=True, exist_ok=True)
    signal = np.round(np.sin(np.arange(2000) / 20).reshape(1000, 2) * 200) / 200
    signal[5, 1] = np.nan
    wfdb.wrsamp(
        "100", 360, [unit, unit], ["MLII", "V5"], signal, fmt=["212", "212"], write_dir=str(folder),
        adc_gain=[200, 200], baseline=[0, 0],
    )  # fmt: skip
    wfdb.wrann(
        "100", "atr",
        np.array([10, 100, 200, 300, 400, 450, 500, 600, last]),
        ["+", "N", "A", "V", "[", "!", "]", "+", "/"],
        aux_note=["(N", "", "", "", "", "", "", "(AFIB", ""],
        write_dir=str(folder),
    )  # fmt: skip
    return folder


def test_a_record_comes_with_its_beats_rhythms_and_flutter(tmp_path: Path) -> None:
    record = load_record(write_record(tmp_path), "100")
    assert (record.name, record.rate_hz, record.leads) == ("100", 360.0, ("MLII", "V5"))
    assert record.signal_mv.shape == (1000, 2)
    assert record.signal_mv[40, 0] == pytest.approx(np.sin(4.0), abs=0.003)
    assert np.flatnonzero(np.isnan(record.signal_mv[:, 1])).tolist() == [5]
    assert record.beats.samples.tolist() == [100, 200, 300, 900]
    assert record.beats.kinds.tolist() == ["N", "S", "V", "Q"]
    assert record.beats.symbols.tolist() == ["N", "A", "V", "/"]
    assert record.rhythms == (Span(10, 600, "(N"), Span(600, 1000, "(AFIB"))
    assert record.flutter == (Span(400, 501, "flutter"),)


@pytest.mark.parametrize("suffix", [".hea", ".dat", ".atr"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    write_record(tmp_path)
    (tmp_path / f"100{suffix}").unlink()
    with pytest.raises(DatasetError, match=rf"100\{suffix} is missing"):
        load_record(tmp_path, "100")


@pytest.mark.parametrize(("suffix", "content"), [(".hea", b"\xff\x00 nonsense"), (".dat", b"short")])
def test_a_torn_file_is_refused_with_its_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    write_record(tmp_path)
    (tmp_path / f"100{suffix}").write_bytes(content)
    with pytest.raises(DatasetError, match="100 cannot be read as a WFDB record"):
        load_record(tmp_path, "100")


def test_another_unit_and_late_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must be mV, not uV"):
        load_record(write_record(tmp_path / "a", unit="uV"), "100")
    with pytest.raises(DatasetError, match="after the end of the signal"):
        load_record(write_record(tmp_path / "b", last=1200), "100")


def test_the_set_is_found_where_it_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGELOOP_DATA", raising=False)
    assert find_mitdb() is None
    assert find_mitdb(tmp_path) is None
    named, environment = write_record(tmp_path / "a" / "mitdb"), write_record(tmp_path / "b")
    monkeypatch.setenv("EDGELOOP_DATA", str(environment))
    assert find_mitdb() == environment
    assert find_mitdb(tmp_path / "a") == named
    assert find_mitdb(named) == named


def test_no_record_is_on_two_sides() -> None:
    assert len(RECORDS) == len(set(RECORDS)) == len(DS1) + len(DS2) + len(PACED) == 48


def test_mitdb_itself_loads() -> None:
    folder = find_mitdb(Path(os.environ.get("EDGELOOP_DATA", "")))
    if folder is None:
        pytest.skip("MIT-BIH is not under EDGELOOP_DATA (see datasets/mitdb.md)")
    record = load_record(folder, "207")
    assert record.signal_mv.shape == (650_000, 2)
    assert (len(record.beats), len(record.flutter)) == (1860, 6)

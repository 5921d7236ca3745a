from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb

from apps.ecg.training.dataset import (
    DS1,
    DS2,
    PACED,
    PUBLISHED,
    RECORDS,
    Span,
    load_record,
    mitdb_in,
    published,
)
from cloud_backend.commands.cards import read_cards
from common.errors import DatasetError
from tests.datasets import mitdb_folder


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


def write_names(folder: Path, names: Sequence[str] = RECORDS) -> Path:
    """Files with the names of records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        for suffix in (".hea", ".dat", ".atr"):
            (folder / f"{name}{suffix}").write_text(name)
    return folder


@pytest.mark.parametrize(
    "layout",
    ["", "mitdb", "mit-bih-arrhythmia-database-1.0.0", "physionet.org/files/mitdb/1.0.0", "a/b/c/d/e"],
)
def test_the_set_is_found_in_the_layouts_in_which_it_is_shipped(tmp_path: Path, layout: str) -> None:
    folder = write_names(tmp_path / layout)
    (folder / "x_mitdb").mkdir()
    (folder / "x_mitdb" / "x_108.dat").touch()
    assert mitdb_in(tmp_path) == folder
    assert not published(folder)


def test_annotations_of_another_database_are_not_the_set(tmp_path: Path) -> None:
    for name in ("100", "101", "202"):
        (tmp_path / f"{name}.atr").touch()
        (tmp_path / f"{name}.hea").touch()
    with pytest.raises(DatasetError, match="has no MIT-BIH Arrhythmia Database: looked for"):
        mitdb_in(tmp_path)


def test_a_part_of_the_set_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    write_names(tmp_path / "some", RECORDS[:10])
    with pytest.raises(DatasetError, match=r"of the 48 records .* 38 lack .*112, 113"):
        mitdb_in(tmp_path)
    assert mitdb_in(tmp_path, RECORDS[:10]) == tmp_path / "some"
    whole = write_names(tmp_path / "whole")
    assert mitdb_in(tmp_path) == whole
    (whole / "234.atr").unlink()
    with pytest.raises(DatasetError, match=r"48 records .* 1 lack .*\(234\)"):
        mitdb_in(tmp_path)


def test_what_was_named_is_never_replaced_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_DATA", str(write_names(tmp_path / "environment")))
    (tmp_path / "empty").mkdir()
    for path, problem in (
        (tmp_path / "empty", "has no MIT-BIH"),
        (tmp_path / "absent", "there is no folder"),
        (tmp_path / "environment" / "100.dat", "is a file, not the folder"),
    ):
        with pytest.raises(DatasetError, match=problem):
            mitdb_in(path)


def test_the_digest_of_the_published_set_is_that_of_its_card() -> None:
    card = read_cards()["mitdb"]
    listing = "".join(f"{file.name} {file.sha256}\n" for file in sorted(card.files, key=lambda f: f.name))
    assert hashlib.sha256(listing.encode()).hexdigest() == PUBLISHED


def test_no_record_is_on_two_sides() -> None:
    assert len(RECORDS) == len(set(RECORDS)) == len(DS1) + len(DS2) + len(PACED) == 48


def test_mitdb_itself_loads() -> None:
    folder = mitdb_folder()
    assert published(folder)
    record = load_record(folder, "207")
    assert record.signal_mv.shape == (650_000, 2)
    assert (len(record.beats), len(record.flutter)) == (1860, 6)

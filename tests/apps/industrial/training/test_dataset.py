from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apps.industrial.training.dataset import FILES, Run, cmapss_in, load_cmapss, published
from common.errors import DatasetError
from tests.datasets import cmapss_folder


def row(unit: int, cycle: int) -> str:
    return f"{unit} {cycle} " + " ".join(f"{unit + cycle / 100 + k:.4f}" for k in range(24)) + "  "


def write_set(
    folder: Path, *, train: str | None = None, test: str | None = None, rul: str = "5\n40\n"
) -> Path:
    rows = "\n".join([*(row(1, c) for c in range(1, 6)), *(row(2, c) for c in range(1, 4))]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(FILES, (train or rows, test or rows, rul), strict=True):
        (folder / name).write_text(text)
    return folder


def test_engines_come_with_their_cycles_and_remaining_life(tmp_path: Path) -> None:
    found = load_cmapss(write_set(tmp_path))
    assert [run.values.shape for run in found.train] == [(5, 24), (3, 24)]
    assert found.train[1].values[2, 0] == pytest.approx(2.03)
    assert [run.remaining_cycles for run in found.test] == [5, 40]
    assert list(found.train[0].rul_cycles()) == [4, 3, 2, 1, 0]
    assert list(found.test[0].rul_cycles()) == [9, 8, 7, 6, 5]
    assert len({run.name for run in (*found.train, *found.test)}) == 4
    assert set(found.digests) == {f"cmapss/{name}" for name in FILES}


def test_rul_is_capped() -> None:
    run = Run("x", np.zeros((200, 24)), 10)
    assert run.rul_cycles()[0] == 125
    assert run.rul_cycles()[-1] == 10


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (row(1, 3).rsplit(maxsplit=1)[0], "25 columns where 26 are due"),
        (row(1, 3) + " 1.0", "27 columns where 26 are due"),
        (row(1, 3).replace(" 1.0300", " nan"), "column 3 is nan"),
        (row(1, 3).replace(" 2.0300", " inf"), "column 4 is inf"),
        (row(1, 3).replace(" 1.0300", " 1,0x"), "27 columns"),
        (row(1, 3).replace(" 1.0300", " 1.0x"), "could not convert"),
        (row(1, 4), "cycle 4 where 3 is due"),
        (row(3, 1), "unit 3 follows 1 others"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_line(tmp_path: Path, line: str, problem: str) -> None:
    folder = write_set(tmp_path, train="\n".join([row(1, 1), row(1, 2), line]) + "\n")
    with pytest.raises(DatasetError, match=rf"train_FD001\.txt:3: .*{problem}"):
        load_cmapss(folder)


@pytest.mark.parametrize(
    ("rul", "problem"),
    [("5\n", "1 values for the 2 engines"), ("5\n-1\n", ":2: -1 is not"), ("5\n4.5\n", ":2: 4.5 is not")],
)
def test_remaining_lives_must_fit_the_engines(tmp_path: Path, rul: str, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        load_cmapss(write_set(tmp_path, rul=rul))


def test_a_missing_an_empty_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    (folder / FILES[1]).unlink()
    with pytest.raises(DatasetError, match=r"test_FD001\.txt is missing"):
        load_cmapss(folder)
    (folder / FILES[1]).write_text("\n")
    with pytest.raises(DatasetError, match="holds no engine"):
        load_cmapss(folder)
    (folder / FILES[1]).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as text"):
        load_cmapss(folder)


TEST_PARTS = ("test", "RUL")


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "cmapss",
        "CMAPSSData",
        "6. Turbofan Engine Degradation Simulation Data Set/CMAPSSData",
        "phm/archive/CMaps",
    ],
)
def test_the_set_is_found_in_the_layouts_in_which_it_is_shipped(tmp_path: Path, layout: str) -> None:
    folder = write_set(tmp_path / layout)
    (tmp_path / "unrelated" / ".git").mkdir(parents=True)
    assert cmapss_in(tmp_path, TEST_PARTS) == (folder, "FD001")


def test_what_was_named_is_found_or_refused_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_DATA", str(write_set(tmp_path / "environment").parent / "environment"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match=r"has no C-MAPSS: looked for test_FD001\.txt, RUL_FD001\.txt"):
        cmapss_in(empty, TEST_PARTS)
    (empty / "CMAPSSData.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"unpack CMAPSSData\.zip first"):
        cmapss_in(empty, TEST_PARTS)
    for path, problem in (
        (empty / "absent", "there is no folder"),
        (empty / "CMAPSSData.zip", "is a file: unpack it"),
        (tmp_path / "environment" / FILES[0], "is a file, not the folder"),
    ):
        with pytest.raises(DatasetError, match=problem):
            cmapss_in(path, TEST_PARTS)


def test_half_a_set_and_two_sets_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "a" / "x")
    (folder / FILES[2]).unlink()
    with pytest.raises(DatasetError, match=r"no whole set of C-MAPSS: test_FD001\.txt is there"):
        cmapss_in(tmp_path, TEST_PARTS)
    write_set(tmp_path / "b" / "y")
    with pytest.raises(DatasetError, match="is there 2 times"):
        cmapss_in(tmp_path, TEST_PARTS)


def test_another_set_goes_by_its_own_name(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    for name in ("FD002", "FD003"):
        for file in FILES:
            (folder / file.replace("FD001", name)).write_text((folder / file).read_text())
    assert cmapss_in(folder, TEST_PARTS) == (folder, "FD001")
    for file in FILES:
        (folder / file).unlink()
    with pytest.raises(DatasetError, match="FD002, FD003 and no FD001"):
        cmapss_in(folder, TEST_PARTS)
    (folder / "test_FD003.txt").unlink()
    assert cmapss_in(folder, TEST_PARTS) == (folder, "FD002")
    assert load_cmapss(folder, "FD002").test[0].slice == "fd002"


def test_files_of_another_content_are_not_the_published_ones(tmp_path: Path) -> None:
    assert not published(write_set(tmp_path), FILES)


def test_fd001_itself_loads() -> None:
    folder = cmapss_folder()
    found = load_cmapss(folder)
    assert (len(found.train), sum(len(r.values) for r in found.train)) == (100, 20631)
    assert (len(found.test), sum(len(r.values) for r in found.test)) == (100, 13096)
    assert published(folder, FILES)
    card = (Path(__file__).parents[4] / "datasets" / "cmapss.md").read_text()
    assert all(digest in card for digest in found.digests.values())

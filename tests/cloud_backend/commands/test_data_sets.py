"""``edgeloop data``: the cards of the data sets, and the files that they name."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from typer.testing import CliRunner

from cloud_backend.commands import cards, data
from common.errors import DatasetError

runner = CliRunner()


def facts(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def card_of(tmp_path: Path, content: bytes = b"1 2 3\n", /, **changes: str) -> Path:
    path = tmp_path / "cards" / "tiny.md"
    path.parent.mkdir(exist_ok=True)
    lines = {
        "name": "rows.txt",
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": "https://data.example/set.zip",
        "member": "outer/inner.zip/deep/rows.txt",
    } | changes
    body = "\n".join(f'{key} = "{value}"' for key, value in lines.items())
    path.write_text(
        f'+++\ntitle = "Tiny"\nlicence = "CC0"\ncitation = "-"\nhomepage = "https://data.example"\n'
        f"[[files]]\n{body}\n+++\n# Tiny\n"
    )
    return path


def archive_of(tmp_path: Path, content: bytes = b"1 2 3\n") -> Path:
    with ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("deep/rows.txt", content)
    with ZipFile(tmp_path / "set.zip", "w") as outer:
        outer.write(tmp_path / "inner.zip", "outer/inner.zip")
    return tmp_path / "set.zip"


def test_every_card_of_the_repository_can_be_read() -> None:
    known = cards.read_cards()
    assert "cmapss" in known
    for card in known.values():
        assert card.files
        assert all(len(file.sha256) == 64 for file in card.files)


def test_a_set_is_unpacked_and_checked(tmp_path: Path) -> None:
    card = cards.read_card(card_of(tmp_path))
    home = tmp_path / "home"
    fetched_urls: list[str] = []

    def fetch(url: str, folder: Path) -> Path:
        fetched_urls.append(url)
        return archive_of(tmp_path)

    cards.obtain(card, home, fetch)
    assert (home / "rows.txt").read_bytes() == b"1 2 3\n"
    cards.obtain(card, home, fetch)
    assert fetched_urls == ["https://data.example/set.zip"]


def test_a_set_that_the_publisher_changed_is_refused(tmp_path: Path) -> None:
    card = cards.read_card(card_of(tmp_path))
    with pytest.raises(DatasetError, match="another SHA-256"):
        cards.obtain(card, tmp_path / "home", lambda url, folder: archive_of(tmp_path, b"other"))
    assert not (tmp_path / "home" / "rows.txt").exists()
    with pytest.raises(DatasetError, match="no member"):
        cards.extract(archive_of(tmp_path), "outer/inner.zip/absent", tmp_path / "home" / "x")
    (tmp_path / "broken.zip").write_bytes(b"PK broken")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        cards.extract(tmp_path / "broken.zip", "x", tmp_path / "home" / "x")
    assert list((tmp_path / "home").iterdir()) == []


def test_a_member_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * 1024 * 1024))
    with ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "bomb.zip", "bomb.zip")
    tracemalloc.start()
    for archive_path, member in (
        (tmp_path / "bomb.zip", "zeros"),
        (tmp_path / "outer.zip", "bomb.zip/zeros"),
    ):
        with pytest.raises(DatasetError, match="unpacks to more than"):
            cards.extract(archive_path, member, tmp_path / "home" / "zeros")
    assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    tracemalloc.stop()
    assert list((tmp_path / "home").iterdir()) == []


def test_a_size_that_the_archive_understates_is_counted_while_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "UNPACKED_LIMIT_BYTES", 100_000)
    inner = os.urandom(60_000)
    with ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("deep", inner)
    with ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "inner.zip")
    with pytest.raises(DatasetError, match="unpacks to more than"):
        cards.extract(tmp_path / "outer.zip", "inner.zip/deep", tmp_path / "home" / "deep")
    monkeypatch.setattr(cards, "UNPACKED_LIMIT_BYTES", 200_000)
    cards.extract(tmp_path / "outer.zip", "inner.zip/deep", tmp_path / "home" / "deep")
    assert (tmp_path / "home" / "deep").read_bytes() == inner


def test_a_directory_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "DIRECTORY_LIMIT_BYTES", 1000)
    with ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"member-{number}", b"")
    with pytest.raises(DatasetError, match="directory"):
        cards.extract(tmp_path / "many.zip", "member-1", tmp_path / "home" / "x")


@pytest.mark.parametrize(
    "changes", [{"name": "../rows.txt"}, {"url": "http://plain.example/x"}, {"surprise": "1"}]
)
def test_cards_that_are_not_right_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(DatasetError):
        cards.read_card(card_of(tmp_path, **changes))


def test_a_copy_on_disk_is_found_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "card_folders", lambda: [card_of(tmp_path).parent])
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cards, "download", lambda url, folder: archive_of(tmp_path))
    assert facts(runner.invoke(data, ["ls", "--json"]).stdout.splitlines())[0]["path"] == ""
    (tmp_path / "sets" / "tiny").mkdir(parents=True)
    copy = tmp_path / "sets" / "tiny" / "rows.txt"
    copy.write_bytes(b"1 2 3\n")
    found = runner.invoke(data, ["get", "tiny", "--json"], catch_exceptions=False)
    assert facts(found.stdout.splitlines())[0]["path"] == str(copy.parent)
    assert facts(runner.invoke(data, ["ls", "--json"]).stdout.splitlines())[0]["path"] == str(copy.parent)
    copy.write_bytes(b"altered")
    with pytest.raises(DatasetError, match="not the file of the card"):
        runner.invoke(data, ["get", "tiny"], catch_exceptions=False)
    fetched = runner.invoke(data, ["get", "tiny", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert fetched.exit_code == 0
    assert (tmp_path / "out" / "rows.txt").read_bytes() == b"1 2 3\n"
    with pytest.raises(DatasetError, match="known: tiny"):
        runner.invoke(data, ["get", "absent"], catch_exceptions=False)

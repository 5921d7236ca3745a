"""Data set cards: title, licence and citation of a set, its publisher's URLs, and the digests of its files.

A card is ``datasets/<name>.md`` with TOML between two lines of ``+++``, then text for people::

    +++
    title = "C-MAPSS turbofan run-to-failure, FD001"
    licence = "public domain (US Government)"
    citation = "..."
    homepage = "https://..."
    [[files]]
    name = "train_FD001.txt"
    sha256 = "1c7a..."
    url = "https://.../set.zip"
    member = "outer.zip/inner.zip/train_FD001.txt"    # where the file lies in the download, if in an archive
    +++

A file counts only with its digest, wherever it comes from. Sets are looked for under ``EDGELOOP_DATA``
first (``<EDGELOOP_DATA>/<name>/``), then in the user's cache.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from common import durable
from common.bundle import file_digest
from common.errors import DatasetError

UNPACKED_LIMIT_BYTES = 4 * 1024**3
EXPANSION_LIMIT = 200
"""Largest expansion of a member, as a multiple of its size in the archive."""
FREE_BYTES = 1024 * 1024
"""Expansion that is allowed for members of any size."""
DIRECTORY_LIMIT_BYTES = 64 * 1024 * 1024
END_BYTES = 66 * 1024
"""Length of the tail that holds the end record of a zip archive, with a comment."""
CHUNK_BYTES = 1024 * 1024
Fetch = Callable[[str, Path], Path]
"""``fetch(url, folder)`` gives the downloaded file."""


class CardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a set."""

    name: str
    sha256: str
    url: str
    member: str = ""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A card; ``name`` is its file's name."""

    title: str
    licence: str
    citation: str
    homepage: str
    files: list[CardFile]
    name: str = ""


def card_folders() -> list[Path]:
    """Folders of cards: in a checkout, and in an installation."""
    return [Path(__file__).resolve().parents[2] / "datasets", Path(sys.prefix) / "share/edgeloop/datasets"]


def read_card(path: Path) -> Card:
    """The card in a file. Raises `DatasetError`."""
    try:
        text = path.read_text("utf-8")
        opening, front, _ = text.split("+++\n", 2)
        if opening.strip():
            raise ValueError("it does not start with +++")
        card = msgspec.convert(tomllib.loads(front), Card)
    except (OSError, ValueError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DatasetError(f"{path} is not a data set card: {error}") from error
    for file in card.files:
        if (
            file.name != Path(file.name).name
            or file.name.startswith(".")
            or not file.url.startswith("https://")
        ):
            raise DatasetError(f"{path}: {file.name!r} is not a plain file name with an https URL")
    return msgspec.structs.replace(card, name=path.stem)


def read_cards(folders: list[Path] | None = None) -> dict[str, Card]:
    """All cards by name. Raises `DatasetError`."""
    cards: dict[str, Card] = {}
    for folder in card_folders() if folders is None else folders:
        for path in sorted(folder.glob("*.md")):
            if path.stem != "README":
                cards.setdefault(path.stem, read_card(path))
    return cards


def homes_of(card: Card, environment: Mapping[str, str], cache: Path) -> list[Path]:
    """Folders that may hold a copy of the set, the preferred first."""
    given = environment.get("EDGELOOP_DATA", "")
    return ([Path(given) / card.name] if given else []) + [cache / card.name]


def find(card: Card, homes: list[Path]) -> Path | None:
    """The first of ``homes`` that has all files of the set; digests are for `obtain` to check."""
    for home in homes:
        if all((home / file.name).is_file() for file in card.files):
            return home
    return None


def check(card: Card, home: Path) -> None:
    """Raises `DatasetError` if a file of the set in ``home`` differs from the card."""
    for file in card.files:
        if file_digest(home / file.name) != file.sha256:
            raise DatasetError(f"{home / file.name} is not the file of the card: remove it and get it again")


def obtain(card: Card, home: Path, fetch: Fetch) -> None:
    """Download what ``home`` lacks of a set, and check all of it. Raises `DatasetError`."""
    home.mkdir(parents=True, exist_ok=True)
    downloads: dict[str, Path] = {}
    for file in card.files:
        path = home / file.name
        if path.is_file() and file_digest(path) == file.sha256:
            continue
        if file.url not in downloads:
            downloads[file.url] = fetch(file.url, home / ".downloads")
        extract(downloads[file.url], file.member, path)
        if file_digest(path) != file.sha256:
            path.unlink()
            raise DatasetError(f"{file.name} from {file.url} has another SHA-256 than in its card")
    for download in downloads.values():
        download.unlink(missing_ok=True)


def extract(archive: Path, member: str, path: Path) -> None:
    """Write a file inside a download to ``path``, through zip archives in zip archives; without ``member``,
    the download itself.

    Everything is streamed through files beside ``path``. All that is unpacked on the way is at most
    `UNPACKED_LIMIT_BYTES`, and of each member at most `EXPANSION_LIMIT` times its size in the archive. Raises
    `DatasetError`.
    """
    left, allowed_bytes, source = member, UNPACKED_LIMIT_BYTES, archive
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=path.parent) as folder:
        try:
            while left:
                unpacked = Path(folder) / str(len(left))
                left, size = _unpack(source, left, unpacked, allowed_bytes)
                allowed_bytes, source = allowed_bytes - size, unpacked
            if source == archive:
                source = Path(folder) / "whole"
                shutil.copyfile(archive, source)
            with source.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(source, path)
        except DatasetError as error:
            raise DatasetError(f"{archive.name}: {error} (for the member {member!r})") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise DatasetError(f"{archive.name} cannot be unpacked: {error}") from error
    durable.sync_folder(path.parent)


def _unpack(source: Path, member: str, path: Path, allowed_bytes: int) -> tuple[str, int]:
    """Unpack the outermost archive of ``member`` to ``path``; the rest of its name, and the size."""
    check_directory(source)
    with zipfile.ZipFile(source) as opened:
        name = next((n for n in opened.namelist() if member == n or member.startswith(f"{n}/")), None)
        if name is None or name.endswith("/"):
            raise DatasetError(f"it has no member {member!r}")
        entry = opened.getinfo(name)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DatasetError(f"{name} is neither stored nor deflated")
        limit_bytes = min(allowed_bytes, max(FREE_BYTES, EXPANSION_LIMIT * entry.compress_size))
        size = 0
        with opened.open(entry) as content, path.open("wb") as file:
            while chunk := content.read(min(CHUNK_BYTES, limit_bytes - size + 1)):
                size += len(chunk)
                if size > limit_bytes:
                    raise DatasetError(f"{name} unpacks to more than {limit_bytes} bytes")
                file.write(chunk)
    return member[len(name) :].removeprefix("/"), size


def check_directory(archive: Path) -> None:
    """Refuse a zip archive whose directory, which `zipfile` holds in memory, is over its limit.

    Raises `DatasetError`.
    """
    size = archive.stat().st_size
    with archive.open("rb") as file:
        file.seek(max(0, size - END_BYTES))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    wide = tail.rfind(b"PK\6\6")
    if end < 0:
        raise DatasetError("it cannot be unpacked: it is no zip archive")
    directory_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if wide >= 0 and directory_bytes == 0xFFFFFFFF:
        directory_bytes = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if directory_bytes > DIRECTORY_LIMIT_BYTES:
        raise DatasetError(f"its directory has {directory_bytes} bytes; at most {DIRECTORY_LIMIT_BYTES}")


def download(url: str, folder: Path) -> Path:
    """Fetch ``url`` with pooch. Raises `DatasetError`."""
    import pooch

    try:
        return Path(pooch.retrieve(url, known_hash=None, path=folder, progressbar=False))
    except Exception as error:  # pooch and requests have error trees of their own
        raise DatasetError(
            f"cannot download {url}: {error}; fetch it by hand and point EDGELOOP_DATA at it"
        ) from error


def cache_folder() -> Path:
    """The user's cache of data sets."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgeloop" / "datasets"

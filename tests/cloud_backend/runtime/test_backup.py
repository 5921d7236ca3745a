"""Backups of a cloud's data folder: what they hold, that they are whole, and what a restore makes of them."""

from __future__ import annotations

import io
import sqlite3
import stat
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cloud_backend.ota.repository import Repository
from cloud_backend.runtime import backup as backup_module
from cloud_backend.runtime.backup import RESTORED, read_restored, restore_backup, take_backup
from common.deployment import Deployment, Wave
from common.errors import BackupError
from tests.builders import make_bundle

APP = "sums"


def publish(repository: Repository, folder: Path, serial: int) -> None:
    bundle = make_bundle(folder / f"bundle-{serial}", version=f"v{serial}", app=APP)
    document = Deployment(app=APP, serial=serial, rollout=f"r{serial}", waves=[Wave(f"v{serial}", 1.0)])
    repository.publish(APP, bundle, document)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cloud's data folder, as far as a backup looks at it."""
    folder = tmp_path / "cloud"
    repository = Repository(folder / "tuf", folder / "secrets", (APP,))
    publish(repository, tmp_path, 1)
    with closing(sqlite3.connect(folder / "cloud.sqlite")) as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE event (seq INTEGER)")
        store.executemany("INSERT INTO event VALUES (?)", [(n,) for n in range(100)])
        store.commit()
    for name in (
        "models/sums/v1/manifest.json",
        "samples/ab/ab12.npz",
        "samples/partial/cd34",
        "jobs/job-1/log.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "ports.json").write_text('{"http": 1, "mqtt": 2, "database": "sqlite"}')
    (folder / "lock").touch()
    (folder / "cloud.json").write_text("{}")
    return folder


def take(site: Path, out: Path) -> Path:
    return take_backup(site, "", out, edgeloop="1")[0]


def test_a_restored_folder_is_the_one_that_was_backed_up(site, tmp_path):
    file, manifest = take_backup(site, "", tmp_path / "b.tar", edgeloop="1")
    assert manifest.database == "sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = tmp_path / "again"
    restored, before = restore_backup(file, again)
    assert (restored, before) == (manifest, None)
    with closing(sqlite3.connect(again / "cloud.sqlite")) as store:
        assert store.execute("SELECT count(*) FROM event").fetchone() == (100,)
    assert (again / "models/sums/v1/manifest.json").read_bytes() == b"models/sums/v1/manifest.json"
    assert (again / "samples/ab/ab12.npz").exists()
    assert (again / "jobs/job-1/log.txt").read_bytes() == b"jobs/job-1/log.txt"
    for left_out in ("samples/partial", "lock", "cloud.json"):
        assert not (again / left_out).exists()
    for path in again.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    repository = Repository(again / "tuf", again / "secrets", (APP,))
    deployment = repository.deployment(APP)
    assert deployment is not None
    assert deployment.serial == 1
    mark = read_restored(again)
    assert mark is not None
    assert mark.created_ns == manifest.created_ns
    assert not list(site.glob(".backup-*"))


def test_a_folder_as_out_gets_a_file_with_the_time(site, tmp_path):
    (tmp_path / "out").mkdir()
    first, second = take(site, tmp_path / "out"), take(site, tmp_path / "out")
    assert first.parent == second.parent == tmp_path / "out"
    assert first != second


def test_nothing_is_overwritten(site, tmp_path):
    file = take(site, tmp_path / "b.tar")
    with pytest.raises(BackupError, match="exists already"):
        take(site, tmp_path / "b.tar")
    with pytest.raises(BackupError, match="not empty"):
        restore_backup(file, site)
    manifest, before = restore_backup(file, site, force=True)
    assert before is not None
    assert (before / "jobs/job-1/log.txt").exists()
    assert manifest.files
    assert (site / RESTORED).exists()


def test_a_backup_while_the_store_and_the_repository_change_is_consistent(site, tmp_path):
    repository = Repository(site / "tuf", site / "secrets", (APP,))
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        serial = 1
        try:
            with closing(sqlite3.connect(site / "cloud.sqlite", timeout=60)) as store:
                while not stop.is_set():
                    serial += 1
                    publish(repository, tmp_path, serial)
                    store.execute("INSERT INTO event SELECT max(seq) + 1 FROM event")
                    store.commit()
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        files = [take(site, tmp_path / f"b-{number}.tar") for number in range(4)]
    finally:
        stop.set()
        writer.join()
    assert not failures
    for number, file in enumerate(files):
        again = tmp_path / f"again-{number}"
        restore_backup(file, again)
        with closing(sqlite3.connect(again / "cloud.sqlite")) as store:
            count, last = store.execute("SELECT count(*), max(seq) FROM event").fetchone()
        assert count == last + 1
        before = (again / "tuf/metadata/timestamp.json").read_bytes()
        opened = Repository(again / "tuf", again / "secrets", (APP,))
        assert (again / "tuf/metadata/timestamp.json").read_bytes() == before, "it was repaired"
        deployment = opened.deployment(APP)
        assert deployment is not None
        assert opened.versions(APP)[-1:]


def members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(file) as archive:
        opened = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        return [(member, content.read()) for member, content in opened if content is not None]


def rewritten(file: Path, change) -> Path:
    found = members(file)
    change(found)
    with tarfile.open(file, "w") as archive:
        for member, content in found:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def named(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), b"x"


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop(),
        lambda found: found.pop(0),
        lambda found: found.__setitem__(0, (found[0][0], b"altered")),
        lambda found: found.insert(0, named("../escaped")),
        lambda found: found.insert(0, named("/etc/escaped")),
        lambda found: found.insert(0, named("tuf/../../escaped")),
        lambda found: found.insert(0, named("strange")),
        lambda found: found.append(named("tuf/late")),
    ],
    ids=["no manifest", "missing", "altered", "up", "absolute", "up inside", "strange", "after the manifest"],
)
def test_an_archive_that_is_not_whole_is_refused(site, tmp_path, change):
    file = rewritten(take(site, tmp_path / "b.tar"), change)
    with pytest.raises(BackupError):
        restore_backup(file, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "escaped").exists()


def test_a_member_that_is_larger_than_the_archive_is_refused(tmp_path):
    """A sparse file of two TiB in a few kilobytes, as GNU tar writes it."""
    file = tmp_path / "sparse.tar"
    member = tarfile.TarInfo("cloud.sqlite")
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "cloud.sqlite",
        "GNU.sparse.realsize": str(2 << 40),
    }
    content = b"0\n".ljust(512, b"\0")
    member.size = len(content)
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    with tarfile.open(file) as archive:
        assert archive.getmembers()[0].size == 2 << 40
    with pytest.raises(BackupError, match="not a backup"):
        restore_backup(file, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_an_archive_that_was_cut_is_refused(site, tmp_path, share):
    file = take(site, tmp_path / "b.tar")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BackupError):
        restore_backup(file, tmp_path / "again")


def test_a_damaged_store_is_no_backup(site, tmp_path):
    (site / "cloud.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(BackupError, match="cannot be copied"):
        take(site, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_what_is_no_cloud_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupError, match="not a cloud's data folder"):
        take(tmp_path / "empty", tmp_path / "b.tar")


def test_a_postgresql_store_is_the_operators_to_dump(site, tmp_path):
    _, manifest = take_backup(site, "postgresql://x@h/edgeloop", tmp_path / "b.tar", edgeloop="1")
    assert manifest.database == "postgresql"
    assert "cloud.sqlite" not in manifest.files
    ports = {"http": 1, "mqtt": 2, "database": "postgresql"}
    (site / "ports.json").write_bytes(msgspec.json.encode(ports))
    with pytest.raises(BackupError, match="--config"):
        take(site, tmp_path / "c.tar")


def test_a_file_system_without_hard_links_is_copied(site, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(backup_module.os, "link", refuse)
    restore_backup(take(site, tmp_path / "b.tar"), tmp_path / "again")
    assert (tmp_path / "again" / "cloud.sqlite").is_file()

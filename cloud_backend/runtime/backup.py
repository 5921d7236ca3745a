"""Backup of a cloud's data folder as one tar file, taken while the cloud runs, and its restore.

A backup has the SQLite store, the update repository with its keys, the secrets, the registry's bundles, the
completely received samples, the training jobs with their logs, and the ports; `LEFT_OUT` lists the rest. A
PostgreSQL store is not included: `pg_dump` that database first, then take the backup.

- The store is copied first, by SQLite's backup API: every file that it refers to exists at that time, so the
  files copied afterwards are a superset.
- Files of the data folder are replaced atomically, so hard links freeze them until they are archived; a job's
  log and progress, which grow in place, are copied. The update repository is frozen again until every file
  that its timestamp refers to is present.
- The candidate of a job is included only together with the job's result; the cloud restarts other jobs.
- ``manifest.json`` is the archive's last member: the SHA-256 of every other one. An archive without it, or
  that differs from it, is refused.
- A restore writes a new folder and renames it to the data folder; a previous data folder is kept under
  another name. Because of ``restored.json`` the cloud's next start raises the versions that nodes may have
  seen since the backup (`cloud_backend.ota`).
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec
from sqlalchemy.engine import make_url
from tuf.api.exceptions import RepositoryError, StorageError
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from cloud_backend.training import job
from common import durable
from common.errors import BackupError

FORMAT = 1
STORE = "cloud.sqlite"
MANIFEST = "manifest.json"
RESTORED = "restored.json"
FOLDERS = ("secrets", "tuf", "models", "samples", "jobs")
FILES = ("ports.json",)
LEFT_OUT = (
    "samples that were still arriving (nodes send them again)",
    "unfinished candidates of training jobs that ran (the restored cloud starts these jobs again)",
    "the broker's own folder (the cloud writes it at its start; nodes keep unacknowledged events)",
    "the settings file, and the log that the process prints",
)
"""Deliberately not in a backup; docs/operations.md repeats it."""
FREEZES = 5
"""Tries to freeze the update repository between two publications."""
MANIFEST_LIMIT_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a backup; ``database`` is ``sqlite``, or the kind of the database that is not included."""

    format: int = FORMAT
    edgeloop: str
    created_ns: int
    database: str
    files: dict[str, str]


class Restored(msgspec.Struct, frozen=True):
    """``restored.json``: time of the backup, and time and operator of the restore of this data folder."""

    created_ns: int
    restored_ns: int
    by: str = ""


def take_backup(folder: Path, database: str, out: Path, *, edgeloop: str) -> tuple[Path, BackupManifest]:
    """Back up the cloud in ``folder`` to ``out``, a file or an existing folder; the file and its manifest.

    ``database`` is the setting: a SQLAlchemy URL, empty for the store in the folder. Raises `BackupError`.
    """
    kind, store = _store_of(folder, database)
    target = out / f"edgeloop-cloud-{_stamp()}.tar" if out.is_dir() else out
    if target.exists():
        raise BackupError(f"{target} exists already: name another file, or remove it")
    created_ns = time.time_ns()
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _staging(folder) as staging:
            if store is not None:
                _copy_store(store, staging / STORE)
            _freeze(folder, staging)
            manifest = _archive(staging, partial, kind, created_ns, edgeloop)
        os.replace(partial, target)
    except OSError as error:
        raise BackupError(f"the backup to {target} failed: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    durable.sync_folder(target.parent)
    return target, manifest


def restore_backup(
    archive: Path, folder: Path, *, force: bool = False, by: str = ""
) -> tuple[BackupManifest, Path | None]:
    """Restore the cloud of ``archive`` to ``folder``; its manifest, and the new path of the previous folder.

    ``by`` is the operator, for the audit trail.

    Raises `BackupError` for an archive that is not whole, and, without ``force``, for a folder that is not
    empty.
    """
    full = folder.is_dir() and any(path.name != "lock" for path in folder.iterdir())
    if (full or folder.is_file()) and not force:
        raise BackupError(f"{folder} is not empty: restore to another --data, or use --force")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    try:
        manifest = _extract(archive, fresh)
        mark = Restored(manifest.created_ns, time.time_ns(), by)
        durable.write(fresh / RESTORED, msgspec.json.encode(mark), mode=0o600)
        before = _move_aside(folder)
        os.replace(fresh, folder)
    except OSError as error:
        raise BackupError(f"{archive} cannot be restored to {folder}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    durable.sync_folder(folder.parent)
    return manifest, before


def read_restored(folder: Path) -> Restored | None:
    """The pending restore of this data folder; None after the cloud has raised the versions for it."""
    try:
        return msgspec.json.decode((folder / RESTORED).read_bytes(), type=Restored)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        return Restored(0, 0)


# ----------------------------------------------------------------------------------------------- taking


def _store_of(folder: Path, database: str) -> tuple[str, Path | None]:
    """The kind of the store, and its file if it is SQLite."""
    kind = make_url(database).get_backend_name() if database else "sqlite"
    if kind != "sqlite":
        return kind, None
    if not database and (last := last_database(folder)) not in ("", "sqlite"):
        raise BackupError(
            f"the cloud in {folder} keeps its store in {last}: name its settings by --config, so that the "
            "backup records which database it does not include"
        )
    store = Path(make_url(database).database or "") if database else folder / STORE
    if not store.is_file():
        raise BackupError(
            f"there is no store {store}: {folder} is not a cloud's data folder, or its database is set "
            "elsewhere (name the cloud's settings by --config)"
        )
    return kind, store


def last_database(folder: Path) -> str:
    """The kind of the database of the cloud's last run; empty if unknown."""
    try:
        found = msgspec.json.decode((folder / "ports.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return ""
    return str(found.get("database", ""))


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Temporary folder inside ``folder``, on the same file system."""
    for left in folder.glob(".backup-*"):
        shutil.rmtree(left, ignore_errors=True)
    staging = folder / f".backup-{os.getpid()}"
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_store(store: Path, copy: Path) -> None:
    """Copy a consistent state of the store, and check it."""
    try:
        with (
            closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"the store {store} cannot be copied: {error}") from error
    if found != "ok":
        raise BackupError(f"the store {store} is damaged: {found}")
    copy.chmod(0o600)


def _freeze(folder: Path, staging: Path) -> None:
    for name in FILES:
        if (folder / name).is_file():
            _link(folder / name, staging / name)
    for name in FOLDERS:
        for attempt in range(1, FREEZES + 1):
            shutil.rmtree(staging / name, ignore_errors=True)
            if name == "jobs":
                _freeze_jobs(folder / name, staging / name)
            else:
                _link_all(folder / name, staging / name)
            if name != "tuf" or _is_whole(staging / name):
                break
            if attempt == FREEZES:
                raise BackupError(f"the update repository in {folder / name} is not whole")


def _link_all(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, parents=True)
    # `os.walk` goes on past a folder that was removed meanwhile, which `Path.rglob` does not.
    paths = (Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    # Referring files come first: what they refer to then still exists, or exists already.
    for path in sorted(paths, key=lambda path: (path.name != "timestamp.json", path)):
        inside = path.relative_to(source)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or (source.name == "samples" and inside.parts[0] == "partial") or not path.is_file():
            continue
        (target / inside).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link(path, target / inside)


def _freeze_jobs(source: Path, target: Path) -> None:
    """Freeze each job with its log, and its candidate only if the job has a result."""
    target.mkdir(mode=0o700, parents=True)
    for folder in sorted(path for path in source.glob("job-*") if path.is_dir()):
        frozen = target / folder.name
        frozen.mkdir(mode=0o700)
        _link(folder / job.SPEC, frozen / job.SPEC)
        for name in (job.LOG, job.PROGRESS):
            with suppress(FileNotFoundError):
                shutil.copyfile(folder / name, frozen / name)
        _link(folder / job.RESULT, frozen / job.RESULT)
        if (frozen / job.RESULT).exists() and (folder / job.BUNDLE).is_dir():
            _link_all(folder / job.BUNDLE, frozen / job.BUNDLE)
            if not (folder / job.BUNDLE).is_dir():  # the registry took it meanwhile
                shutil.rmtree(frozen / job.BUNDLE)


def _link(path: Path, target: Path) -> None:
    """Freeze ``path`` by a hard link, or by a copy on a file system without them."""
    try:
        os.link(path, target)
    except FileNotFoundError:
        return  # it was replaced or removed meanwhile
    except OSError:
        with suppress(FileNotFoundError):
            shutil.copyfile(path, target)


def _is_whole(tuf: Path) -> bool:
    """Whether every file that the timestamp refers to exists."""
    metadata, targets = tuf / "metadata", tuf / "targets"
    try:
        timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json")).signed
        version = timestamp.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_file(str(metadata / f"{version}.snapshot.json")).signed
        for name, meta in snapshot.meta.items():
            role = Metadata[Targets].from_file(str(metadata / f"{meta.version}.{name}")).signed
            for path, target in role.targets.items():
                folder, _, file = path.rpartition("/")
                if not (targets / folder / f"{target.hashes['sha256']}.{file}").is_file():
                    return False
    except (RepositoryError, StorageError, OSError):
        return False
    return True


def _archive(staging: Path, partial: Path, database: str, created_ns: int, edgeloop: str) -> BackupManifest:
    files: dict[str, str] = {}
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(path for path in staging.rglob("*") if path.is_file()):
                name = path.relative_to(staging).as_posix()
                with path.open("rb") as file:
                    files[name] = hashlib.file_digest(file, "sha256").hexdigest()
                    file.seek(0)
                    archive.addfile(_member(name, path.stat().st_size, created_ns), file)
            manifest = BackupManifest(
                edgeloop=edgeloop, created_ns=created_ns, database=database, files=files
            )
            content = msgspec.json.encode(manifest)
            archive.addfile(_member(MANIFEST, len(content), created_ns), io.BytesIO(content))
        raw.flush()
        os.fsync(raw.fileno())
    return manifest


def _member(name: str, size: int, created_ns: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, created_ns // 1_000_000_000
    return member


# --------------------------------------------------------------------------------------------- restoring


def _extract(archive: Path, folder: Path) -> BackupManifest:
    """Write every member with mode 600, and check it against the manifest."""
    found: dict[str, str] = {}
    manifest: BackupManifest | None = None
    archive_bytes = archive.stat().st_size
    try:
        with tarfile.open(archive, mode="r:") as opened:
            for member in opened:
                # A sparse member is larger than the archive that names it: a backup has none.
                plain = member.isreg() and not member.issparse() and member.size <= archive_bytes
                content = opened.extractfile(member) if plain else None
                if content is None or manifest is not None:
                    raise BackupError(f"{archive} is not a backup of a cloud: it has {member.name[:80]!r}")
                if member.name == MANIFEST:
                    manifest = msgspec.json.decode(content.read(MANIFEST_LIMIT_BYTES), type=BackupManifest)
                    continue
                found[member.name] = _write(content, folder / _checked(member.name, archive))
    except (tarfile.TarError, msgspec.MsgspecError, EOFError) as error:
        raise BackupError(f"{archive} is not a whole backup of a cloud: {error}") from error
    if manifest is None:
        raise BackupError(f"{archive} is not a whole backup of a cloud: its end is missing")
    if manifest.format > FORMAT:
        raise BackupError(f"{archive} has format {manifest.format}: upgrade edgeloop first")
    _compare(found, manifest.files, archive)
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)
    return manifest


def _checked(name: str, archive: Path) -> PurePosixPath:
    """The path of a member. Raises `BackupError` for a path that no backup has."""
    path = PurePosixPath(name)
    known = path.parts[:1] and (path.parts[0] in FOLDERS or name in (*FILES, STORE))
    if not known or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise BackupError(f"{archive} is not a backup of a cloud: it has {name[:80]!r}")
    return path


def _write(content: IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _compare(found: Mapping[str, str], named: Mapping[str, str], archive: Path) -> None:
    wrong = sorted(name for name in {*found, *named} if found.get(name) != named.get(name))
    if wrong:
        shown = ", ".join(wrong[:3]) + (" ..." if len(wrong) > 3 else "")
        raise BackupError(f"{archive} is damaged: {len(wrong)} files differ from its manifest ({shown})")


def _move_aside(folder: Path) -> Path | None:
    """Rename ``folder``; the new path, or None without a previous cloud."""
    if not folder.exists():
        return None
    if folder.is_dir() and all(path.name == "lock" for path in folder.iterdir()):
        shutil.rmtree(folder)
        return None
    kept = folder.with_name(f"{folder.name}.before-{_stamp()}")
    os.replace(folder, kept)
    return kept


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")

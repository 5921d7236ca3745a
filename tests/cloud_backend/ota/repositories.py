"""Content of an update repository, and a client that verifies it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from cloud_backend.ota.repository import Repository
from common.bundle import Bundle
from common.deployment import Deployment, Wave
from common.edge.update.deployment_serials import Floors
from common.edge.update.fetcher import RepositoryFetcher
from common.edge.update.tuf_client import TrustedRepository
from tests.builders import make_bundle
from tests.updates import APP, QUICK, FileServer

DAY_S = 86400.0


def bundle(tmp_path: Path, version: str = "v1", gain: float = 1.0) -> Bundle:
    return make_bundle(tmp_path / "bundles" / version, version=version, app=APP, gain=gain)


def deployment(serial: int, *versions: str, base: str = "") -> Deployment:
    waves = [Wave(version, 1.0) for version in versions]
    return Deployment(app=APP, serial=serial, rollout=f"r-{serial}", base_version=base, waves=waves)


def verify(repository: Repository, tmp_path: Path, root: dict[str, Any] | None = None) -> None:
    """A fresh client accepts all that is served."""
    server = FileServer(repository.metadata.parent)
    try:
        trusted = TrustedRepository(
            tmp_path / f"client-{server.url[-5:]}",
            root or repository.root(),
            f"{server.url}/tuf",
            RepositoryFetcher(QUICK),
            APP,
        )
        trusted.refresh(Floors())
        for app in repository.apps():
            for path in repository.metadata_set.role(app).signed.targets:
                target = trusted.target(path)
                assert target is not None
                trusted.fetch(target, tmp_path / "fetched")
                (tmp_path / "fetched").unlink()
    finally:
        server.close()


def version_of(repository: Repository, role: str) -> int:
    name = repository.metadata / f"{role}.json"
    if not name.exists():
        found = [int(p.name.partition(".")[0]) for p in repository.metadata.glob(f"*.{role}.json")]
        return max(found)
    return Metadata[Any].from_file(str(name)).signed.version


def root_keys(repository: Repository) -> set[str]:
    return set(repository.root()["signed"]["roles"]["root"]["keyids"])


class Crash(BaseException):
    """The process ends here."""


def crashing_at(number: int) -> Callable[..., None]:
    """`durable.write`, but the process ends before its n-th call."""
    from common.durable import write

    count = 0

    def run(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        nonlocal count
        count += 1
        if count > number:
            raise Crash
        write(path, content, mode=mode)

    return run

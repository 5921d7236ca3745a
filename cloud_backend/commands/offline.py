"""Commands that work on a cloud's data folder instead of its API: its store, and their lines of audit."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config.cloud import CloudSettings
from common.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine


@contextmanager
def offline_store(settings: CloudSettings) -> Iterator[Engine]:
    """The store of the cloud with these settings, whether it runs or not.

    Raises `ConfigError` where there is no cloud, or where its database is not named by ``settings``.
    """
    from cloud_backend.runtime.backup import STORE, last_database
    from cloud_backend.store.engine import open_store, sqlite_url

    folder = Path(settings.data)
    if not (folder / "secrets").is_dir():
        raise ConfigError(f"{folder} is not the data folder of a cloud: `edgeloop cloud up` makes one")
    if not settings.database and (last := last_database(folder)) not in ("", "sqlite"):
        raise ConfigError(
            f"the cloud in {folder} keeps its store in {last}: name its settings by --config, so that its "
            "audit trail gets a line"
        )
    if not settings.database and not (folder / STORE).is_file():
        raise ConfigError(f"{folder} has no store {STORE}: start its cloud once with `edgeloop cloud up`")
    engine = open_store(settings.database or sqlite_url(folder / STORE), upgrade=False)
    try:
        yield engine
    finally:
        engine.dispose()


def record_offline(
    engine: Engine, action: str, subject: str = "", details: Mapping[str, Any] | None = None
) -> None:
    """Add a line to the audit trail: the action of this machine's user, marked as offline.

    Raises `StoreError` where it cannot be stored.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from cloud_backend.access.audit import OFFLINE, Audit
    from common.clock import anchored_clock

    try:
        audit = Audit(engine, anchored_clock())
        audit.record(f"os:{os_user()}", action, subject, details, address=OFFLINE)
    except SQLAlchemyError as error:
        raise StoreError(f"{action}: done, but its line in the audit trail is missing: {error}") from error


def os_user() -> str:
    """Login name of who runs the command; the numeric id where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())

"""Bring a database to the newest schema, by Alembic. The migrations travel inside the package."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text

from common.errors import StoreError

_LOCK = int.from_bytes(b"edgeloop")
"""Key of PostgreSQL's advisory lock, for two clouds that start at once on one database."""


def upgrade(engine: Engine) -> None:
    """Apply the migrations that ``engine``'s database lacks, all or none; where none does, it is quick.

    Raises `StoreError` for a database of a newer edgeloop.
    """
    settings = config()
    newest = ScriptDirectory.from_config(settings).get_current_head()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
        settings.attributes["connection"] = connection
        try:
            command.upgrade(settings, "head")
        except CommandError as error:
            raise StoreError(
                f"the schema of the database is newer than this edgeloop ({error}): upgrade edgeloop"
            ) from error


def config() -> Config:
    """Configuration of Alembic with the packaged migrations."""
    settings = Config()
    settings.set_main_option("script_location", "cloud_backend.store:migrations")
    settings.set_main_option("path_separator", "os")
    return settings

"""Draft a migration: ``python -m cloud_backend.store.migrations "What changes."``."""

import sys

from alembic import command
from alembic.script import ScriptDirectory

from cloud_backend.store.engine import open_store
from cloud_backend.store.migrate import config

if len(sys.argv) != 2:
    sys.exit(__doc__)
settings = config()
number = len(list(ScriptDirectory.from_config(settings).walk_revisions())) + 1
with open_store("sqlite://").begin() as connection:
    settings.attributes["connection"] = connection
    command.revision(settings, sys.argv[1], autogenerate=True, rev_id=f"{number:04d}")

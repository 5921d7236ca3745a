"""Entry point of Alembic: the migrations over the connection of `cloud_backend.store.migrate`."""

from alembic import context
from sqlmodel import AutoString

from cloud_backend.store.tables import cloud_metadata


def render(kind, value, _autogenerate_context):
    """SQLModel's own string type is a plain one in a migration."""
    return "sa.String()" if kind == "type" and isinstance(value, AutoString) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=cloud_metadata(),
    transactional_ddl=True,
    render_item=render,
)
context.run_migrations()

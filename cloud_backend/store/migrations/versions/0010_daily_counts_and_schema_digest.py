"""Daily counts by their name, and the digest of the tables of each app."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("volume", "daily_count")
    op.add_column("app_state", sa.Column("schema_digest", sa.String(), nullable=False, server_default=""))

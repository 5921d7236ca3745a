"""Subjects that each node reported: nodes upload samples of these only."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "node_subject",
        sa.Column("node", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO node_subject (node, subject) SELECT DISTINCT stream.node, event.subject "
        "FROM event JOIN stream ON stream.id = event.stream_id WHERE event.subject <> ''"
    )


def downgrade() -> None:
    op.drop_table("node_subject")

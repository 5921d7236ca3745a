"""Nodes can be retired and replaced, and report which update metadata they trust."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXTS = ("replaced_by", "rollout", "update_problem")
NUMBERS = ("retired_ns", "metadata_version", "root_version", "deployment_serial")


def upgrade() -> None:
    for name in TEXTS:
        op.add_column("node", sa.Column(name, sa.String(), nullable=False, server_default=sa.text("''")))
    for name in NUMBERS:
        op.add_column("node", sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    for name in (*TEXTS, *NUMBERS):
        op.drop_column("node", name)

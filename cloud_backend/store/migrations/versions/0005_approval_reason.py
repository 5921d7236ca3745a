"""Reason for which a person approved a model."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "model_version",
        sa.Column("approval_reason", sa.String(), nullable=False, server_default=sa.text("''")),
    )


def downgrade() -> None:
    op.drop_column("model_version", "approval_reason")

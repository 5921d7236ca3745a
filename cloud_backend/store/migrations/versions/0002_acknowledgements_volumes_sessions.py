"""Acknowledged alerts, what arrived by day and type, and sessions of people."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PLACE = ["stream_id", "seq"]
ALARM = sa.text("priority = 3")
ALERT = sa.text("priority = 3 OR type = 'edgeloop.drift' OR type = 'edgeloop.adoption'")
NOTABLE = sa.text("priority >= 2")


def upgrade() -> None:
    op.create_table(
        "alert_ack",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("acked_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "seq"),
    )
    op.create_table(
        "volume",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "node", "type"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "web_session",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("used_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    _index("event_alerts", "time_ns", ALERT)
    op.drop_index("event_alarms", table_name="event")
    _index("event_notable", "received_ns", NOTABLE)
    op.create_index("sample_newest", "sample", ["received_ns", "digest"])
    op.create_index("sample_newest_of_app", "sample", ["app", "received_ns", "digest"])


def downgrade() -> None:
    op.drop_index("sample_newest_of_app", table_name="sample")
    op.drop_index("sample_newest", table_name="sample")
    op.drop_index("event_notable", table_name="event")
    _index("event_alarms", "time_ns", ALARM)
    op.drop_index("event_alerts", table_name="event")
    op.drop_table("web_session")
    op.drop_table("volume")
    op.drop_table("alert_ack")


def _index(name: str, first: str, where: sa.TextClause) -> None:
    op.create_index(name, "event", [first, *PLACE], sqlite_where=where, postgresql_where=where)

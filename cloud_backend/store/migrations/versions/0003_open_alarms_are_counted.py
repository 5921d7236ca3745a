"""The keys of all alarms, so that those which nobody has acknowledged are counted without reading events."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ALARM = sa.text("priority = 3")


def upgrade() -> None:
    columns = ["stream_id", "seq", "priority"]
    op.create_index("event_alarm_keys", "event", columns, sqlite_where=ALARM, postgresql_where=ALARM)


def downgrade() -> None:
    op.drop_index("event_alarm_keys", table_name="event")

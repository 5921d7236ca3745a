"""Inserts that tolerate conflicts, for the projections of apps and for the cloud. SQLite and PostgreSQL.

SQLAlchemy is imported here: cloud sides of apps import this module, the node's side does not.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, Table, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapper, Session


def insert_into(target: Session | Connection, table: type[Any]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into a mapped ``table`` with ``on_conflict_do_nothing``, ``on_conflict_do_update`` and
    ``excluded``, in the dialect of ``target``."""
    bind = target.get_bind() if isinstance(target, Session) else target
    mapper = cast("Mapper[Any]", inspect(table))
    columns = cast("Table", mapper.local_table)
    return postgresql.insert(columns) if bind.dialect.name == "postgresql" else sqlite.insert(columns)

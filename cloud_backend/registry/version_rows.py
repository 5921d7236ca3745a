"""The versions of the database in one session, each app's starter among them.

A starter has no row of its own (`cloud_backend.registry.starters`): it is found under its version, comes last
in the list of an app, and is in production while no stored version is. Its state follows from that and cannot
be changed otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlmodel import Session, col

from cloud_backend.registry.starters import Starters
from cloud_backend.store.tables import AppState, JobRow, ModelVersion
from common.errors import RegistryError, VersionUnknown

NEWEST_LIMIT = 1000
"""Maximum number of stored versions in the list of an app."""


class VersionRows:
    """The versions as ``session`` has them; the caller commits."""

    def __init__(self, session: Session, starters: Starters) -> None:
        self._session = session
        self._starters = starters

    def stored(self, app: str, version: str) -> ModelVersion | None:
        """The row of a version that was added; None for a starter or an unknown version."""
        return self._session.get(ModelVersion, (app, version))

    def starter(self, app: str) -> ModelVersion | None:
        """The row of the app's starter, if it has one."""
        return self._starters.row(self._session, app)

    def find(self, app: str, version: str) -> ModelVersion | None:
        """The row of a version, stored or the starter; None for an unknown one."""
        row = self.stored(app, version)
        if row is not None:
            return row
        starter = self.starter(app)
        return starter if starter is not None and starter.version == version else None

    def known(self, app: str, version: str) -> ModelVersion:
        """`find`, for a version that must be there. Raises `VersionUnknown`."""
        row = self.find(app, version)
        if row is None:
            raise VersionUnknown(_unknown(app, version))
        return row

    def newest(self, app: str) -> list[ModelVersion]:
        """The newest `NEWEST_LIMIT` versions of an app, newest first, and its starter."""
        query = (
            select(ModelVersion)
            .where(col(ModelVersion.app) == app)
            .order_by(col(ModelVersion.created_ns).desc(), col(ModelVersion.version).desc())
            .limit(NEWEST_LIMIT)
        )
        rows = list(self._session.scalars(query))
        starter = self.starter(app)
        if starter is not None and all(row.version != starter.version for row in rows):
            rows.append(starter)
        return rows

    def production(self, app: str) -> str:
        """The stored version in production; empty for the starter."""
        known = self._session.get(AppState, app)
        return known.production if known else ""

    def last_number(self, app: str, day: str) -> int:
        """The highest number of the versions ``<day>.<number>`` of models and jobs; 0 where there is none."""
        taken: list[str] = []
        for table in (ModelVersion, JobRow):
            query = (
                select(col(table.version))
                .where(col(table.app) == app, col(table.version).like(f"{day}.%"))
                .order_by(col(table.version).desc())
                .limit(1)
            )
            taken += self._session.scalars(query).all()
        return max((int(tail) for v in taken if (tail := v.partition(".")[2]).isdigit()), default=0)

    def change(self, app: str, version: str, state: str, approval: Mapping[str, str]) -> None:
        """Set the state of a version and the columns in ``approval``; ``production`` retires the former one.

        A starter is named by its version or by an empty one. Raises `RegistryError` for an unknown version.
        """
        row = self.stored(app, version)
        if row is None:
            starter = self.starter(app)
            if starter is None or version not in ("", starter.version):
                raise RegistryError(_unknown(app, version))
        else:
            row.state = state
            for name, value in approval.items():
                setattr(row, name, value)
        if state == "production":
            self._take_over(app, version if row is not None else "")

    def _take_over(self, app: str, version: str) -> None:
        known = self._session.get(AppState, app)
        if known is None:
            known = AppState(app=app)
            self._session.add(known)
        if known.production and known.production != version:
            former = self.stored(app, known.production)
            if former is not None and former.state == "production":
                former.state = "retired"
        known.production = version


def _unknown(app: str, version: str) -> str:
    return f"{app} has no model {version!r}: `edgeloop model ls {app}` lists them"

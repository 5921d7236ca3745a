"""Sessions of signed-in people, kept in the store, so that they outlive a restart of the cloud.

- A token is 256 random bits; the store has only its digest.
- A session ends `IDLE_S` after its last use and `LIFE_S` after its start, at the latest, or by `end`.
- The digest also takes in what the caller passes as ``bound_to`` (the password and the admin's token of
  the moment): after its change no earlier token is valid.
- At most `SESSIONS` are kept; those that were used longest ago give way.
- A use is written down at most every `NOTE_USE_S`, so that requests stay reads. During an outage of
  the store the session stays valid until its earlier end.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col

from cloud_backend.store.engine import is_outage, read_only
from cloud_backend.store.tables import WebSession
from common.clock import Clock

TOKEN_PREFIX = "session."  # noqa: S105  distinguishes it from a node's token, which has no dot
IDLE_S = 12 * 3600
LIFE_S = 7 * 86400
NOTE_USE_S = 60
SESSIONS = 1000
_S = 1_000_000_000
_log = structlog.get_logger("edgeloop.access")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A valid session: its person, and its end at the latest."""

    name: str
    expires_ns: int


class Sessions:
    """The sessions of one cloud; a change of ``bound_to()`` ends them all."""

    def __init__(self, engine: Engine, clock: Clock, bound_to: Callable[[], bytes]) -> None:
        self._engine = engine
        self._clock = clock
        self._bound_to = bound_to

    def start(self, name: str) -> str:
        """A new session's token. Raises `AccessDenied` where ``bound_to`` does."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        digest, now = self._digest(token), self._clock()
        with Session(self._engine) as session:
            session.add(
                WebSession(
                    digest=digest, name=name, created_ns=now, used_ns=now, expires_ns=now + LIFE_S * _S
                )
            )
            session.flush()
            _prune(session, now)
            session.commit()
        return token

    def find(self, token: str) -> SignedIn | None:
        """The valid session of a token, whose use this is; None for any other token."""
        row = self._valid(token)
        if row is None:
            return None
        now = self._clock()
        if now >= row.used_ns + NOTE_USE_S * _S:
            self._note_use(row.digest, now)
        return SignedIn(row.name, row.expires_ns)

    def is_valid(self, token: str) -> bool:
        """Whether a token has a valid session; the check is no use of it."""
        return self._valid(token) is not None

    def end(self, token: str) -> None:
        """End the session of a token, if it has one."""
        digest = self._digest(token)
        with Session(self._engine) as session:
            session.execute(delete(WebSession).where(col(WebSession.digest) == digest))
            session.commit()

    def _valid(self, token: str) -> WebSession | None:
        if not token.startswith(TOKEN_PREFIX):
            return None
        with Session(read_only(self._engine)) as session:
            row = session.get(WebSession, self._digest(token))
        now = self._clock()
        return row if row and now < min(row.expires_ns, row.used_ns + IDLE_S * _S) else None

    def _note_use(self, digest: str, now: int) -> None:
        noted = update(WebSession).where(col(WebSession.digest) == digest, col(WebSession.used_ns) < now)
        try:
            with Session(self._engine) as session:
                session.execute(noted.values(used_ns=now))
                session.commit()
        except DBAPIError as error:
            if not is_outage(error):
                raise
            _log.warning("the use of a session could not be noted", error=str(error.orig))

    def _digest(self, token: str) -> str:
        key = hashlib.sha256(self._bound_to()).digest()
        return hmac.new(key, token.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _prune(session: Session, now: int) -> None:
    session.execute(
        delete(WebSession).where(
            (col(WebSession.expires_ns) <= now) | (col(WebSession.used_ns) <= now - IDLE_S * _S)
        )
    )
    newest = select(col(WebSession.digest)).order_by(
        col(WebSession.used_ns).desc(), col(WebSession.created_ns).desc()
    )
    kept = newest.limit(SESSIONS).subquery()
    session.execute(delete(WebSession).where(col(WebSession.digest).not_in(select(kept.c.digest))))

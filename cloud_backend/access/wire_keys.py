"""The keys that seal the messages of nodes (`common.sealing`): derived, so nothing per node is kept.

The key of a node follows from the cloud's secret, the node's name and site, and the time of its enrolment:
another enrolment ends the earlier keys.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlmodel import Session, col

from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node
from common.sealing import Seal

REMEMBERED = 20_000
"""Limit of remembered nodes, unknown ones included."""
LOOK_AGAIN_S = 1.0
"""Time for which the database is not read again for messages that do not match a node's key."""
LOOKS_PER_S = 100.0
"""Limit of reads of the database for messages that do not match a key."""


def derive_key(secret: bytes, site: str, node: str, enrolled_ns: int) -> bytes:
    """The key of one enrolment: HKDF-Expand (RFC 5869) of one block, for the secret is uniformly random."""
    about = f"edgeloop/v1/wire\0{site}\0{node}\0{enrolled_ns}\x01"
    return hmac.digest(secret, about.encode(), "sha256")


@dataclass(slots=True)
class _Known:
    seal: Seal | None
    looked_s: float


class WireKeys:
    """The seals of enrolled nodes. Any thread may call."""

    def __init__(self, engine: Engine, secret: str) -> None:
        self._engine = engine
        self._secret = secret.encode()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._looks = LOOKS_PER_S
        self._refilled_s = time.monotonic()
        self._lock = threading.Lock()

    def key(self, site: str, node: str) -> bytes:
        """The key of an enrolled node. Raises ``LookupError`` for one that is not enrolled there."""
        key = self._read(site, node)
        if key is None:
            raise LookupError(f"{node} is not enrolled at {site}")
        return key

    def seal(self, site: str, node: str, *, again: bool = False) -> Seal | None:
        """The seal of a node; None for one that is not enrolled.

        ``again`` is for a message that does not match: the enrolment is read again, at a limited rate.
        Raises ``SQLAlchemyError``.
        """
        name, now_s = (site, node), time.monotonic()
        with self._lock:
            known = self._known.get(name)
            if known is not None and not (
                (again or known.seal is None) and now_s - known.looked_s >= LOOK_AGAIN_S
            ):
                return known.seal
            if not self._may_look(now_s):
                return known.seal if known else None
        key = self._read(site, node)
        with self._lock:
            self._known[name] = _Known(Seal(key) if key else None, now_s)
            self._known.move_to_end(name)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return self._known[name].seal

    def _may_look(self, now_s: float) -> bool:
        self._looks = min(LOOKS_PER_S, self._looks + (now_s - self._refilled_s) * LOOKS_PER_S)
        self._refilled_s = now_s
        if self._looks < 1:
            return False
        self._looks -= 1
        return True

    def _read(self, site: str, node: str) -> bytes | None:
        with Session(read_only(self._engine)) as session:
            in_service = (col(Node.name) == node, col(Node.site) == site, col(Node.retired_ns) == 0)
            enrolled_ns = session.scalar(select(col(Node.enrolled_ns)).where(*in_service))
        return derive_key(self._secret, site, node, enrolled_ns) if enrolled_ns else None

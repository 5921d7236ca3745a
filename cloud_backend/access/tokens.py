"""Bearer tokens and MQTT passwords: made here, shown once, kept as digests only.

Tokens are 256 random bits, so a plain SHA-256 of one tells nothing. A node's MQTT password is kept in
the form that Mosquitto reads (PBKDF2), so that its password file can be made anew from the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session, select

from cloud_backend.access.secrets import keep, open_folder
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node
from common.clock import Clock, anchored_clock
from common.errors import AccessDenied
from common.messages import topics

CLOUD_USER = "CLOUD"
"""The cloud's own user at the broker; no node can have it, because names have no capitals."""
ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105  a file name
_PASSWORD_ROUNDS = 101
"""Mosquitto's default; the passwords are random, so no more are needed."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token belongs to: ``kind`` is ``admin`` or ``node``; the others are empty for an admin."""

    kind: str
    node: str = ""
    site: str = ""


class Access:
    """Tokens and passwords of one cloud; the admin's token lies in the folder ``secrets``."""

    def __init__(self, engine: Engine, secrets: Path, clock: Clock | None = None) -> None:
        folder = open_folder(secrets)
        self._engine = engine
        self._clock = clock or anchored_clock()
        self.admin_token = keep(folder, ADMIN_TOKEN_FILE)
        self.admin_token_file = folder / ADMIN_TOKEN_FILE
        self.mqtt_password = keep(folder, "mqtt-password")
        """Password of `CLOUD_USER`."""

    def principal(self, token: str) -> Principal:
        """Whose token it is. Raises `AccessDenied` for one that is not known."""
        encoded = token.encode("utf-8", "surrogatepass")
        if hmac.compare_digest(encoded, self.admin_token.encode()):
            return Principal("admin")
        with Session(read_only(self._engine)) as session:
            node = session.exec(select(Node).where(Node.token_digest == _digest(encoded))).first()
        if node is None or not token:
            raise AccessDenied(
                "the bearer token is not known here; `edgeloop fleet enrol` makes one for a node"
            )
        return Principal("node", node.name, node.site)

    def enrol(self, node: str, site: str) -> tuple[str, str]:
        """A new token and MQTT password for a node; what it had before stops working.

        Raises `MessageError` for a name that cannot be one, and `AccessDenied` where the name is taken at
        another site.
        """
        topics(site, node)
        token, password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with Session(self._engine) as session:
            row = session.get(Node, node)
            if row is not None and row.site != site:
                raise AccessDenied(f"{node} is enrolled at site {row.site}; names are unique in the fleet")
            row = row or Node(name=node, site=site)
            row.token_digest = _digest(token.encode())
            row.mqtt_password_digest = hash_password(password)
            row.enrolled_ns = self._clock()
            session.add(row)
            session.commit()
        return token, password

    def broker_users(self) -> dict[str, str]:
        """Every user of the broker with its password's hash: the enrolled nodes and the cloud itself."""
        with Session(read_only(self._engine)) as session:
            rows = session.exec(select(Node.site, Node.name, Node.mqtt_password_digest)).all()
        users = {mqtt_user(site, name): digest for site, name, digest in rows if digest}
        return users | {CLOUD_USER: hash_password(self.mqtt_password)}


def mqtt_user(site: str, node: str) -> str:
    """A node's user at the broker (`common.config.Enrolment`)."""
    return f"{site}/{node}"


def hash_password(password: str) -> str:
    """A password as a line of Mosquitto's password file has it (format 7, PBKDF2 with SHA-512)."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PASSWORD_ROUNDS, 64)
    encoded = [base64.b64encode(part).decode() for part in (salt, key)]
    return f"$7${_PASSWORD_ROUNDS}${encoded[0]}${encoded[1]}"


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()

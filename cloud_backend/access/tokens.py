"""Bearer tokens and MQTT passwords: created here, shown once, kept as digests only.

Tokens are 256 random bits, so a plain SHA-256 of one reveals nothing. A node's MQTT password is kept in
the form that Mosquitto reads (PBKDF2), so that its password file can be derived from the store.

People sign in with a name and a password, or the admin's token in its place, or a one-time ticket. Each
way ends in a session, whose token is a bearer token too. A new password or a new admin token ends all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session, select

from cloud_backend.access.audit import Audit
from cloud_backend.access.devices import Devices
from cloud_backend.access.login_throttle import LoginThrottle
from cloud_backend.access.passwords import Passwords
from cloud_backend.access.secrets import keep, open_folder
from cloud_backend.access.sessions import Sessions
from cloud_backend.access.tickets import Tickets
from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node, Stream
from common.clock import Clock, anchored_clock
from common.errors import AccessDenied, LoginThrottled
from common.messages import topics

CLOUD_USER = "CLOUD"
"""The cloud's own user at the broker; no node can have it, because names have no capitals."""
ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105  a file name
_PASSWORD_ROUNDS = 101
"""Mosquitto's default; the passwords are random, so no more are needed."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Owner of a token: ``kind`` is ``admin`` or ``node``; ``node`` and ``site`` are a node's.

    ``name`` is the person's at a session and ``admin`` for the admin's token; ``expires_ns`` a session's.
    """

    kind: str
    node: str = ""
    site: str = ""
    name: str = ""
    expires_ns: int | None = None


class Access:
    """Tokens and passwords of one cloud; the admin's token lies in the folder ``secrets``."""

    def __init__(self, engine: Engine, secrets: Path, clock: Clock | None = None) -> None:
        folder = open_folder(secrets)
        self._engine = engine
        self._clock = clock or anchored_clock()
        self._lock = threading.Lock()
        self._login_throttle = LoginThrottle()
        self.admin_token = keep(folder, ADMIN_TOKEN_FILE)
        self.admin_token_file = folder / ADMIN_TOKEN_FILE
        self.mqtt_password = keep(folder, "mqtt-password")
        """Password of `CLOUD_USER`."""
        self.wire_keys = WireKeys(engine, keep(folder, "wire-secret"))
        self.passwords = Passwords(folder)
        self.sessions = Sessions(
            engine, self._clock, lambda: self.admin_token.encode() + b"|" + self.passwords.mark()
        )
        self.tickets = Tickets(self._clock)
        self.audit = Audit(engine, self._clock)
        self.devices = Devices(keep(folder, "device-key"), self._clock)

    def principal(self, token: str) -> Principal:
        """The principal of a token. Raises `AccessDenied` for an unknown one."""
        encoded = token.encode("utf-8", "surrogatepass")
        if hmac.compare_digest(encoded, self.admin_token.encode()):
            return Principal("admin", name="admin")
        person = self.person(token)
        if person is not None:
            return person
        with Session(read_only(self._engine)) as session:
            node = session.exec(select(Node).where(Node.token_digest == _digest(encoded))).first()
        if node is None or not token:
            raise AccessDenied("the bearer token is unknown; `edgeloop fleet enrol` creates one for a node")
        return Principal("node", node.name, node.site)

    def person(self, token: str) -> Principal | None:
        """The principal of a session's token; None for any other token."""
        found = self.sessions.find(token)
        return found and Principal("admin", name=found.name, expires_ns=found.expires_ns)

    def is_signed_in(self, token: str) -> bool:
        """Whether a session's token is still valid; the check is no use of it."""
        try:
            return self.sessions.is_valid(token)
        except AccessDenied:
            return False

    def sign_in(self, name: str, password: str, address: str, device_cookie: str = "") -> str:
        """The token of a new session, for the password or the admin's token.

        ``device_cookie`` is that of a browser in which someone signed in before, where it has one.

        Raises:
            LoginThrottled: too many wrong ones came from ``address``, or from everywhere.
            AccessDenied: it is neither.
        """
        device = self.devices.read(device_cookie)
        with self._lock:
            wait_s = self._login_throttle.begin(address, self._clock(), device)
        if wait_s:
            raise LoginThrottled(f"too many wrong passwords: wait {wait_s} s, then try again", wait_s)
        encoded = password.encode("utf-8", "surrogatepass")
        if not (hmac.compare_digest(encoded, self.admin_token.encode()) or self.passwords.fits(password)):
            raise AccessDenied("the password is wrong")
        with self._lock:
            self._login_throttle.succeeded(address, device)
        return self.sessions.start(name)

    def enrol(self, node: str, site: str) -> tuple[str, str]:
        """A new token and MQTT password for a node; its earlier ones become invalid.

        Raises `MessageError` for a name that cannot be one, and `AccessDenied` where the name is taken at
        another site.
        """
        topics(site, node)
        token, password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with Session(self._engine) as session:
            row = session.get(Node, node)
            if row is not None and row.site != site:
                raise AccessDenied(f"{node} is enrolled at site {row.site}; names are unique in the fleet")
            if row is not None and row.retired_ns:
                raise AccessDenied(
                    f"{node} is retired: `edgeloop fleet replace {node}` gives its place to a new device"
                )
            row = row or Node(name=node, site=site)
            row.token_digest = _digest(token.encode())
            row.mqtt_password_digest = hash_password(password)
            row.enrolled_ns = self._clock()
            session.add(row)
            session.commit()
        return token, password

    def retire(self, node: str, replaced_by: str = "") -> None:
        """Revoke the credentials of a node for good; its data stays."""
        with Session(self._engine) as session:
            row = session.get_one(Node, node)
            row.token_digest = row.mqtt_password_digest = ""
            row.retired_ns = row.retired_ns or self._clock()
            row.replaced_by = replaced_by
            row.state = "offline"
            session.add(row)
            session.commit()

    def reinstate(self, node: str) -> None:
        """Free a retired node's name for the enrolment of another device."""
        with Session(self._engine) as session:
            row = session.get_one(Node, node)
            unknown = Node(name=node, site=row.site, app=row.app)
            session.merge(unknown)
            session.commit()

    def remove(self, node: str) -> None:
        """Delete a node that has never sent anything. Raises `AccessDenied` for one with a history."""
        with Session(self._engine) as session:
            row = session.get_one(Node, node)
            streams = session.exec(select(Stream.id).where(Stream.node == node).limit(1)).first()
            if streams is not None or row.last_seen_ns:
                raise AccessDenied(f"{node} has a history, which stays: `edgeloop fleet retire {node}`")
            session.delete(row)
            session.commit()

    def broker_users(self) -> dict[str, str]:
        """Every user of the broker with its password's hash: the enrolled nodes and the cloud itself."""
        with Session(read_only(self._engine)) as session:
            rows = session.exec(select(Node.site, Node.name, Node.mqtt_password_digest)).all()
        users = {mqtt_user(site, name): digest for site, name, digest in rows if digest}
        return users | {CLOUD_USER: hash_password(self.mqtt_password)}


def mqtt_user(site: str, node: str) -> str:
    """A node's user at the broker (`common.config.node.Enrolment`)."""
    return f"{site}/{node}"


def hash_password(password: str) -> str:
    """A password as a line of Mosquitto's password file has it (format 7, PBKDF2 with SHA-512)."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PASSWORD_ROUNDS, 64)
    encoded = [base64.b64encode(part).decode() for part in (salt, key)]
    return f"$7${_PASSWORD_ROUNDS}${encoded[0]}${encoded[1]}"


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()

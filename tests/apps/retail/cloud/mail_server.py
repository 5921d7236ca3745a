"""A mail server with STARTTLS and a login, by aiosmtpd; it keeps what it takes."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")
smtp = pytest.importorskip("aiosmtpd.smtp")


@dataclass(frozen=True)
class Mail:
    """A mail that was taken."""

    recipients: list[str]
    content: bytes
    user: str
    is_encrypted: bool


class _Controller(controller.Controller):
    """On a free port: aiosmtpd itself connects to the port that it was given, not to that which it got."""

    def __init__(self, handler: object, **values: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(handler, port=self._socket.getsockname()[1], **values)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._socket)


class MailServer:
    """Used as a context; ``refuse`` is the reply to each mail instead of taking it."""

    def __init__(self, certificate_file: Path, key_file: Path, *, user: str, password: str) -> None:
        self.mails: list[Mail] = []
        self.refuse = ""
        self._login = (user, password)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_file, key_file)
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._authenticate,
        )

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        return self._controller.port

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            return self.refuse
        user = session.auth_data.decode() if session.auth_data else ""
        self.mails.append(Mail(envelope.rcpt_tos, envelope.content, user, session.ssl is not None))
        return "250 taken"

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> Any:
        given = data.login.decode(), data.password.decode()
        return smtp.AuthResult(success=given == self._login, handled=False, auth_data=data.login)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for localhost that is its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return paths

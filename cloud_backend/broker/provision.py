"""Files for an external Mosquitto as the broker of a cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cloud_backend.broker.broker import Users
from cloud_backend.broker.mosquitto import ACCESS_RULES, configuration, password_lines
from common import durable
from common.errors import ConfigError

CONFIGURATION, PASSWORDS, RULES = "mosquitto.conf", "passwords", "rules"


@dataclass(frozen=True, slots=True)
class Listener:
    """The listener of the broker, its system user, and its certificate (empty: without TLS).

    ``folder`` is where the files lie on the broker's machine; certificate and key are paths there.
    """

    host: str
    port: int
    folder: PurePosixPath
    system_user: str
    certificate: str = ""
    key: str = ""


def write_broker_files(out: Path, listener: Listener, users: Users) -> list[Path]:
    """Write configuration, password file and access rules; the files, for their owner only.

    Raises `ConfigError` for half a certificate.
    """
    if bool(listener.certificate) != bool(listener.key):
        raise ConfigError("TLS needs both the certificate and its key: --cert FILE --key FILE")
    text = configuration(listener.host, listener.port, PurePosixPath(listener.folder), listener.system_user)
    if listener.certificate:
        text += f"certfile {listener.certificate}\nkeyfile {listener.key}\ntls_version tlsv1.2\n"
    contents = {CONFIGURATION: text, PASSWORDS: password_lines(users()), RULES: ACCESS_RULES}
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in contents.items():
        durable.write(out / name, content.encode(), mode=0o600)
    return [out / name for name in contents]

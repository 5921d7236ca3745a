"""A real PostgreSQL for tests: a child on a Unix socket, without durability, gone when the tests end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.waiting import PATIENCE_S


def find_binaries() -> Path | None:
    """The folder with initdb and postgres; None where PostgreSQL's server is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found += [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    return next(
        (folder for folder in found if all((folder / p).exists() for p in ("initdb", "postgres"))), None
    )


class Postgres:
    """One server; ``url()`` gives a new, empty database of it. It can be stopped and started again."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if self._user:
            shutil.chown(folder, self._user)
        options = ["-D", str(folder / "data"), "-U", "edgeloop", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(self._command("initdb", *options), check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self._folder / "log").open("ab")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "max_connections": "40",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", str(self._folder / "data"), *options)
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        log.close()
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, cutting all connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def url(self) -> str:
        """A new, empty database."""
        self._databases += 1
        name = f"edgeloop_{self._databases}"
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://edgeloop@/{name}?host={self._folder}"

    @property
    def _address(self) -> str:
        return f"host={self._folder} user=edgeloop dbname=postgres connect_timeout=5"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._address).close()
        except psycopg.OperationalError:
            return False
        return True

    def _command(self, program: str, *arguments: str) -> list[str]:
        prefix = (
            ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"]
            if self._user
            else []
        )
        return [*prefix, str(self._binaries / program), *arguments]


def _unprivileged_user() -> str:
    """User of the server: PostgreSQL refuses root. Empty for the current one."""
    if os.geteuid():
        return ""
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL for the session; skips where its server is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server (initdb, postgres) is not installed: apt-get install postgresql")
    if not os.geteuid() and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and setpriv is not there to drop the rights")
    with tempfile.TemporaryDirectory(prefix="edgeloop-pg-") as folder:
        server = Postgres(binaries, Path(folder))
        server.start()
        yield server
        server.stop()

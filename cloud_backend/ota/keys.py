"""Signing keys of the update repository: Ed25519, one PEM file each, readable by the owner only."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from common import durable
from common.errors import RegistryError


class Keys:
    """Keys in ``folder``: ``<role>-<number>.pem``, created at first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(folder, 0o700)

    def signer(self, role: str, number: int = 1) -> CryptoSigner:
        """The signer of a role's key, created at first use.

        Raises `RegistryError` for a file that is not an Ed25519 key.
        """
        path = self._folder / f"{role}-{number}.pem"
        if not path.exists():
            fresh = Ed25519PrivateKey.generate()
            pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            durable.write(path, pem, mode=0o600)
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except ValueError as error:
            raise RegistryError(f"{path} is not a private key ({error}): restore it from a backup") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise RegistryError(f"{path} is not an Ed25519 key: restore it from a backup")
        return CryptoSigner(key)

    def signers(self, role: str, count: int) -> list[CryptoSigner]:
        """The first ``count`` keys of a role."""
        return [self.signer(role, number) for number in range(1, count + 1)]

    def present(self, role: str) -> list[CryptoSigner]:
        """Every key of a role with a file."""
        return [self.signer(role, number) for number in self._numbers(role)]

    def latest(self, role: str) -> int:
        """Highest number of a role's keys; 0 if it has none."""
        return max(self._numbers(role), default=0)

    def _numbers(self, role: str) -> list[int]:
        found = [path.stem.removeprefix(f"{role}-") for path in self._folder.glob(f"{role}-*.pem")]
        return sorted(int(number) for number in found if number.isdigit())

"""The one password that people sign in with, kept as its scrypt hash in a file of the secrets folder.

- The file is read at each try, so a new password (`edgeloop cloud password`) counts at once.
- It names its own parameters; a file whose parameters need more memory than `MEMORY_LIMIT_BYTES` is refused.
- Each password has a new salt. `mark` names the password of the moment: `cloud_backend.access.sessions`
  binds every session to it, so that a new password ends them all.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import unicodedata
from pathlib import Path
from typing import Annotated

import msgspec

from common import durable
from common.errors import AccessDenied

PASSWORD_FILE = "password"  # noqa: S105  a file name
MIN_CHARACTERS = 12
MOST_CHARACTERS = 1024
MEMORY_LIMIT_BYTES = 256 * 1024 * 1024
GROUPS, GROUP_LETTERS = 4, 6
LETTERS = "abcdefghjkmnpqrstuvwxyz"
"""Without i, l and o, which are mistaken for digits and each other."""
BITS = GROUPS * GROUP_LETTERS * math.log2(len(LETTERS))
"""Entropy of a generated password."""


class Hash(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="scheme", tag="scrypt"):
    """A password's hash and what it was made with (RFC 7914: cost ``n``, block size ``r``, lanes ``p``)."""

    salt: bytes
    key: bytes
    n: Annotated[int, msgspec.Meta(ge=2**14, le=2**20)] = 2**15
    r: Annotated[int, msgspec.Meta(ge=8, le=32)] = 8
    p: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1

    def fits(self, password: str) -> bool:
        """Whether it is this password's hash, in constant time."""
        return hmac.compare_digest(_derive(password, self.salt, self.n, self.r, self.p), self.key)


class Passwords:
    """The password of the cloud whose secrets lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / PASSWORD_FILE

    def make(self) -> str:
        """Make a password and keep it, if there is none yet; the empty text if there is one."""
        if self.file.exists():
            return ""
        password = generate()
        self.set(password)
        return password

    def set(self, password: str) -> None:
        """Keep a new password. Raises `AccessDenied` for one that is too short or too long."""
        if not MIN_CHARACTERS <= len(password) <= MOST_CHARACTERS:
            raise AccessDenied(
                f"a password has {MIN_CHARACTERS} to {MOST_CHARACTERS} characters, this one {len(password)}"
            )
        salt = secrets.token_bytes(16)
        blank = Hash(salt, b"")
        kept = Hash(salt, _derive(password, salt, blank.n, blank.r, blank.p))
        durable.write(self.file, msgspec.json.encode(kept) + b"\n", mode=0o600)

    def fits(self, password: str) -> bool:
        """Whether it is the password; False where none is set. Raises `AccessDenied` for a damaged file."""
        kept = self._read()
        return kept is not None and len(password) <= MOST_CHARACTERS and kept.fits(password)

    def mark(self) -> bytes:
        """Mark of the present password; empty where none is set. Raises `AccessDenied` like `fits`."""
        kept = self._read()
        return b"" if kept is None else kept.salt

    def _read(self) -> Hash | None:
        try:
            kept = msgspec.json.decode(self.file.read_bytes(), type=Hash)
            if 128 * kept.n * kept.r * kept.p > MEMORY_LIMIT_BYTES or not kept.key:
                raise msgspec.ValidationError("its parameters are out of bounds")
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise AccessDenied(
                f"{self.file} cannot be used ({error}): set a new one with `edgeloop cloud password`"
            ) from error
        return kept


def generate() -> str:
    """A random password of more than 100 bits, such as ``abcdef-ghjkmn-pqrstu-vwxyza``."""
    groups = ("".join(secrets.choice(LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(GROUPS))
    return "-".join(groups)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # The same text typed on another keyboard may come in another form of Unicode (NIST SP 800-63B, 3.1.1.2).
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=2 * MEMORY_LIMIT_BYTES, dklen=32)

"""Serials of deployment documents: which one a node accepts, and which versions it rejects. No I/O.

- A document must reach the highest serial that was seen under the same keys of the app's role.
- A rejected version is not tried again until a newer serial names it.
- Under new keys everything that serials decided starts over: whoever had the old keys may have set any
  serial.
"""

from __future__ import annotations

from typing import Self

import msgspec

REFUSED_LIMIT = 64
"""Number of rejected versions that are kept; beyond it the oldest is removed."""


class Refused(msgspec.Struct, frozen=True):
    """A version that this node rejects, and the serial that named it at that time."""

    version: str
    serial: int


class Floors(msgspec.Struct, frozen=True):
    """Highest versions of TUF metadata seen; ``keys`` are the timestamp and snapshot keys.

    ``app_keys`` are the keys of the app's role under which the deployment serial was seen.
    """

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    keys: str = ""
    app_keys: str = ""


class DeploymentSerials(msgspec.Struct, frozen=True, kw_only=True):
    """Serials of one node; the part of its slots' state that decides which deployments it follows."""

    serial: int = 0
    """Serial of the deployment that the live model runs for."""
    seen_serial: int = 0
    """Highest serial seen under ``floors.app_keys``."""
    floors: Floors = Floors()
    refused: list[Refused] = []

    def is_refused(self, version: str, serial: int) -> bool:
        """Whether ``version`` is rejected and no newer serial names it."""
        return any(r.version == version and serial <= r.serial for r in self.refused)

    def serial_floor(self, floors: Floors) -> int:
        """The serial that a deployment document must reach: the highest seen under the same keys."""
        return 0 if self._has_new_keys(floors) else self.seen_serial

    def saw(self, floors: Floors, serial: int) -> Self:
        """Valid metadata and, with ``serial`` > 0, a valid deployment document were read."""
        if self._has_new_keys(floors):
            return msgspec.structs.replace(
                self, floors=floors, seen_serial=serial, serial=min(self.serial, serial), refused=[]
            )
        return msgspec.structs.replace(self, floors=floors, seen_serial=max(self.seen_serial, serial))

    def without(self, version: str, serial: int) -> Self:
        """Reject ``version`` until a serial above ``serial`` names it."""
        others = [r for r in self.refused if r.version != version]
        return msgspec.structs.replace(self, refused=[*others, Refused(version, serial)][-REFUSED_LIMIT:])

    def _has_new_keys(self, floors: Floors) -> bool:
        return bool(self.floors.app_keys) and self.floors.app_keys != floors.app_keys

"""Root metadata of the update repository: the keys of the top-level roles, and who may replace them.

- Versions follow each other without a gap; each is signed by a threshold of its own root keys and of those
  of the version before (TUF specification, 5.3).
- A version is visible as soon as its file exists.
- Renewal without enough private keys is logged, and an error only once the root has expired.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cloud_backend.ota.keys import Keys
from cloud_backend.ota.lifetimes import Lifetimes
from common import durable
from common.errors import RegistryError

log = logging.getLogger(__name__)

KEYS = {"root": 3, "targets": 2}
"""Number of keys of a role with more than one."""
THRESHOLDS = {"root": 2, "targets": 2}
"""Number of them that must sign."""
TOP_ROLES = frozenset({"root", "targets", "snapshot", "timestamp"})


class RootMetadata:
    """The root metadata in ``folder``, created at the first start.

    Raises `RegistryError` where every version is damaged.
    """

    def __init__(self, folder: Path, keys: Keys, lifetimes: Lifetimes) -> None:
        self._folder = folder
        self._keys = keys
        self._lifetimes = lifetimes
        self.metadata: Metadata[Root] = self._open() or self._create()

    @property
    def version(self) -> int:
        """Present version."""
        return self.metadata.signed.version

    def keyids(self, role: str) -> list[str]:
        """Ids of the keys of a top-level role."""
        return list(self.metadata.signed.get_delegated_role(role).keyids)

    def verify(
        self, role: str, metadata: Metadata[Snapshot] | Metadata[Timestamp] | Metadata[Targets]
    ) -> None:
        """Check the signatures of a top-level role's metadata. Raises ``UnsignedMetadataError``."""
        self.metadata.verify_delegate(role, metadata)

    def renew_if_due(self) -> None:
        """Sign a new version at half of the lifetime. Until it expires, other roles can do without its keys.

        Raises `RegistryError` for an expired root whose private keys are missing.
        """
        if not self._lifetimes.is_due("root", self.metadata.signed.expires):
            return
        try:
            self._write(self.metadata.signed)
        except RegistryError as error:
            if self.metadata.signed.is_expired(self._lifetimes.now()):
                raise
            log.error("the root expires on %s: %s", self.metadata.signed.expires.date(), error)

    def add_versions(self, count: int) -> None:
        """Sign ``count`` more versions of the same content."""
        for _ in range(count):
            self._write(self.metadata.signed)

    def replace_keys(self, role: str) -> None:
        """Replace the keys of a top-level role by new ones. Raises `RegistryError` without root keys."""
        first = self._keys.latest(role) + 1
        changed = deepcopy(self.metadata.signed)
        for keyid in list(changed.roles[role].keyids):
            changed.revoke_key(keyid, role)
        for number in range(first, first + KEYS.get(role, 1)):
            changed.add_key(self._keys.signer(role, number).public_key, role)
        self._write(changed)

    def _open(self) -> Metadata[Root] | None:
        """The newest undamaged version; None before the first start."""
        versions = sorted(versions_in(self._folder, "root"), reverse=True)
        for version in versions:
            try:
                root = Metadata[Root].from_file(str(self._folder / f"{version}.root.json"))
                root.verify_delegate("root", root)
                return root
            except (RepositoryError, DeserializationError, ValueError) as error:
                log.error("root version %d is damaged: %s", version, error)
        if versions:
            raise RegistryError(
                f"no root metadata in {self._folder} is intact: restore it from a backup, "
                "or nodes would have to be enrolled again"
            )
        return None

    def _create(self) -> Metadata[Root]:
        signed = Root(consistent_snapshot=True, expires=self._lifetimes.expiry("root"))
        signed.version = 0
        for role in sorted(TOP_ROLES):
            for signer in self._keys.signers(role, KEYS.get(role, 1)):
                signed.add_key(signer.public_key, role)
            signed.roles[role].threshold = THRESHOLDS.get(role, 1)
        return self._write(signed)

    def _write(self, changed: Root) -> Metadata[Root]:
        signed = deepcopy(changed)
        signed.version += 1
        signed.expires = self._lifetimes.expiry("root")
        metadata = Metadata(signed)
        trusting = [metadata] if signed.version == 1 else [self.metadata, metadata]
        named = {keyid for root in trusting for keyid in root.signed.roles["root"].keyids}
        for signer in self._keys.present("root"):
            if signer.public_key.keyid in named:
                metadata.sign(signer, append=True)
        try:
            for root in trusting:
                root.verify_delegate("root", metadata)
        except UnsignedMetadataError as error:
            raise RegistryError(
                f"too few private keys of the root are present ({error}): restore them from a backup"
            ) from error
        content = metadata.to_bytes(JSONSerializer(compact=False))
        durable.write(self._folder / f"{signed.version}.root.json", content)
        self.metadata = metadata
        return metadata


def versions_in(folder: Path, role: str) -> list[int]:
    """Versions of a role's metadata that have a file in ``folder``."""
    found = (path.name.removesuffix(f".{role}.json") for path in folder.glob(f"*.{role}.json"))
    return [int(number) for number in found if number.isdigit()]

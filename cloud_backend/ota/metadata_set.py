"""Metadata of the update repository as one consistent set: targets roles, snapshot, timestamp.

- A publication is visible through ``timestamp.json`` alone, which is replaced last. An interrupted
  publication is either completed by that or never referenced; `MetadataSet.open` restores the set that the
  timestamp names.
- Versions only grow. The version number of an interrupted publication may be used again: no client can have
  seen it.
- The timestamp names length and digest of the snapshot, the snapshot those of every role: no mixing.
- Damaged metadata is signed again under versions above any that a client can have seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, StorageError, UnsignedMetadataError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cloud_backend.ota.keys import Keys
from cloud_backend.ota.lifetimes import Lifetimes
from cloud_backend.ota.root_metadata import TOP_ROLES, RootMetadata, versions_in
from common import durable
from common.errors import RegistryError

log = logging.getLogger(__name__)

KEPT_VERSIONS = 3
"""Old versions of a metadata file that are kept for clients in the middle of an update."""


class MetadataSet:
    """The metadata in ``folder``. Call `open` first, and again after a failed change."""

    def __init__(self, folder: Path, keys: Keys, lifetimes: Lifetimes) -> None:
        self._folder = folder
        self._keys = keys
        self._lifetimes = lifetimes
        self._is_new = not keys.latest("timestamp")
        self.root = RootMetadata(folder, keys, lifetimes)
        self.roles: dict[str, Metadata[Targets]] = {}
        """Metadata of ``targets`` and of each app."""
        self.snapshot_version = 0
        self.timestamp_version = 0
        self._floor = 0

    # ------------------------------------------------------------------------------------------ state

    def apps(self) -> list[str]:
        """Apps with a role."""
        return sorted(set(self.roles) - {"targets"})

    def role(self, name: str) -> Metadata[Targets]:
        """Metadata of ``targets`` or of an app. Raises `RegistryError` for an unknown app."""
        try:
            return self.roles[name]
        except KeyError:
            raise RegistryError(
                f"the update repository has no app {name!r}; it has {', '.join(self.apps()) or 'none'}"
            ) from None

    def keyids(self, role: str) -> list[str]:
        """Ids of a role's keys, as the root or the top-level targets name them."""
        if role in TOP_ROLES:
            return self.root.keyids(role)
        return list(self.role("targets").signed.get_delegated_role(role).keyids)

    def kept(self) -> Iterator[Metadata[Targets]]:
        """The present version of every targets role and the older ones that clients may still use."""
        for name, role in self.roles.items():
            yield role
            for version in range(role.signed.version - KEPT_VERSIONS + 1, role.signed.version):
                if (path := self._folder / f"{version}.{name}.json").exists():
                    yield Metadata[Targets].from_file(str(path))

    # ---------------------------------------------------------------------------------------- changes

    def add_app(self, app: str) -> None:
        """Delegate ``<app>/...`` to a new role with one new key."""
        key = self._keys.signer(app)
        top = self.role("targets").signed
        if top.delegations is None:
            top.delegations = Delegations(keys={}, roles={})
        assert top.delegations.roles is not None
        top.delegations.roles[app] = DelegatedRole(
            name=app, keyids=[], threshold=1, terminating=True, paths=[f"{app}/*", f"{app}/bundles/*/*"]
        )
        top.add_key(key.public_key, app)
        self.roles[app] = self._new_role(app)
        self.write("targets", app)

    def replace_app_key(self, app: str) -> None:
        """Replace the key of an app's role by a new one."""
        top = self.role("targets").signed
        assert top.delegations is not None
        assert top.delegations.roles is not None
        for keyid in list(top.delegations.roles[app].keyids):
            top.revoke_key(keyid, app)
        top.add_key(self._keys.signer(app, self._keys.latest(app) + 1).public_key, app)
        self.write("targets", app)

    def raise_versions(self, floor: int) -> None:
        """Sign everything but the root again, above version ``floor``."""
        for role in self.roles.values():
            role.signed.version = max(role.signed.version, floor)
        self.snapshot_version = max(self.snapshot_version, floor)
        self.timestamp_version = max(self.timestamp_version, floor)
        self.write(*self.roles)

    def renew_if_due(self) -> bool:
        """Renew what has lived half of its life; whether anything but the root was due."""
        self.root.renew_if_due()
        due = [name for name, role in self.roles.items() if self._lifetimes.is_due(name, role.signed.expires)]
        if due or self._lifetimes.is_due("snapshot", self._snapshot_expires):
            self.write(*due)
            return True
        if self._lifetimes.is_due("timestamp", self._timestamp_expires):
            self._write_timestamp()
            return True
        return False

    def drop_old_files(self) -> None:
        """Remove metadata files older than `KEPT_VERSIONS`."""
        current = {name: role.signed.version for name, role in self.roles.items()}
        for name, newest in {**current, "snapshot": self.snapshot_version}.items():
            for version in versions_in(self._folder, name):
                if version < newest - KEPT_VERSIONS:
                    (self._folder / f"{version}.{name}.json").unlink(missing_ok=True)

    # ---------------------------------------------------------------------------------------- opening

    def open(self) -> None:
        """Load the set that the timestamp names; sign again what is missing or not by the root's keys."""
        never = datetime.min.replace(tzinfo=UTC)
        self._snapshot_expires = self._timestamp_expires = never
        self.roles = {}
        try:
            timestamp = Metadata[Timestamp].from_file(str(self._folder / "timestamp.json"))
            self.timestamp_version = timestamp.signed.version
            self._timestamp_expires = timestamp.signed.expires
            version = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_file(str(self._folder / f"{version}.snapshot.json"))
            for name, meta in snapshot.signed.meta.items():
                role = Metadata[Targets].from_file(str(self._folder / f"{meta.version}.{name}"))
                self.roles[name.removesuffix(".json")] = role
            self.snapshot_version, self._snapshot_expires = version, snapshot.signed.expires
            self.root.verify("snapshot", snapshot)
            self.root.verify("timestamp", timestamp)
        except UnsignedMetadataError:
            log.info("the keys of snapshot or timestamp changed: signing both again")
            self.write()
        except (RepositoryError, DeserializationError, StorageError, OSError) as error:
            self._repair(error)

    def _repair(self, error: Exception) -> None:
        """Sign the readable roles again, under versions that no node can have seen.

        Versions grow by one at most every second, so the time in seconds is above all of them.
        """
        if not self._is_new:
            log.error("the update repository is damaged (%s): signing the readable roles again", error)
            self._floor = int(self._lifetimes.now().timestamp())
        names = {path.name.partition(".")[2].removesuffix(".json") for path in self._folder.glob("*.*.json")}
        for name in sorted(names - {"root", "snapshot"}):
            found = _newest(self._folder, name)
            if found is not None:
                found.signed.version = max(found.signed.version, self._floor)
                self.roles[name] = found
        if "targets" not in self.roles:
            self.roles = {"targets": self._new_role("targets")}
        self.snapshot_version = max(self._floor, *versions_in(self._folder, "snapshot"), 0)
        self.timestamp_version = max(self._floor, self.timestamp_version)
        self.write(*self.roles)

    # ---------------------------------------------------------------------------------------- writing

    def write(self, *changed: str) -> None:
        """Publish new versions of the roles ``changed``, then the snapshot, then the timestamp."""
        for name in changed:
            signed = self.roles[name].signed
            signed.version += 1
            signed.expires = self._lifetimes.expiry(name)
            self.roles[name] = metadata = Metadata(signed)
            self._save(f"{signed.version}.{name}.json", metadata, self._signers(name))
        metas = {f"{name}.json": self._meta(name, role.signed.version) for name, role in self.roles.items()}
        self.snapshot_version += 1
        self._snapshot_expires = self._lifetimes.expiry("snapshot")
        snapshot = Snapshot(version=self.snapshot_version, expires=self._snapshot_expires, meta=metas)
        self._save(f"{snapshot.version}.snapshot.json", Metadata(snapshot), self._signers("snapshot"))
        self._write_timestamp()

    def _write_timestamp(self) -> None:
        self.timestamp_version += 1
        self._timestamp_expires = self._lifetimes.expiry("timestamp")
        meta = self._meta("snapshot", self.snapshot_version)
        timestamp = Timestamp(
            version=self.timestamp_version, expires=self._timestamp_expires, snapshot_meta=meta
        )
        self._save("timestamp.json", Metadata(timestamp), self._signers("timestamp"))

    def _signers(self, role: str) -> list[CryptoSigner]:
        named = self.keyids(role)
        found = [signer for signer in self._keys.present(role) if signer.public_key.keyid in named]
        if not found:
            raise RegistryError(f"the private key of the role {role} is missing: restore it from a backup")
        return found

    def _save(
        self,
        name: str,
        metadata: Metadata[Snapshot] | Metadata[Timestamp] | Metadata[Targets],
        signers: list[CryptoSigner],
    ) -> None:
        for signer in signers:
            metadata.sign(signer, append=True)
        durable.write(self._folder / name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _meta(self, role: str, version: int) -> MetaFile:
        content = (self._folder / f"{version}.{role}.json").read_bytes()
        return MetaFile.from_data(version, content, ["sha256"])

    def _new_role(self, name: str) -> Metadata[Targets]:
        signed = Targets(expires=self._lifetimes.expiry(name))
        signed.version = self._floor
        return Metadata(signed)


def _newest(folder: Path, role: str) -> Metadata[Targets] | None:
    """The newest readable version of a role, numbered as the newest file of the role."""
    versions = sorted(versions_in(folder, role), reverse=True)
    for version in versions:
        try:
            found = Metadata[Targets].from_file(str(folder / f"{version}.{role}.json"))
        except (RepositoryError, DeserializationError, OSError):
            continue
        found.signed.version = versions[0]
        return found
    return None

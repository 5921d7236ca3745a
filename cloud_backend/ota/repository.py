"""The update repository: TUF metadata and targets as static files that any web server or CDN can give.

Roles (TUF specification 1.0; python-tuf's Metadata API, Ed25519)::

    root (3 keys, 2 must sign) ── targets (2 of 2, delegates only) ── <app> (1 key, paths <app>/...)
                               ├─ snapshot (1 key)
                               └─ timestamp (1 key, short-lived, renewed by itself)

Rules:

- A publication is visible through ``timestamp.json`` alone, which is replaced last. Whatever the process
  did before it died is either finished by that or never referred to; at the next start the repository
  goes on from what the timestamp names.
- Versions only grow. A version number that a crashed publication used may be written again, since nobody
  could see it.
- Snapshots are consistent: files are named after their version or digest and stay for a while after they
  were replaced, so that a client in the middle of an update can finish it.
- The timestamp names length and digest of the snapshot, the snapshot those of every role: no mixing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, StorageError, UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cloud_backend.ota.keys import Keys
from common import durable
from common.bundle import MANIFEST, Bundle, open_bundle
from common.clock import Clock, anchored_clock
from common.connection import CONNECTION_TARGET, Connection, moved
from common.deployment import Deployment, bundle_target, deployment_target
from common.errors import RegistryError
from common.messages import NAME_PATTERN

log = logging.getLogger(__name__)

KEYS = {"root": 3, "targets": 2}
"""Keys of a role where it has more than one."""
THRESHOLDS = {"root": 2, "targets": 2}
"""How many of them must sign."""
LIFE = {"root": timedelta(days=365), "targets": timedelta(days=180), "snapshot": timedelta(days=30)}
APP_LIFE = timedelta(days=180)
ROOT_STEPS_LIMIT = 16
KEPT_VERSIONS = 3
"""Old versions of a metadata file that stay for clients in the middle of an update."""
TOP_ROLES = frozenset({"root", "targets", "snapshot", "timestamp"})


class Repository:
    """The repository in ``folder``; its keys in ``secrets``. One process writes it."""

    def __init__(
        self,
        folder: Path,
        secrets: Path,
        apps: Iterable[str],
        timestamp_s: float = 86400.0,
        clock: Clock | None = None,
    ) -> None:
        """Open the repository; at the first start, make keys and metadata.

        Raises `RegistryError` for damaged keys or root metadata, which only a backup can bring back.
        """
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self._keys = Keys(secrets / "tuf")
        self._is_new = not self._keys.latest("timestamp")
        self._timestamp_life = timedelta(seconds=timestamp_s)
        self._clock = clock or anchored_clock()
        self._lock = threading.RLock()
        for path in (self.metadata, self.targets):
            path.mkdir(parents=True, exist_ok=True)
        self._root: Metadata[Root] = self._open_root()
        self._roles: dict[str, Metadata[Targets]] = {}
        self._snapshot_version = 0
        self._timestamp_version = 0
        self._floor = 0
        self._open_current()
        for app in apps:
            self.add_app(app)
        self.renew_if_due()

    # ------------------------------------------------------------------------------------- questions

    def root(self) -> dict[str, Any]:
        """The root metadata that an enrolment pins."""
        return self._root.to_dict()

    def apps(self) -> list[str]:
        """Apps that have a role."""
        return sorted(set(self._roles) - {"targets"})

    def deployment(self, app: str) -> Deployment | None:
        """The document that stands in the repository; None before the first."""
        with self._lock:
            target = self._role(app).signed.targets.get(deployment_target(app))
            if target is None:
                return None
            content = self._target_path(target).read_bytes()
            return msgspec.json.decode(content, type=Deployment)

    @property
    def version(self) -> int:
        """Highest version that this repository has signed, of any role but the root."""
        return max(self._timestamp_version, self._snapshot_version)

    @property
    def root_version(self) -> int:
        return self._root.signed.version

    def roles(self) -> list[tuple[str, list[str], int]]:
        """Every role with the ids of its keys and the version of its metadata."""
        with self._lock:
            versions = {
                "root": self._root.signed.version,
                "snapshot": self._snapshot_version,
                "timestamp": self._timestamp_version,
                **{name: role.signed.version for name, role in self._roles.items()},
            }
            return [(name, self._keyids(name), version) for name, version in sorted(versions.items())]

    def connection(self) -> Connection | None:
        """Where nodes find the broker; None before the first `publish_connection`."""
        with self._lock:
            target = self._role("targets").signed.targets.get(CONNECTION_TARGET)
            if target is None:
                return None
            return msgspec.json.decode(self._target_path(target).read_bytes(), type=Connection)

    def versions(self, app: str) -> list[str]:
        """Model versions whose bundles are published."""
        prefix = f"{app}/bundles/"
        with self._lock:
            names = [p for p in self._role(app).signed.targets if p.startswith(prefix)]
        return sorted({name.removeprefix(prefix).partition("/")[0] for name in names})

    # ---------------------------------------------------------------------------------------- changes

    def add_app(self, app: str) -> None:
        """Give ``app`` a role of its own, if it has none. Raises `RegistryError` for an unusable name."""
        if app in TOP_ROLES or not NAME_PATTERN.fullmatch(app):
            raise RegistryError(f"{app!r} cannot name an app with updates: it is reserved or malformed")
        with self._change():
            if app in self._roles:
                return
            key = self._keys.signer(app)
            top = self._role("targets").signed
            if top.delegations is None:
                top.delegations = Delegations(keys={}, roles={})
            assert top.delegations.roles is not None
            top.delegations.roles[app] = DelegatedRole(
                name=app,
                keyids=[],
                threshold=1,
                terminating=True,
                paths=[f"{app}/*", f"{app}/bundles/*/*"],
            )
            top.add_key(key.public_key, app)
            self._roles[app] = self._fresh(APP_LIFE)
            self._write("targets", app)
            log.info("the update repository has a role for the app %s", app)

    def publish(
        self,
        app: str,
        bundle: Bundle | None,
        deployment: Deployment,
        *,
        others: Iterable[Bundle] = (),
        keep: Collection[str] = (),
    ) -> None:
        """Put a deployment document, and the bundles that it needs, into the repository.

        Bundles stay that the document names, or ``keep`` does. Raises `RegistryError` for a document or a
        bundle of another app, or one that names a bundle which is not there; `BundleError` for a damaged
        one.
        """
        named = {deployment.base_version, *(wave.version for wave in deployment.waves)} - {""}
        with self._change():
            present = dict(self._role(app).signed.targets)
            for each in (*([bundle] if bundle is not None else []), *others):
                present |= self._add_bundle(app, open_bundle(each.path, app=app))
            kept = {
                path: target
                for path, target in present.items()
                if any(path.startswith(bundle_target(app, version, "")) for version in {*named, *keep})
            }
            for version in named:
                if bundle_target(app, version, MANIFEST) not in kept:
                    raise RegistryError(
                        f"{app} {version} is not in the repository: publish its bundle with it"
                    )
            if deployment.app != app:
                raise RegistryError(f"the deployment is for {deployment.app!r}, not for {app!r}")
            path = deployment_target(app)
            kept[path] = self._add_target(path, msgspec.json.encode(deployment))
            self._role(app).signed.targets = kept
            self._write(app)
            self._prune()

    def publish_connection(self, mqtt_host: str, mqtt_port: int) -> None:
        """Tell nodes where the broker is now, if that has changed; those with an earlier address follow."""
        before = self.connection()
        wanted = moved(before, mqtt_host, mqtt_port)
        if wanted == before:
            return
        with self._change():
            target = self._add_target(CONNECTION_TARGET, msgspec.json.encode(wanted))
            self._role("targets").signed.targets[CONNECTION_TARGET] = target
            self._write("targets")

    def raise_versions(self, floor: int, root: int = 0) -> None:
        """Sign everything again above ``floor``, and the root up to version ``root``.

        For a repository that was put back to an earlier day, whose nodes have seen newer metadata. The root's
        versions follow each other without a gap, and a node fetches each, so at most `ROOT_STEPS_LIMIT` are
        added.
        """
        with self._change():
            for _ in range(min(root - self._root.signed.version, ROOT_STEPS_LIMIT)):
                self._write_root(self._root.signed)
            for role in self._roles.values():
                role.signed.version = max(role.signed.version, floor)
            self._snapshot_version = max(self._snapshot_version, floor)
            self._timestamp_version = max(self._timestamp_version, floor)
            self._write(*self._roles)

    def renew_if_due(self) -> bool:
        """Renew what has lived half of its life. Call it often; it is cheap when nothing is due."""
        with self._change():
            if self._due(self._root.signed.expires, LIFE["root"]):
                self._renew_root()
            due = [
                name
                for name, role in self._roles.items()
                if self._due(role.signed.expires, LIFE.get(name, APP_LIFE))
            ]
            if due or self._due(self._snapshot_expires, LIFE["snapshot"]):
                self._write(*due)
                return True
            if self._due(self._timestamp_expires, self._timestamp_life):
                self._write_timestamp()
                return True
            return False

    def _renew_root(self) -> None:
        """Sign the root again. Until it expires, the rest is renewed without its keys."""
        try:
            self._write_root(self._root.signed)
        except RegistryError as error:
            if self._root.signed.is_expired(self._now()):
                raise
            log.error("the root expires on %s: %s", self._root.signed.expires.date(), error)

    def rotate(self, role: str) -> None:
        """Replace the keys of a role by fresh ones.

        A new root (or targets) names the new key; nodes follow at their next look, and take versions that
        the old key may have run far ahead with as never seen. A root with new root keys is signed by the old
        and the new ones (TUF specification, 5.3). Raises `RegistryError` for an unknown role, and where the
        root's private keys are not there.
        """
        with self._change():
            number = self._keys.latest(role) + 1
            if role in TOP_ROLES:
                root = deepcopy(self._root.signed)
                for keyid in list(root.roles[role].keyids):
                    root.revoke_key(keyid, role)
                for each in range(number, number + KEYS.get(role, 1)):
                    root.add_key(self._keys.signer(role, each).public_key, role)
                self._write_root(root)
                if role != "root":  # which no other file names
                    self._write(*(self._roles if role == "targets" else ()))
            elif role in self._roles:
                top = self._role("targets").signed
                assert top.delegations is not None
                assert top.delegations.roles is not None
                for keyid in list(top.delegations.roles[role].keyids):
                    top.revoke_key(keyid, role)
                top.add_key(self._keys.signer(role, number).public_key, role)
                self._write("targets", role)
            else:
                raise RegistryError(
                    f"the update repository has no role {role!r}; it has "
                    f"{', '.join([*sorted(TOP_ROLES), *self.apps()])}"
                )

    @contextmanager
    def _change(self) -> Generator[None, None, None]:
        """One change at a time; after one that failed, go on from what is visible."""
        with self._lock:
            try:
                yield
            except BaseException:
                self._open_current()
                raise

    # ---------------------------------------------------------------------------------------- opening

    def _open_root(self) -> Metadata[Root]:
        versions = sorted(_versions(self.metadata, "root"), reverse=True)
        for version in versions:
            try:
                root = Metadata[Root].from_file(str(self.metadata / f"{version}.root.json"))
                root.verify_delegate("root", root)
                return root
            except (RepositoryError, DeserializationError, ValueError) as error:
                log.error("root version %d is damaged: %s", version, error)
        if versions:
            raise RegistryError(
                f"no root metadata in {self.metadata} is whole: restore it from a backup, "
                "or nodes would have to be enrolled again"
            )
        signed = Root(consistent_snapshot=True, expires=self._in(LIFE["root"]))
        signed.version = 0
        for role in sorted(TOP_ROLES):
            for signer in self._keys.signers(role, KEYS.get(role, 1)):
                signed.add_key(signer.public_key, role)
            signed.roles[role].threshold = THRESHOLDS.get(role, 1)
        return self._write_root(signed)

    def _open_current(self) -> None:
        """Go on from what the timestamp names; sign again what is not there, or not by the root's keys."""
        never = datetime.min.replace(tzinfo=UTC)
        self._snapshot_expires = self._timestamp_expires = never
        self._roles = {}
        try:
            timestamp = Metadata[Timestamp].from_file(str(self.metadata / "timestamp.json"))
            self._timestamp_version = timestamp.signed.version
            self._timestamp_expires = timestamp.signed.expires
            version = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_file(str(self.metadata / f"{version}.snapshot.json"))
            for name, meta in snapshot.signed.meta.items():
                role = Metadata[Targets].from_file(str(self.metadata / f"{meta.version}.{name}"))
                self._roles[name.removesuffix(".json")] = role
            self._snapshot_version, self._snapshot_expires = version, snapshot.signed.expires
            self._root.verify_delegate("snapshot", snapshot)
            self._root.verify_delegate("timestamp", timestamp)
        except UnsignedMetadataError:
            log.info("the keys of snapshot or timestamp changed: signing both again")
            self._write()
        except (RepositoryError, DeserializationError, StorageError, OSError) as error:
            self._repair(error)

    def _repair(self, error: Exception) -> None:
        """Sign again what is left, under versions that no node can have seen.

        Versions grow by one at most every second, so the time in seconds is above all of them.
        """
        if not self._is_new:
            log.error("the update repository is damaged (%s): signing what is left again", error)
            self._floor = int(self._now().timestamp())
        names = {path.name.partition(".")[2].removesuffix(".json") for path in self.metadata.glob("*.*.json")}
        for name in sorted(names - {"root", "snapshot"}):
            found = _newest(self.metadata, name)
            if found is not None:
                found.signed.version = max(found.signed.version, self._floor)
                self._roles[name] = found
        if "targets" not in self._roles:
            self._roles = {"targets": self._fresh(LIFE["targets"])}
        self._snapshot_version = max(self._floor, *_versions(self.metadata, "snapshot"), 0)
        self._timestamp_version = max(self._floor, self._timestamp_version)
        self._write(*self._roles)

    # ---------------------------------------------------------------------------------------- writing

    def _write(self, *changed: str) -> None:
        """Publish new versions of the roles ``changed``, then the snapshot, then the timestamp."""
        for name in changed:
            signed = self._roles[name].signed
            signed.version += 1
            signed.expires = self._in(LIFE.get(name, APP_LIFE))
            self._save(f"{signed.version}.{name}.json", self._signed(signed, self._signers(name)))
        metas = {f"{name}.json": self._meta(name, role.signed.version) for name, role in self._roles.items()}
        self._snapshot_version += 1
        self._snapshot_expires = self._in(LIFE["snapshot"])
        snapshot = Snapshot(version=self._snapshot_version, expires=self._snapshot_expires, meta=metas)
        content = self._signed(snapshot, self._signers("snapshot"))
        self._save(f"{snapshot.version}.snapshot.json", content)
        self._write_timestamp()

    def _write_timestamp(self) -> None:
        self._timestamp_version += 1
        self._timestamp_expires = self._in(self._timestamp_life)
        meta = self._meta("snapshot", self._snapshot_version)
        timestamp = Timestamp(
            version=self._timestamp_version, expires=self._timestamp_expires, snapshot_meta=meta
        )
        self._save("timestamp.json", self._signed(timestamp, self._signers("timestamp")))

    def _write_root(self, changed: Root) -> Metadata[Root]:
        """Publish the next version of the root, signed by its keys and by those of the root before it.

        It is visible as soon as its file is there. Raises `RegistryError` where too few private keys are.
        """
        signed = deepcopy(changed)
        signed.version += 1
        signed.expires = self._in(LIFE["root"])
        metadata = Metadata(signed)
        trusting = [metadata] if signed.version == 1 else [self._root, metadata]
        named = {keyid for root in trusting for keyid in root.signed.roles["root"].keyids}
        for signer in self._keys.present("root"):
            if signer.public_key.keyid in named:
                metadata.sign(signer, append=True)
        try:
            for root in trusting:
                root.verify_delegate("root", metadata)
        except UnsignedMetadataError as error:
            raise RegistryError(
                f"too few private keys of the root are there ({error}): restore them from a backup"
            ) from error
        self._save(f"{signed.version}.root.json", metadata.to_bytes(JSONSerializer(compact=False)))
        self._root = metadata
        return metadata

    def _signers(self, role: str) -> list[CryptoSigner]:
        """The keys that the root, or the top-level targets, name for a role."""
        named = self._keyids(role)
        found = [signer for signer in self._keys.present(role) if signer.public_key.keyid in named]
        if not found:
            raise RegistryError(f"no private key of the role {role} is there: restore it from a backup")
        return found

    def _keyids(self, role: str) -> list[str]:
        delegator = self._root.signed if role in TOP_ROLES else self._role("targets").signed
        return list(delegator.get_delegated_role(role).keyids)

    def _signed(self, signed: Snapshot | Timestamp | Targets, signers: list[CryptoSigner]) -> bytes:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        if isinstance(signed, Targets):
            for name, role in self._roles.items():
                if role.signed is signed:
                    self._roles[name] = metadata
        return metadata.to_bytes(JSONSerializer(compact=True))

    def _save(self, name: str, content: bytes) -> None:
        durable.write(self.metadata / name, content)

    def _meta(self, role: str, version: int) -> MetaFile:
        content = (self.metadata / f"{version}.{role}.json").read_bytes()
        return MetaFile.from_data(version, content, ["sha256"])

    def _add_bundle(self, app: str, bundle: Bundle) -> dict[str, TargetFile]:
        return {
            path: self._add_target(path, (bundle.path / name).read_bytes())
            for name in bundle.files()
            for path in (bundle_target(app, bundle.version, name),)
        }

    def _add_target(self, path: str, content: bytes) -> TargetFile:
        target = TargetFile.from_data(path, content, ["sha256"])
        file = self._target_path(target)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            durable.write(file, content)
        return target

    def _target_path(self, target: TargetFile) -> Path:
        folder, _, name = target.path.rpartition("/")
        return self.targets / folder / f"{target.hashes['sha256']}.{name}"

    def _prune(self) -> None:
        """Remove what neither the present nor the previous versions of the roles name."""
        named: set[Path] = set()
        for name, role in self._roles.items():
            recent = [
                Metadata[Targets].from_file(str(path))
                for version in range(role.signed.version - KEPT_VERSIONS + 1, role.signed.version)
                if (path := self.metadata / f"{version}.{name}.json").exists()
            ]
            for metadata in (role, *recent):
                named |= {self._target_path(target) for target in metadata.signed.targets.values()}
            _drop_old(self.metadata, name, role.signed.version)
        _drop_old(self.metadata, "snapshot", self._snapshot_version)
        for path in list(self.targets.rglob("*")):
            if path.is_file() and path not in named:
                path.unlink()
        for path in sorted(self.targets.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _fresh(self, life: timedelta) -> Metadata[Targets]:
        signed = Targets(expires=self._in(life))
        signed.version = self._floor
        return Metadata(signed)

    def _role(self, name: str) -> Metadata[Targets]:
        try:
            return self._roles[name]
        except KeyError:
            raise RegistryError(
                f"the update repository knows no app {name!r}; it has {', '.join(self.apps()) or 'none'}"
            ) from None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1e9, UTC)

    def _in(self, life: timedelta) -> datetime:
        return self._now() + life

    def _due(self, expires: datetime, life: timedelta) -> bool:
        return expires - self._now() <= life / 2


def _versions(folder: Path, role: str) -> list[int]:
    found = (path.name.removesuffix(f".{role}.json") for path in folder.glob(f"*.{role}.json"))
    return [int(number) for number in found if number.isdigit()]


def _newest(folder: Path, role: str) -> Metadata[Targets] | None:
    """The newest readable version of a role, to be signed again under a version that nobody has seen."""
    versions = sorted(_versions(folder, role), reverse=True)
    for version in versions:
        try:
            found = Metadata[Targets].from_file(str(folder / f"{version}.{role}.json"))
        except (RepositoryError, DeserializationError, OSError):
            continue
        found.signed.version = versions[0]
        return found
    return None


def _drop_old(folder: Path, role: str, current: int) -> None:
    for version in _versions(folder, role):
        if version < current - KEPT_VERSIONS:
            (folder / f"{version}.{role}.json").unlink(missing_ok=True)

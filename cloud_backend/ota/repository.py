"""The update repository: TUF metadata and targets as static files that any web server or CDN can serve.

Roles (TUF specification 1.0; python-tuf's Metadata API, Ed25519)::

    root (3 keys, 2 must sign) ── targets (2 of 2, delegates only) ── <app> (1 key, paths <app>/...)
                               ├─ snapshot (1 key)
                               └─ timestamp (1 key, short-lived, renewed automatically)

Snapshots are consistent: files are named after their version or digest and kept for a while after their
replacement, so that a client in the middle of an update can finish it. The rules of a publication are in
`cloud_backend.ota.metadata_set`, those of the root in `cloud_backend.ota.root_metadata`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from cloud_backend.ota.keys import Keys
from cloud_backend.ota.lifetimes import Lifetimes
from cloud_backend.ota.metadata_set import MetadataSet
from cloud_backend.ota.root_metadata import TOP_ROLES
from cloud_backend.ota.target_files import TargetFiles
from common.bundle import MANIFEST, Bundle, open_bundle
from common.clock import Clock, anchored_clock
from common.connection import CONNECTION_TARGET, Connection, moved
from common.deployment import Deployment, bundle_target, deployment_target
from common.errors import RegistryError
from common.messages import NAME_PATTERN

log = logging.getLogger(__name__)

ROOT_STEPS_LIMIT = 16
"""Largest number of root versions added at once: a node fetches each of them."""


class Repository:
    """The repository in ``folder``; its keys in ``secrets``. One process writes it."""

    def __init__(
        self,
        folder: Path,
        secrets: Path,
        apps: Iterable[str],
        timestamp_validity_s: float = 86400.0,
        clock: Clock | None = None,
    ) -> None:
        """Open the repository; at the first start, create keys and metadata.

        Raises `RegistryError` for damaged keys or root metadata, which only a backup can restore.
        """
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.metadata.mkdir(parents=True, exist_ok=True)
        self.target_files = TargetFiles(self.targets)
        lifetimes = Lifetimes(clock or anchored_clock(), timestamp_validity_s)
        self.metadata_set = MetadataSet(self.metadata, Keys(secrets / "tuf"), lifetimes)
        self.metadata_set.open()
        self._lock = threading.RLock()
        for app in apps:
            self.add_app(app)
        self.renew_if_due()

    # ------------------------------------------------------------------------------------------ state

    def root(self) -> dict[str, Any]:
        """The root metadata that an enrolment pins."""
        return self.metadata_set.root.metadata.to_dict()

    def apps(self) -> list[str]:
        """Apps with a role."""
        return self.metadata_set.apps()

    def deployment(self, app: str) -> Deployment | None:
        """The published document of an app; None before the first."""
        with self._lock:
            target = self.metadata_set.role(app).signed.targets.get(deployment_target(app))
            if target is None:
                return None
            return msgspec.json.decode(self.target_files.read(target), type=Deployment)

    @property
    def version(self) -> int:
        """Highest version that this repository has signed, of any role but the root."""
        return max(self.metadata_set.timestamp_version, self.metadata_set.snapshot_version)

    @property
    def root_version(self) -> int:
        """Version of the root."""
        return self.metadata_set.root.version

    def roles(self) -> list[tuple[str, list[str], int]]:
        """Every role with the ids of its keys and the version of its metadata."""
        with self._lock:
            signed = self.metadata_set
            versions = {
                "root": signed.root.version,
                "snapshot": signed.snapshot_version,
                "timestamp": signed.timestamp_version,
                **{name: role.signed.version for name, role in signed.roles.items()},
            }
            return [(name, signed.keyids(name), version) for name, version in sorted(versions.items())]

    def connection(self) -> Connection | None:
        """Address of the broker for nodes; None before the first `publish_connection`."""
        with self._lock:
            target = self.metadata_set.role("targets").signed.targets.get(CONNECTION_TARGET)
            if target is None:
                return None
            return msgspec.json.decode(self.target_files.read(target), type=Connection)

    def versions(self, app: str) -> list[str]:
        """Model versions with a published bundle."""
        prefix = f"{app}/bundles/"
        with self._lock:
            names = [p for p in self.metadata_set.role(app).signed.targets if p.startswith(prefix)]
        return sorted({name.removeprefix(prefix).partition("/")[0] for name in names})

    # ---------------------------------------------------------------------------------------- changes

    def add_app(self, app: str) -> None:
        """Create the role of ``app``, if it has none. Raises `RegistryError` for an unusable name."""
        if app in TOP_ROLES or not NAME_PATTERN.fullmatch(app):
            raise RegistryError(f"{app!r} cannot name an app with updates: it is reserved or malformed")
        with self._change():
            if app not in self.metadata_set.roles:
                self.metadata_set.add_app(app)
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
        """Publish a deployment document and the bundles that it needs.

        Bundles that the document or ``keep`` names are kept. Raises `RegistryError` for a document or a
        bundle of another app, or a document that names an unpublished bundle; `BundleError` for a damaged
        one.
        """
        named = {deployment.base_version, *(wave.version for wave in deployment.waves)} - {""}
        with self._change():
            role = self.metadata_set.role(app)
            present = dict(role.signed.targets)
            for each in (*([bundle] if bundle is not None else []), *others):
                present |= self.target_files.add_bundle(app, open_bundle(each.path, app=app))
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
            kept[path] = self.target_files.add(path, msgspec.json.encode(deployment))
            role.signed.targets = kept
            self.metadata_set.write(app)
            self._prune()

    def publish_connection(self, mqtt_host: str, mqtt_port: int) -> None:
        """Publish the broker's address, if it has changed; nodes with an earlier one follow."""
        before = self.connection()
        wanted = moved(before, mqtt_host, mqtt_port)
        if wanted == before:
            return
        with self._change():
            target = self.target_files.add(CONNECTION_TARGET, msgspec.json.encode(wanted))
            self.metadata_set.role("targets").signed.targets[CONNECTION_TARGET] = target
            self.metadata_set.write("targets")

    def raise_versions(self, floor: int, root: int = 0) -> None:
        """Sign everything again above ``floor``, and the root up to version ``root``.

        For a repository restored from a backup, whose nodes have seen newer metadata. At most
        `ROOT_STEPS_LIMIT` versions of the root are added.
        """
        with self._change():
            signed = self.metadata_set
            signed.root.add_versions(min(root - signed.root.version, ROOT_STEPS_LIMIT))
            signed.raise_versions(floor)

    def renew_if_due(self) -> bool:
        """Renew what has lived half of its life; whether anything but the root was due. Cheap when not."""
        with self._change():
            return self.metadata_set.renew_if_due()

    def rotate(self, role: str) -> None:
        """Replace the keys of a role by new ones.

        A new root (or targets) names the new key. Nodes follow at their next check and discard their record
        of versions, which a stolen key may have run far ahead with. Raises `RegistryError` for an unknown
        role, and without the root's private keys.
        """
        with self._change():
            signed = self.metadata_set
            if role in TOP_ROLES:
                signed.root.replace_keys(role)
                if role != "root":  # which no other file names
                    signed.write(*(signed.roles if role == "targets" else ()))
            elif role in signed.roles:
                signed.replace_app_key(role)
            else:
                raise RegistryError(
                    f"the update repository has no role {role!r}; it has "
                    f"{', '.join([*sorted(TOP_ROLES), *self.apps()])}"
                )

    @contextmanager
    def _change(self) -> Generator[None, None, None]:
        """One change at a time; a failed one is followed by a reload of the visible state."""
        with self._lock:
            try:
                yield
            except BaseException:
                self.metadata_set.open()
                raise

    def _prune(self) -> None:
        """Remove targets and metadata that no kept version of the roles names."""
        self.target_files.keep_only(
            target for metadata in self.metadata_set.kept() for target in metadata.signed.targets.values()
        )
        self.metadata_set.drop_old_files()

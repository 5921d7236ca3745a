"""Folders of bundles: ``<root>/<app>/<version>/``, on any file system that fsspec can open.

On a local disk a bundle is used where it lies. From anywhere else it is fetched once into a local
folder, and checked against its manifest there, so a store that alters files is found out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from common import durable
from common.bundle import MANIFEST, Bundle, open_bundle
from common.errors import BundleError, BundleIncomplete


class BundleFolder:
    """Bundles under ``root`` (a path, or a URL such as ``s3://bucket/models``).

    ``cache`` is the local folder for bundles of a remote root; a temporary one by default.
    """

    def __init__(self, root: str, cache: Path | None = None) -> None:
        self._files, self._root = fsspec.core.url_to_fs(root)
        self.local = isinstance(self._files, LocalFileSystem)
        self._cache = Path(self._root) if self.local else cache or Path(tempfile.mkdtemp(prefix="edgeloop-"))
        self._cache.mkdir(parents=True, exist_ok=True)

    def put(self, bundle: Bundle) -> None:
        """Keep a copy of ``bundle``; a half-written one of the same version is replaced."""
        app, version = bundle.manifest.app, bundle.version
        if not self.local:
            for name in reversed(bundle.files()):  # the manifest last: without it there is no bundle
                self._files.makedirs(f"{self._root}/{app}/{version}", exist_ok=True)
                self._files.put_file(str(bundle.path / name), f"{self._root}/{app}/{version}/{name}")
            return
        final = self._cache / app / version
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=final.parent))
        try:
            for name in bundle.files():
                shutil.copyfile(bundle.path / name, partial / name)
                _sync_file(partial / name)
            durable.sync_folder(partial)
            if final.exists():
                shutil.rmtree(final)
            os.replace(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        durable.sync_folder(final.parent)

    def get(self, app: str, version: str) -> Bundle:
        """The bundle, verified. Raises `BundleError`."""
        folder = self._cache / app / version
        if self.local:
            return open_bundle(folder, app=app)
        try:
            return open_bundle(folder, app=app)
        except BundleError:
            self._fetch(app, version, folder)
            return open_bundle(folder, app=app)

    def _fetch(self, app: str, version: str, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        remote = f"{self._root}/{app}/{version}"
        if not self._files.exists(f"{remote}/{MANIFEST}"):
            raise BundleIncomplete(f"{remote} has no {MANIFEST}: it is not a model bundle")
        for path in self._files.ls(remote, detail=False):
            self._files.get_file(path, str(folder / path.rsplit("/", 1)[1]))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

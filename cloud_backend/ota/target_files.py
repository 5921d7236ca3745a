"""Target files of the update repository: bundles and documents, named after their digest.

A file is written before metadata names it, and removed only after no kept metadata names it, so that a client
in the middle of an update can finish it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tuf.api.metadata import TargetFile

from common import durable
from common.bundle import Bundle
from common.deployment import bundle_target


class TargetFiles:
    """The files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: str, content: bytes) -> TargetFile:
        """Store ``content``; the entry that names it as ``path`` in metadata."""
        target = TargetFile.from_data(path, content, ["sha256"])
        file = self.path_of(target)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            durable.write(file, content)
        return target

    def add_bundle(self, app: str, bundle: Bundle) -> dict[str, TargetFile]:
        """Store the files of a bundle; their entries by target path."""
        return {
            path: self.add(path, (bundle.path / name).read_bytes())
            for name in bundle.files()
            for path in (bundle_target(app, bundle.version, name),)
        }

    def read(self, target: TargetFile) -> bytes:
        """Content of a target."""
        return self.path_of(target).read_bytes()

    def path_of(self, target: TargetFile) -> Path:
        """File of a target: ``<folder>/<sha256>.<name>``."""
        folder, _, name = target.path.rpartition("/")
        return self._folder / folder / f"{target.hashes['sha256']}.{name}"

    def keep_only(self, targets: Iterable[TargetFile]) -> None:
        """Remove every file but those of ``targets``, and folders without files."""
        kept = {self.path_of(target) for target in targets}
        for path in list(self._folder.rglob("*")):
            if path.is_file() and path not in kept:
                path.unlink()
        for path in sorted(self._folder.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

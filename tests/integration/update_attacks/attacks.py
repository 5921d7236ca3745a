"""The attacker of the tests: forged metadata in a stolen copy, and a node that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from securesystemslib.signer import CryptoSigner  # pyright: ignore[reportPrivateImportUsage]  public in its docs
from tuf.api.metadata import (  # public in its docs
    Metadata,
    MetaFile,  # pyright: ignore[reportPrivateImportUsage]  public in its docs
    TargetFile,  # pyright: ignore[reportPrivateImportUsage]  public in its docs
)
from tuf.api.serialization.json import JSONSerializer

from cloud_backend.ota.keys import Keys
from tests.updates import FileServer, NodeKit, UpdateSite

OTHER = "ecg"


class Forger:
    """Writes metadata into a stolen copy, signed by whatever keys the attacker got hold of."""

    def __init__(self, site: UpdateSite, server: FileServer) -> None:
        self.metadata = server.folder / "metadata"
        self.targets = server.folder / "targets"
        self.stolen = Keys(site.folder / "secrets" / "tuf")
        self.own = CryptoSigner.generate_ed25519()

    def newest(self, role: str) -> Metadata[Any]:
        found = sorted(self.metadata.glob(f"*.{role}.json"), key=lambda p: int(p.name.partition(".")[0]))
        path = found[-1] if found else self.metadata / f"{role}.json"
        return Metadata[Any].from_file(str(path))

    def write(
        self, role: str, change: Callable[[Any], None], signers: list[CryptoSigner], *, step: int = 1
    ) -> None:
        """A new version of ``role``."""
        signed = self.newest(role).signed
        change(signed)
        signed.version += step
        forged: Metadata[Any] = Metadata(signed)
        for signer in signers:
            forged.sign(signer, append=True)
        name = f"{role}.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        (self.metadata / name).write_bytes(forged.to_bytes(JSONSerializer(compact=True)))

    def index(self, *roles: str, snapshot: list[CryptoSigner], timestamp: list[CryptoSigner]) -> None:
        """A snapshot with the newest ``roles``, and a timestamp with that snapshot."""

        def meta(role: str) -> MetaFile:
            version = self.newest(role).signed.version
            content = (self.metadata / f"{version}.{role}.json").read_bytes()
            return MetaFile.from_data(version, content, ["sha256"])

        self.write("snapshot", lambda s: s.meta.update({f"{r}.json": meta(r) for r in roles}), snapshot)
        self.write("timestamp", lambda t: setattr(t, "snapshot_meta", meta("snapshot")), timestamp)

    def target(self, path: str, content: bytes) -> TargetFile:
        target = TargetFile.from_data(path, content, ["sha256"])
        folder, _, name = path.rpartition("/")
        file = self.targets / folder / f"{target.hashes['sha256']}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return target


def attacked(node: NodeKit, site: UpdateSite, server: FileServer, **changes: Any) -> NodeKit:
    """The same node, restarted, with its traffic now going to the attacker."""
    return NodeKit(node.folder, site, url=server.url, **changes)


def assert_refused(node: NodeKit, reason: str, *, version: str = "v1") -> dict[str, Any]:
    """One look ends with ``reason``; model and slots stay what they were."""
    node.look()
    (refusal,) = node.reports("refused")
    assert refusal["reason"] == reason, refusal
    assert not refusal["ok"]
    assert refusal["detail"]
    assert node.update_client.refusals == {reason: 1}
    assert node.version() == version
    node.feed(20)
    assert node.version() == version
    assert node.whole() == version
    assert not node.reports("switched")
    return refusal


def endless(request: Any, content: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65536)

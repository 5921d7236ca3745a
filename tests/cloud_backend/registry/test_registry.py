"""Versions are immutable; one is in production; every one can be traced."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from cloud_backend.registry.registry import Registry
from common.bundle import Bundle, Lineage, open_bundle, seal
from common.errors import (
    BundleIncomplete,
    GoldenCaseFailed,
    RegistryError,
    VersionUnknown,
)
from tests.builders import make_app, make_bundle

NOW_NS = 1_795_000_000_000_000_000


@pytest.fixture
def registry(tmp_path: Path, engine: Engine) -> Registry:
    return make_registry(tmp_path, engine)


def make_registry(tmp_path: Path, engine: Engine, root: str = "") -> Registry:
    apps = {"sums": make_app(tmp_path / "starter")}
    root = root or str(tmp_path / "models")
    return Registry(engine, root, apps=apps, clock=lambda: NOW_NS, cache=tmp_path / "cache")


def make_child(path: Path, version: str, parent: str, gain: float = 2.0) -> Bundle:
    bundle = make_bundle(path, version=version, gain=gain)
    lineage = Lineage(data={"samples": "ab" * 32}, code="0.1.0", parent=parent, job="job-1", seed=3)
    return seal(path, msgspec.structs.replace(bundle.manifest, lineage=lineage))


def test_a_bundle_comes_back_whole(registry: Registry, tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "new", version="20260101.001", gain=2.0)
    row = registry.add(made.path, job="job-1", state="approved")
    assert (row.version, row.state, row.job, row.created_ns) == ("20260101.001", "approved", "job-1", NOW_NS)
    stored = registry.bundle("sums", "20260101.001")
    assert stored.path != made.path
    assert stored.manifest == made.manifest
    assert not list(stored.path.parent.glob(".*"))


def test_a_version_never_changes(registry: Registry, tmp_path: Path) -> None:
    registry.add(make_bundle(tmp_path / "a", version="v1", gain=2.0).path)
    assert registry.add(make_bundle(tmp_path / "b", version="v1", gain=2.0).path).version == "v1"
    with pytest.raises(RegistryError, match="versions never change"):
        registry.add(make_bundle(tmp_path / "c", version="v1", gain=3.0).path)
    assert len(registry.models("sums")) == 2


def test_a_damaged_bundle_is_not_taken(registry: Registry, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", version="v1")
    (bundle.path / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleIncomplete):
        registry.add(bundle.path)
    assert [row.version for row in registry.models("sums")] == ["starter-1"]


def test_a_bundle_that_fails_its_golden_cases_is_not_taken(registry: Registry, tmp_path: Path) -> None:
    good, bad = make_bundle(tmp_path / "a", version="v1"), make_bundle(tmp_path / "b", version="v2", gain=5.0)
    (bad.path / "golden.npz").write_bytes((good.path / "golden.npz").read_bytes())
    seal(bad.path, bad.manifest)
    with pytest.raises(GoldenCaseFailed, match="off by"):
        registry.add(bad.path)


def test_another_app_and_impossible_versions_are_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="installed: sums"):
        registry.add(make_bundle(tmp_path / "a", app="other", version="v1").path)
    with pytest.raises(RegistryError, match="cannot name a version"):
        registry.add(make_bundle(tmp_path / "b", version="../v1").path)
    with pytest.raises(VersionUnknown, match="model ls"):
        registry.bundle("sums", "v9")
    with pytest.raises(RegistryError, match="not a state"):
        registry.set_state("sums", "starter-1", "great")


def test_what_was_altered_in_the_store_is_found_out(registry: Registry, tmp_path: Path) -> None:
    registry.add(make_bundle(tmp_path / "a", version="v1").path)
    stored = registry.bundle("sums", "v1")
    seal(stored.path, msgspec.structs.replace(stored.manifest, licence="none"))
    with pytest.raises(RegistryError, match="altered"):
        registry.bundle("sums", "v1")


def test_the_starter_is_in_production_until_another_takes_over(registry: Registry, tmp_path: Path) -> None:
    assert registry.production("sums").version == "starter-1"
    assert registry.production_version("sums") == ""
    for version, gain in (("v1", 2.0), ("v2", 3.0)):
        registry.add(make_child(tmp_path / version, version, "starter-1", gain).path, state="approved")
        registry.set_state("sums", version, "production")
        assert registry.production("sums").version == version
    states = {row.version: row.state for row in registry.models("sums")}
    assert states == {"v1": "retired", "v2": "production", "starter-1": "retired"}
    registry.set_state("sums", "", "production")
    assert registry.production("sums").version == "starter-1"
    assert registry.row("sums", "v2").state == "retired"


def test_an_app_without_a_starter_has_no_production(tmp_path: Path, engine: Engine) -> None:
    spec = make_app(tmp_path / "starter")
    (tmp_path / "starter" / "manifest.json").unlink()
    registry = Registry(engine, str(tmp_path / "models"), apps={"sums": spec})
    assert registry.models("sums") == []
    with pytest.raises(RegistryError, match="add a first model"):
        registry.production("sums")


def test_lineage_goes_back_to_the_starter(registry: Registry, tmp_path: Path) -> None:
    registry.add(make_child(tmp_path / "1", "v1", "starter-1").path, state="approved", approved_by="gate")
    registry.add(make_child(tmp_path / "2", "v2", "v1", 3.0).path)
    chain = registry.lineage("sums", "v2")
    assert [link["version"] for link in chain] == ["v2", "v1", "starter-1"]
    assert chain[0]["data"] == {"samples": "ab" * 32}
    assert (chain[1]["approved_by"], chain[1]["job"], chain[1]["seed"]) == ("gate", "job-1", 3)
    assert all(link["known"] for link in chain)


def test_lineage_marks_its_unknown_end(registry: Registry, tmp_path: Path) -> None:
    registry.add(make_child(tmp_path / "1", "v1", "lost").path)
    assert registry.lineage("sums", "v1")[-1] == {"version": "lost", "known": False}


def test_a_lineage_that_goes_round_ends(registry: Registry, tmp_path: Path) -> None:
    registry.add(make_child(tmp_path / "1", "v1", "v2").path)
    registry.add(make_child(tmp_path / "2", "v2", "v1", 3.0).path)
    assert [link["version"] for link in registry.lineage("sums", "v1")] == ["v1", "v2"]


def test_next_versions_count_up_within_a_day(registry: Registry, tmp_path: Path) -> None:
    first = registry.next_version("sums")
    assert first == "20261118.001"
    registry.add(make_bundle(tmp_path / "1", version=first).path)
    assert registry.next_version("sums") == "20261118.002"


def test_a_half_copied_bundle_of_a_crash_is_replaced(registry: Registry, tmp_path: Path) -> None:
    left = tmp_path / "models" / "sums" / "v1"
    left.mkdir(parents=True)
    (left / "manifest.json").write_bytes(b"{}")
    registry.add(make_bundle(tmp_path / "a", version="v1").path)
    assert registry.bundle("sums", "v1").version == "v1"


def test_bundles_can_lie_on_a_remote_file_system(tmp_path: Path, engine: Engine) -> None:
    registry = make_registry(tmp_path, engine, root="memory://models-of-this-test")
    made = make_bundle(tmp_path / "a", version="v1", gain=2.0)
    registry.add(made.path)
    stored = registry.bundle("sums", "v1")
    assert stored.path == tmp_path / "cache" / "sums" / "v1"
    assert stored.manifest == made.manifest
    (stored.path / "model.onnx").write_bytes(b"damaged cache")
    assert open_bundle(registry.bundle("sums", "v1").path).manifest == made.manifest

"""A bundle that opens is whole; the error for another names the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from common import bundle as bundles
from common.bundle import Limits, Lineage, Manifest, TensorSpec
from common.errors import ArraysError, BundleIncompatible, BundleIncomplete


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"a model")
    bundles.write_golden(tmp_path, {"x": np.eye(2, dtype=np.float32)}, {"y": np.ones((2, 1), np.float32)})
    bundles.seal(
        tmp_path,
        Manifest(
            app="industrial",
            version="v1",
            task="regression",
            inputs=[TensorSpec(name="x", dtype="float32", shape=[None, 2], columns=["a", "b"])],
            outputs=[TensorSpec(name="y", dtype="float32", shape=[None, 1])],
            precision="float32",
            licence="Apache-2.0",
            limits=Limits(latency_ms=5),
            lineage=Lineage(data={"d": "0" * 64}, code="0.1.0"),
            tolerance={"y": 1e-4},
        ),
    )
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sealed_bundle_opens_with_all_it_holds(folder: Path) -> None:
    bundle = bundles.open_bundle(folder, app="industrial")
    assert bundle.version == "v1"
    assert bundle.files() == ["manifest.json", "golden.npz", "model.onnx"]
    inputs, outputs = bundle.golden()
    assert inputs["x"].shape == (2, 2)
    assert outputs["y"].shape == (2, 1)
    assert bundles.columns(bundle.manifest.inputs, "x") == ["a", "b"]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleIncomplete, match=name):
        bundles.open_bundle(folder)


def test_an_altered_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"A model")
    with pytest.raises(BundleIncomplete, match=r"model\.onnx"):
        bundles.open_bundle(folder)


def test_a_bundle_of_another_app_is_refused(folder: Path) -> None:
    with pytest.raises(BundleIncompatible, match="ecg"):
        bundles.open_bundle(folder, app="ecg")


def test_a_manifest_from_the_future_is_refused_with_what_to_do(folder: Path) -> None:
    edit(folder, format=99, inputs="a form that is not known yet")
    with pytest.raises(BundleIncompatible, match="update edgeloop first"):
        bundles.open_bundle(folder)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", ".hidden", "manifest.json"])
def test_a_manifest_cannot_name_files_elsewhere(folder: Path, name: str) -> None:
    files = bundles.open_bundle(folder).manifest.files
    edit(folder, files=files | {name: "0" * 64})
    with pytest.raises(BundleIncompatible, match="flat"):
        bundles.open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"app": 1}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleIncompatible, match=r"manifest\.json"):
        bundles.open_bundle(folder)


def test_golden_cases_are_never_unpickled(folder: Path) -> None:
    content: dict[str, Any] = {"in/x": np.array([object()], dtype=object)}
    np.savez(folder / "golden.npz", **content)
    bundle = bundles.Bundle(folder, bundles.read_manifest((folder / "manifest.json").read_bytes(), ""))
    with pytest.raises(ArraysError, match="dtype object"):
        bundle.golden()


@pytest.mark.parametrize(
    "content", [b'{"parameters": ' + b"[" * 100_000, b"[1]", b"1" * 10_000, b" " * 2_000_000]
)
def test_a_manifest_beyond_its_bounds_is_refused(content: bytes) -> None:
    with pytest.raises(BundleIncompatible):
        bundles.read_manifest(content, "there")


def test_more_files_than_the_limit_are_refused(folder: Path) -> None:
    manifest = bundles.read_manifest((folder / "manifest.json").read_bytes(), "")
    files = manifest.files | {f"more-{number}": "0" * 64 for number in range(bundles.FILES_LIMIT)}
    with pytest.raises(BundleIncompatible, match="at most 64"):
        bundles.check_names(msgspec.structs.replace(manifest, files=files), "there")

"""The model bundle: a folder of plain files with a manifest and golden cases.

::

    manifest.json    Manifest: what the model is, takes, gives, came from, and may do
    model.onnx       the model in ONNX Runtime, and ``*.onnx`` of its variants by precision and runtime
    golden.npz       inputs ``in/<name>``, expected outputs ``out/<name>`` and, where a variant has its own,
                     ``<file of the variant>/<name>``; arrays only, never pickled

`open_bundle` checks digests of every file against the manifest, so a bundle that opens is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
from numpy.typing import NDArray

from common import durable, json_bounds
from common.arrays import encode_arrays, read_arrays
from common.errors import BundleIncompatible, BundleIncomplete, MessageError

MANIFEST_FORMAT = 1
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
ONNX_RUNTIME = "onnxruntime"
FILE_LIMIT_BYTES = 512 * 1024 * 1024
MANIFEST_LIMIT_BYTES = 1024 * 1024
FILES_LIMIT = 64
"""Maximum number of files of a bundle beside its manifest."""
GOLDEN_PLAIN_LIMIT_BYTES = 64 * 1024 * 1024
"""Maximum size of the golden cases in bytes after decompression."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input or output. ``shape`` has None where a dimension is free; ``columns`` names the last axis.

    ``saturation`` are the values at which an output may rightly rest while the readings change, such as the
    ends of a clipped range: there the trial of a new model does not call it stuck
    (`common.edge.update.trial`).
    """

    name: str
    dtype: str
    shape: list[int | None]
    unit: str = ""
    columns: list[str] = []
    preprocessing: str = ""
    saturation: list[float] = []


class DriftSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Drift detection on the node: the frequency at which ``output`` exceeds its training quantile.

    In training data ``output > threshold`` had probability ``rate`` (0.01 for the 99th percentile). The
    output is a summary of a reading, one or a few numbers: a model of images computes it from its features.
    ``interval_s`` is the least time between two readings of a subject that count, for readings that come
    faster than what they show changes, as frames do.
    """

    output: str
    threshold: float
    rate: float
    interval_s: float = 0.0


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of a model."""

    data: dict[str, str]
    """SHA-256 of each data set or sample set, by name."""
    code: str
    """Version of edgeloop, and the revision where it is known."""
    parent: str = ""
    job: str = ""
    seed: int = 0
    trained_at: str = ""
    approved_by: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of the model on the device, for one run on a golden case."""

    latency_ms: float


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model file for one precision and one runtime, with the inputs and outputs of the manifest.

    A node takes the one that its profile prefers. ``tolerance`` replaces the manifest's for these outputs.
    """

    file: str
    precision: str
    runtime: str = ONNX_RUNTIME
    """``onnxruntime`` or ``openvino``; a variant for a runtime that a node does not know is not for it."""
    tolerance: dict[str, float] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Contents of ``manifest.json``; ``figures`` and ``slices`` are as the gate measured them."""

    format: int = MANIFEST_FORMAT
    app: str
    version: str
    task: str
    model: str = "model.onnx"
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    precision: str
    licence: str
    limits: Limits
    lineage: Lineage
    tolerance: dict[str, float]
    """Largest allowed absolute difference from the golden outputs, by output."""
    classes: list[str] = []
    drift: DriftSpec | None = None
    figures: dict[str, float] = {}
    slices: dict[str, float] = {}
    parameters: dict[str, Any] = {}
    """Constants that the app's code needs beside the model, such as scales and channel lists.

    The node reads one itself: ``output_bounds``, pairs by output (``{"rul": [0, 200]}``). An output outside
    its bounds counts as a failure of the model (`common.edge.update.trial`).
    """
    files: dict[str, str] = {}
    """SHA-256 of every other file of the bundle; written by `seal`."""
    variants: list[Variant] = []
    """Further model files; ``model`` with ``precision`` is the one that every node can take."""

    def model_files(self) -> list[Variant]:
        """``model`` first, then the variants."""
        return [Variant(file=self.model, precision=self.precision), *self.variants]

    def preferred(self, runtimes: Sequence[str], precision: str) -> Variant:
        """The model file for a device: of its ``precision`` if there is one, then of its first runtime."""
        known = [each for each in self.model_files() if each.runtime in runtimes]
        return min(
            known or self.model_files()[:1],
            key=lambda each: (each.precision != precision, runtimes.index(each.runtime) if known else 0),
        )

    def of_variant(self, variant: Variant) -> Manifest:
        """The manifest as it is for this model file: its name, precision and tolerance."""
        tolerance = {**self.tolerance, **variant.tolerance}
        return msgspec.structs.replace(
            self, model=variant.file, precision=variant.precision, tolerance=tolerance
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole bundle on disk."""

    path: Path
    manifest: Manifest

    @property
    def version(self) -> str:
        return self.manifest.version

    def model_path(self) -> Path:
        return self.path / self.manifest.model

    def golden(self, model: str = "") -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """``(inputs, expected outputs)`` of the golden cases, cases along the first axis.

        ``model`` is the file whose outputs are expected, where it has its own. Raises `ArraysError` for a
        file that is not one of plain arrays, or over `GOLDEN_PLAIN_LIMIT_BYTES`.
        """
        arrays = read_arrays(self.path / GOLDEN, limit_bytes=GOLDEN_PLAIN_LIMIT_BYTES)
        inputs = {key[3:]: array for key, array in arrays.items() if key.startswith("in/")}
        outputs = {key[4:]: array for key, array in arrays.items() if key.startswith("out/")}
        own = f"{model}/"
        return inputs, outputs | {k.removeprefix(own): v for k, v in arrays.items() if k.startswith(own)}

    def files(self) -> list[str]:
        """Names of all files, the manifest first."""
        return [MANIFEST, *sorted(self.manifest.files)]


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_golden(
    path: Path,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    variants: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
) -> None:
    """Write the golden cases of the bundle in folder ``path``.

    ``variants`` are the outputs of variants by their file, where those of ``model`` would not do.
    """
    arrays = {f"in/{k}": v for k, v in inputs.items()} | {f"out/{k}": v for k, v in outputs.items()}
    for file, own in (variants or {}).items():
        arrays |= {f"{file}/{k}": v for k, v in own.items()}
    (path / GOLDEN).write_bytes(encode_arrays(arrays))


def seal(path: Path, manifest: Manifest) -> Bundle:
    """Write ``manifest`` with the digests of the files in ``path``, which makes it a bundle."""
    names = sorted(p.name for p in path.iterdir() if p.is_file() and p.name != MANIFEST)
    sealed = msgspec.structs.replace(manifest, files={name: file_digest(path / name) for name in names})
    text = msgspec.json.format(msgspec.json.encode(sealed), indent=1)
    durable.write(path / MANIFEST, text + b"\n")
    return open_bundle(path)


def read_manifest(content: bytes, where: str) -> Manifest:
    """Parse a manifest. Raises `BundleIncompatible`; ``where`` is for its message."""
    if len(content) > MANIFEST_LIMIT_BYTES:
        raise BundleIncompatible(f"{where} is larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        head = json_bounds.read(content)
        if not isinstance(head, dict):
            raise BundleIncompatible(f"{where} is not a manifest: it is no JSON object")
        if isinstance(cast("dict[str, Any]", head).get("format"), int) and head["format"] > MANIFEST_FORMAT:
            raise BundleIncompatible(
                f"{where} has manifest format {head['format']}; this edgeloop reads up to {MANIFEST_FORMAT}: "
                "update edgeloop first"
            )
        return msgspec.convert(head, Manifest)
    except (MessageError, msgspec.MsgspecError) as error:
        raise BundleIncompatible(f"{where} is not a manifest: {error}") from error


def open_bundle(path: Path, *, app: str | None = None) -> Bundle:
    """The bundle in folder ``path``, every file checked against its digest.

    Raises `BundleIncomplete` for a missing or altered file, `BundleIncompatible` for another app's
    bundle or a manifest of a newer format.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise BundleIncomplete(f"{path} has no {MANIFEST}: it is not a model bundle")
    if manifest_path.stat().st_size > MANIFEST_LIMIT_BYTES:
        raise BundleIncompatible(f"{manifest_path} is larger than {MANIFEST_LIMIT_BYTES} bytes")
    manifest = read_manifest(manifest_path.read_bytes(), str(manifest_path))
    if app is not None and manifest.app != app:
        raise BundleIncompatible(f"{path} is a model for {manifest.app!r}, not for {app!r}")
    check_names(manifest, str(path))
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise BundleIncomplete(f"{path} lacks {name}, which its manifest names: fetch the bundle again")
        if file_digest(file) != expected:
            raise BundleIncomplete(f"{file} is not the file that the manifest names: fetch the bundle again")
    return Bundle(path, manifest)


def check_names(manifest: Manifest, where: str) -> None:
    """Refuse file names that leave the folder, and a manifest without its models or golden cases."""
    if len(manifest.files) > FILES_LIMIT:
        raise BundleIncompatible(
            f"{where} names {len(manifest.files)} files; at most {FILES_LIMIT} are accepted"
        )
    for name in manifest.files:
        if name != Path(name).name or name.startswith(".") or name == MANIFEST:
            raise BundleIncompatible(
                f"{where} names the file {name!r}; a bundle's files lie flat in its folder"
            )
    for name in (*(each.file for each in manifest.model_files()), GOLDEN):
        if name not in manifest.files:
            raise BundleIncomplete(f"{where} does not list {name}: the bundle was not sealed")


def columns(specs: Sequence[TensorSpec], name: str) -> list[str]:
    """Column names of the tensor called ``name``. Raises `BundleIncompatible` if there is none."""
    for spec in specs:
        if spec.name == name:
            return spec.columns
    raise BundleIncompatible(f"the model has no tensor called {name!r}; it has {[s.name for s in specs]}")

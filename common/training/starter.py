"""The starter of an app, made by the app's own training: a first model, without field samples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from common.app.spec import AppSpec
from common.app.training import TrainContext
from common.bundle import MANIFEST, Bundle, file_digest, open_bundle, seal
from common.errors import TrainingError
from common.model.golden import check_golden
from common.model.inference import load_model
from common.model.profile import find_profile


def make_starter(
    spec: AppSpec,
    output: Path,
    *,
    version: str = "1.0.0",
    data_path: Path | None = None,
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> Bundle:
    """Train the first model of ``spec`` into the empty or new folder ``output`` and measure it.

    Without ``data_path`` it learns from the app's virtual data. Its golden cases pass on this machine,
    and its manifest holds the figures of `Training.evaluate`. Raises `TrainingError`, `DatasetError` or
    `GoldenCaseFailed`.
    """
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise TrainingError(f"{output} is not empty: name a new folder for the starter")
    training = spec.load_train()
    context = TrainContext(version, None, (), output, data_path, seed, parameters or {}, progress)
    bundle = training.train(context)
    if (bundle.manifest.app, bundle.version) != (spec.name, version):
        raise TrainingError(
            f"the training of {spec.name} made {bundle.manifest.app} {bundle.version}, "
            f"not {spec.name} {version}"
        )
    check_golden(bundle, load_model(bundle, find_profile("cpu")))
    metrics = training.evaluate(bundle, (), data_path)
    measured = {name: f.value for name, f in metrics.figures.items() if not f.recorded}
    slices = {name: f.value for name, f in metrics.slices.items() if not f.recorded}
    seal(output, msgspec.structs.replace(bundle.manifest, figures=measured, slices=slices))
    return open_bundle(output, app=spec.name)


def adopt_starter(origin: AppSpec, output: Path, app: str) -> Bundle:
    """Copy the starter of ``origin`` into the new folder ``output`` as that of ``app``.

    Its lineage names the starter that it was beside the data of that one; its figures are those of it.
    """
    bundle = open_bundle(origin.starter, app=origin.name)
    shutil.copytree(origin.starter, output, ignore=shutil.ignore_patterns(MANIFEST))
    source = {f"starter of {origin.name} {bundle.version}": file_digest(origin.starter / MANIFEST)}
    manifest = bundle.manifest
    lineage = msgspec.structs.replace(manifest.lineage, data=manifest.lineage.data | source)
    return seal(output, msgspec.structs.replace(manifest, app=app, lineage=lineage))

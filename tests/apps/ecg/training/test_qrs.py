"""The network of the detector: its manifest names its training data, and an altered bundle is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.edge import peaks
from apps.ecg.edge.peaks import NETWORK, RPeaks, read_network, shipped_network
from apps.ecg.training import qrs
from apps.ecg.training.dataset import DS1
from cloud_backend.commands.cards import read_cards
from common.bundle import file_digest, open_bundle
from common.errors import BundleError, DatasetError
from tests.datasets import mitdb_folder


def test_the_lineage_names_the_records_that_it_was_trained_on() -> None:
    manifest = open_bundle(NETWORK, app="ecg").manifest
    published = {f"mitdb/{file.name}": file.sha256 for file in read_cards()["mitdb"].files}
    names = {f"mitdb/{name}{suffix}" for name in DS1 for suffix in (".dat", ".atr")}
    assert manifest.lineage.data == {name: published[name] for name in names}
    assert manifest.lineage.code.startswith("0.1.0+")
    assert manifest.lineage.trained_at
    assert manifest.lineage.parent == ""
    assert manifest.licence == "Apache-2.0"
    recipe = manifest.parameters
    assert len(shipped_network().layers[0][0]) == recipe["members"] == len(recipe["seeds"])
    assert recipe["threshold"] == peaks.THRESHOLD
    assert "apps.ecg.training.qrs" in recipe["command"]


def test_the_network_gives_the_outputs_of_its_golden_cases() -> None:
    bundle = open_bundle(NETWORK, app="ecg")
    inputs, expected = bundle.golden()
    score, offset_s = shipped_network().outputs(inputs["candidates"])
    assert np.abs(score - expected["score"]).max() <= bundle.manifest.tolerance["score"]
    assert np.abs(offset_s - expected["offset_s"]).max() <= bundle.manifest.tolerance["offset_s"]
    assert 10 < np.count_nonzero(score > peaks.THRESHOLD) < len(score)


def test_an_altered_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "qrs"
    shutil.copytree(NETWORK, copy)
    layers = [(weights * 1.01, biases) for weights, biases in shipped_network().layers]
    peaks.Network(tuple(layers)).write(copy / "qrs.npz")
    monkeypatch.setattr(peaks, "NETWORK", copy)
    shipped_network.cache_clear()
    with pytest.raises(BundleError, match=r"qrs\.npz is not the file that the manifest names"):
        RPeaks(360.0)
    shipped_network.cache_clear()


def test_a_bundle_is_written_with_its_lineage(tmp_path: Path) -> None:
    lineage = open_bundle(NETWORK).manifest.lineage
    made = qrs.write_bundle(tmp_path / "made", shipped_network(), "2.0.0", lineage, {"members": 3})
    assert made.manifest.lineage == lineage
    assert file_digest(made.model_path()) == open_bundle(NETWORK).manifest.files["qrs.npz"]
    assert len(read_network(made.model_path()).layers) == 3


def test_training_without_the_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no MIT-BIH"):
        qrs.main(["--data", str(tmp_path), "--output", str(tmp_path / "made")])
    assert not (tmp_path / "made").exists()


def test_digests_are_of_the_files_that_are_read() -> None:
    folder = mitdb_folder()
    assert qrs.digests_of(folder) == open_bundle(NETWORK).manifest.lineage.data

"""What the app promises to node, cloud and training."""

from __future__ import annotations

from apps.template.app import SPEC
from common.bundle import open_bundle


def test_the_starter_is_a_whole_bundle_of_this_app_and_its_parts_load() -> None:
    assert open_bundle(SPEC.starter, app=SPEC.name).manifest.lineage.data
    for part in (SPEC.load_edge(), SPEC.load_cloud(), SPEC.load_train(), SPEC.load_virtual()):
        assert part is not None

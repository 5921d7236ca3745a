"""The starter of the app, and no data sets but in tests of FD001."""

from __future__ import annotations

import pytest

from apps.industrial.app import SPEC
from common.bundle import Bundle, open_bundle


@pytest.fixture(autouse=True)
def _no_data_sets(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "fd001" not in request.node.name:
        monkeypatch.delenv("EDGELOOP_DATA", raising=False)


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return open_bundle(SPEC.starter, app="industrial")

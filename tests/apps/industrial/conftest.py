"""The industrial app's side of the cloud."""

from __future__ import annotations

import pytest

from apps.industrial.cloud.projection import IndustrialCloud


@pytest.fixture
def cloud_app() -> IndustrialCloud:
    return IndustrialCloud()

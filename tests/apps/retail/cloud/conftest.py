"""The store of each kind with the retail app's tables."""

from __future__ import annotations

import pytest

from apps.retail.cloud.projection import RetailCloud


@pytest.fixture
def cloud_app() -> RetailCloud:
    return RetailCloud()

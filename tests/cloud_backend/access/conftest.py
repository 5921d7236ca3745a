"""The clock of these tests."""

from __future__ import annotations

import pytest

from tests.cloud_backend.access.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()

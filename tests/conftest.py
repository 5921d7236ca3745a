"""What all tests share: the Hypothesis profile, a PostgreSQL server, and which worker runs what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.postgres import postgres

__all__ = ["postgres"]

# Examples count, not seconds: a busy machine is no failure.
settings.register_profile("edgeloop", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("edgeloop")


class RealProcessesApart(LoadScopeScheduling):
    """Tests go one by one to whichever worker is free, but all those of real processes to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "e2e" if nodeid.startswith("tests/e2e/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RealProcessesApart:
    return RealProcessesApart(config, log)

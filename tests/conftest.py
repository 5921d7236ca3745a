"""What all tests share: one PostgreSQL server for the session, and who runs where with several workers."""

from __future__ import annotations

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.postgres import postgres

__all__ = ["postgres"]


class RealProcessesApart(LoadScopeScheduling):
    """Tests go one by one to whichever worker is free, but all those of real processes to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "e2e" if nodeid.startswith("tests/e2e/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RealProcessesApart:
    return RealProcessesApart(config, log)

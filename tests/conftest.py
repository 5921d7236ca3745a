"""Common to all tests: the Hypothesis profile, PostgreSQL, files in memory, distribution to the workers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.postgres import postgres

__all__ = ["postgres"]

# Thousands of small databases: in memory, where it suffices, neither sync nor removal waits for a disk.
IN_MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 4 * 2**30
if (
    "TMPDIR" not in os.environ
    and os.access(IN_MEMORY, os.W_OK)
    and shutil.disk_usage(IN_MEMORY).free > MIN_FREE_BYTES
):
    os.environ["TMPDIR"] = str(IN_MEMORY)
    tempfile.tempdir = None

# Examples count, not seconds: a busy machine is no failure.
settings.register_profile("edgeloop", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("edgeloop")


class ModulesOfRealProcesses(LoadScopeScheduling):
    """Tests go one by one to the next free worker, those of real processes by module: they share a cloud."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("::")[0] if _has_real_processes(nodeid) else nodeid


def _has_real_processes(nodeid: str) -> bool:
    return nodeid.startswith(("tests/e2e/", "tests/bench/"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first, so that no worker ends with one."""
    items.sort(key=lambda item: not _has_real_processes(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModulesOfRealProcesses:
    return ModulesOfRealProcesses(config, log)

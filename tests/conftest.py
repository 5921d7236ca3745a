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

APP_CONTRACT = "tests/apps/test_contract.py"

# Examples count, not seconds: a busy machine is no failure.
settings.register_profile("edgeloop", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("edgeloop")


class SharedResourceScheduling(LoadScopeScheduling):
    """Tests go one by one to the next free worker, but together those of real processes of a module, which
    share a cloud, and those of the contract of an app, which share its readings and results."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if _has_real_processes(nodeid):
            return module
        if module == APP_CONTRACT:
            return f"{module} {test.partition('[')[2].partition('-')[0].rstrip(']')}"
        return nodeid


def _has_real_processes(nodeid: str) -> bool:
    return nodeid.startswith(("tests/e2e/", "tests/bench/"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first, so that no worker ends with one."""
    items.sort(
        key=lambda item: (not _has_real_processes(item.nodeid), not item.nodeid.startswith(APP_CONTRACT))
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedResourceScheduling:
    return SharedResourceScheduling(config, log)

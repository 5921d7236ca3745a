"""The app keeps its contract: the checks of `edgeloop app check`, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.template.app import SPEC
from common.authoring.check import AppUnderCheck, Check, find_checks, run_check


@pytest.mark.parametrize("check", find_checks(), ids=lambda check: check.name)
def test_the_app_keeps_its_contract(check: Check, tmp_path: Path) -> None:
    result = run_check(check, AppUnderCheck(SPEC, tmp_path))
    if result.state == "skipped":
        pytest.skip(result.detail)
    assert not result.failed, result.line()

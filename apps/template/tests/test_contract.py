"""The app keeps its contract (`edgeloop app check`)."""

from __future__ import annotations

from apps.template.app import SPEC
from common.authoring.check import run_checks


def test_the_app_keeps_its_contract() -> None:
    results = list(run_checks(SPEC))
    assert [result.line() for result in results if result.failed] == []
    assert any(result.state == "holds" for result in results)

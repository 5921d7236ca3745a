"""Every registered app keeps its contract: the checks of `edgeloop app check`, one test each."""

from __future__ import annotations

import pytest

from cloud_backend.app_check import CHECKS as CLOUD_CHECKS
from common.authoring.check import AppUnderCheck, run_check
from common.authoring.check.node import CHECKS as NODE_CHECKS
from tests.apps.contract import installed, names

CHECKS = {check.name: check for check in (*NODE_CHECKS, *CLOUD_CHECKS)}


@pytest.fixture(scope="module", params=names())
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AppUnderCheck:
    return AppUnderCheck(installed()[request.param], tmp_path_factory.mktemp("check"))


def hold(app: AppUnderCheck, name: str) -> None:
    result = run_check(CHECKS[name], app)
    if result.state == "skipped":
        pytest.skip(result.detail)
    assert not result.failed, result.line()


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "projection-postgresql"])
def test_the_app_keeps_its_contract(app: AppUnderCheck, name: str) -> None:
    hold(app, name)


def test_its_projection_holds_on_postgresql(app: AppUnderCheck, request: pytest.FixtureRequest) -> None:
    app.postgresql = request.getfixturevalue("postgres").url()
    hold(app, "projection-postgresql")

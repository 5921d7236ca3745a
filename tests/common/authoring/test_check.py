"""`edgeloop app check` finds what is broken in an app, and where."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import msgspec
import pytest

from apps.template.app import SPEC
from cloud_backend.app_check import CHECKS as CLOUD_CHECKS
from common.app.spec import AppSpec
from common.authoring.check import AppUnderCheck, Result, run_check
from common.authoring.check.checks import GROUP
from common.authoring.check.node import CHECKS as NODE_CHECKS
from tests.commands import Command, edgeloop, own_process
from tests.common.authoring.broken_apps import broken

__all__ = ["edgeloop", "own_process"]

CHECKS = {check.name: check for check in (*NODE_CHECKS, *CLOUD_CHECKS)}


def check(name: str, spec: AppSpec, folder: Path) -> Result:
    return run_check(CHECKS[name], AppUnderCheck(spec, folder))


@pytest.mark.parametrize(
    ("defect", "name", "detail"),
    [
        ({"cloud": "RaisingCloud"}, "projection", "KeyError: 'risk'"),
        ({"cloud": "SilentCloud"}, "projection", "none of its tables"),
        ({"cloud": "AddingCloud"}, "projection", "twice changes template_machine"),
        ({"cloud": "BatchCloud"}, "projection", "batches of 7"),
        ({"cloud": "ForeignTableCloud"}, "tables", "'industrial_broken' (ForeignTable) does not begin with"),
        ({"cloud": "NoRouterCloud"}, "routes", "AttributeError: no such dependency"),
        ({"cloud": "FailingRouteCloud"}, "routes", "ZeroDivisionError"),
        ({"pages": "no_front_page"}, "pages", "no front page"),
        ({"pages": "failing_page"}, "pages", "ApiError"),
        ({"train": "raising_training"}, "training", "ValueError: no rows"),
        ({"train": "other_version_training"}, "training", "train makes version '9' instead of 'check-1'"),
        ({"train": "no_lineage_training"}, "training", "lineage"),
        ({"train": "other_gate_training"}, "evaluation", "'f1', which evaluate does not give: accuracy"),
        ({"train": "nan_training"}, "evaluation", "accuracy of the starter is nan"),
        ({"edge": "OtherPrefixEdge"}, "wire", "'other.risk' does not begin with 'template.'"),
        ({"edge": "ChangingEdge"}, "deterministic", "second time"),
        ({"edge": "ForgetfulEdge"}, "restart", "after a restart"),
        ({"edge": "ForgetfulEdge"}, "bad-day", "restarts"),
        ({"edge": "GrowingEdge"}, "state", "the state grows with the readings"),
        ({"edge": "WritingEdge"}, "readings-unchanged", "read-only"),
        ({"edge": "NoCapacityEdge"}, "capacity", "of two newcomers"),
        ({"edge": "ZeroForBadEdge"}, "unusable", "raises no ReadingError"),
        ({"virtual": "unseeded_source"}, "virtual-repeats", "other values"),
        ({"virtual": "restarting_source"}, "virtual-resumes", "comes not reading"),
    ],
)
def test_a_defect_is_found(defect: dict[str, str], name: str, detail: str, tmp_path: Path) -> None:
    result = check(name, broken(**defect), tmp_path)
    assert result.failed
    assert detail in result.detail


def test_a_setting_of_the_node_alone_that_the_app_has_not_is_found(tmp_path: Path) -> None:
    result = check("own-settings", replace(SPEC, own_settings=("alarm_risk", "sampels")), tmp_path)
    assert result.failed
    assert "sampels, which the app has not" in result.detail


def test_the_template_without_a_defect_holds_each_promise_that_a_defect_breaks(tmp_path: Path) -> None:
    app = AppUnderCheck(SPEC, tmp_path)
    results = [run_check(check, app) for check in CHECKS.values()]
    assert [result.line() for result in results if result.failed] == []
    assert len([result for result in results if result.state == "holds"]) > 20


def test_an_error_is_reported_with_the_line_of_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.template.cloud.projection.EVENTS", None)
    result = check("projection", SPEC, tmp_path)
    assert result.failed
    assert "apps/template/cloud/projection.py:" in result.where


@pytest.mark.parametrize(
    ("app", "code", "state"),
    [("tests.common.authoring.broken_apps:SILENT", 1, "fails"), ("apps.template.app:SPEC", 0, "holds")],
)
def test_the_command_runs_the_installed_checks_and_exits_with_1_for_a_broken_app(
    edgeloop: Command, monkeypatch: pytest.MonkeyPatch, app: str, code: int, state: str
) -> None:
    """Only the projection's checks are installed here; all of them run in `tests/e2e/test_new_app.py`."""
    installed = EntryPoints([EntryPoint("projection", "cloud_backend.app_check.projection:CHECKS", GROUP)])
    monkeypatch.setattr("common.authoring.check.checks.entry_points", installed.select)
    done = edgeloop("app", "check", app, "--json")
    assert done.returncode == code, done.stderr
    results = {r["check"]: r for r in map(msgspec.json.decode, done.stdout.splitlines())}
    assert set(results) == {"tables", "projection", "projection-postgresql"}
    assert results["projection"]["state"] == state

"""`edgeloop app check` finds what is broken in an app, and where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from apps.template.app import SPEC
from cloud_backend.app_check import CHECKS as CLOUD_CHECKS
from common.app.spec import AppSpec
from common.authoring.check import AppUnderCheck, Result, run_check
from common.authoring.check.node import CHECKS as NODE_CHECKS
from tests.common.authoring.broken_apps import broken

ROOT = Path(__file__).resolve().parents[3]
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


def check_by_command(app: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`edgeloop app check` with the checks of the cloud's side installed, whatever this environment has."""
    about = folder / "checks-0.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: checks\nVersion: 0.0.0\n")
    entry = "[edgeloop.checks]\nprojection = cloud_backend.app_check.projection:CHECKS\n"
    (about / "entry_points.txt").write_text(entry)
    program = "import sys; from common.authoring.commands import app; app(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, "check", app, "--json"],
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_command_exits_with_1_for_a_broken_app_and_0_for_a_whole_one(tmp_path: Path) -> None:
    for name, app, code, state in (
        ("broken", "tests.common.authoring.broken_apps:SILENT", 1, "fails"),
        ("whole", "apps.template.app:SPEC", 0, "holds"),
    ):
        (tmp_path / name).mkdir()
        done = check_by_command(app, tmp_path / name)
        assert done.returncode == code, done.stderr
        results = {r["check"]: r for r in map(msgspec.json.decode, done.stdout.splitlines())}
        assert results["projection"]["state"] == state

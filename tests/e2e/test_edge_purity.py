"""A node runs with ``.[edge]`` alone, in a new environment, without a cloud; its size is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from apps.demo.world.processes import Children, tail, wait_until
from apps.demo.world.snapshot import metrics
from apps.demo.world.world import EdgeNode, answers
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
FORBIDDEN = [
    "torch",
    "ultralytics",
    "fastapi",
    "sqlmodel",
    "sqlalchemy",
    "sklearn",
    "scipy",
    "onnx",
    "pandas",
]
SIZE_GOAL_BYTES = 350_000_000
RSS_GOAL_BYTES = 150_000_000
READINGS = 500

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def run(*command: str | Path, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
        cwd="/",
    )


def need(done: subprocess.CompletedProcess[str]) -> None:
    """Skip where no package index is reachable; fail for any other reason."""
    unreachable = ("NewConnectionError", "No matching distribution found for setuptools", "NameResolution")
    if done.returncode and any(word in done.stderr for word in unreachable):
        pytest.skip(f"no package index is reachable here: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has the wheel with its ``edge`` extra and nothing else."""
    folder = tmp_path_factory.mktemp("purity")
    need(run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "dist", ROOT))
    (wheel,) = (folder / "dist").glob("edgeloop-*.whl")
    need(run(sys.executable, "-m", "venv", folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    locked = folder / "edge.txt"
    export = ("export", "--quiet", "--locked", "--project", ROOT, "--extra", "edge", "--no-emit-project")
    need(run(uv(), *export, "--output-file", locked))
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    need(run(*install, "--require-hashes", "--requirement", locked))
    need(run(*install, "--no-deps", wheel))
    return python


def uv() -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if (found := shutil.which("uv", path=path)) is None:
        pytest.skip("uv is not installed, which reads uv.lock; make test brings it")
    return found


def test_what_the_cloud_and_training_need_is_not_there(python: Path):
    code = "import importlib.util, json, sys; "
    code += "print(json.dumps([m for m in sys.argv[1:] if importlib.util.find_spec(m)]))"
    done = run(python, "-c", code, *FORBIDDEN)
    assert json.loads(done.stdout) == []


def test_the_environment_is_small(python: Path):
    files = (path for path in python.parents[1].rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files)
    print(f"environment of .[edge]: {size / 1e6:.0f} MB (goal {SIZE_GOAL_BYTES / 1e6:.0f} MB)")
    assert size < SIZE_GOAL_BYTES


def test_a_node_runs_from_its_bundle_with_no_cloud(python: Path, tmp_path: Path):
    with Children(tmp_path / "logs") as children:
        node = EdgeNode(children, tmp_path / "node", "alone", app="industrial")
        edgeloop = str(python.with_name("edgeloop"))
        arguments = ["node", "run", "--app", "industrial", "--source", "virtual:turbofan?seed=1"]
        child = children.start(
            "alone",
            [edgeloop, *arguments, "--speed", "0", "--data", str(node.data)],
            environment={"PYTHONPATH": ""},
            folder=tmp_path,
        )

        def done() -> bool:
            found = metrics(node)
            return (
                min(found.get(f"edgeloop_{each}", 0) for each in ("readings_total", "outbox_events"))
                > READINGS
            )

        what = f"{READINGS} readings and their events without a cloud"
        wait_until(done, what=what, timeout_s=PATIENCE_S, failed=child.exit_report)
        port = (node.data / "telemetry.port").read_text().strip()
        assert answers(f"http://127.0.0.1:{port}/healthz")
        rss = psutil.Process(child.pid).memory_info().rss
        print(
            f"node with the industrial app: {rss / 1e6:.0f} MB resident (goal {RSS_GOAL_BYTES / 1e6:.0f} MB)"
        )
        assert child.stop() == 0, tail(child.log)
        assert rss <= RSS_GOAL_BYTES

"""The images' install commands as they stand in the Dockerfile, without Docker; what they install runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.demo.world.processes import Child, Children, wait_until
from tests.dockerfile import ROOT, arguments, health_of, sources
from tests.waiting import PATIENCE_S

NO_INDEX = (
    "NewConnectionError",
    "NameResolution",
    "Failed to fetch",
    "dns error",
    "No matching distribution",
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs an image's install commands, with ``/opt`` moved; gives the folder with its programs."""

    def run(image: str) -> Path:
        folder = tmp_path_factory.mktemp(image)
        for name in sources():
            target = folder / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(ROOT / name, target)
        settings = dict(pair.split("=", 1) for pair in shlex.split(" ".join(arguments("source", "ENV"))))
        kept = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        python = folder / "python"
        python.mkdir()
        (python / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]  not in typeshed
        environment = kept | {name: moved(value, folder) for name, value in settings.items()}
        environment["PATH"] = f"{python}{os.pathsep}{kept['PATH']}"
        for command in arguments(f"build-{image}", "RUN"):
            done = subprocess.run(
                ["/bin/sh", "-ec", moved(command, folder)],
                cwd=folder / "src",
                env=environment,
                capture_output=True,
                text=True,
                timeout=1800,
            )
            if done.returncode and any(word in done.stderr for word in NO_INDEX):
                pytest.skip(f"no package index is reachable here: {done.stderr.strip()[-200:]}")
            assert done.returncode == 0, done.stderr[-3000:]
        shutil.rmtree(folder / "src")  # the image has no source
        return folder / "opt" / "edgeloop" / "bin"

    return run


def moved(text: str, folder: Path) -> str:
    return text.replace("/opt/", f"{folder}/opt/")


def is_healthy(image: str, programs: Path, data: Path, port: str = "") -> bool:
    words = [word.replace("/data", str(data)).replace(":8080", f":{port}") for word in health_of(image)]
    done = subprocess.run(
        [str(programs / words[0]), *words[1:]], capture_output=True, cwd="/", timeout=PATIENCE_S
    )
    return done.returncode == 0


def start(children: Children, programs: Path, folder: Path, *words: str) -> Child:
    command = [str(programs / "edgeloop"), *words]
    return children.start("image", command, environment={"PYTHONPATH": ""}, folder=folder)


def test_a_node_runs_from_what_its_image_installs(install: Callable[[str], Path], tmp_path: Path) -> None:
    programs, data = install("node"), tmp_path / "data"
    source = "virtual:turbofan?seed=1"
    with Children(tmp_path / "logs") as children:
        words = ("node", "run", "--app", "industrial", "--source", source, "--data", str(data))
        child = start(children, programs, tmp_path, *words)
        wait_until(
            lambda: is_healthy("node", programs, data),
            what="the health check passes",
            timeout_s=PATIENCE_S,
            failed=child.exit_report,
        )
        assert child.stop() == 0, child.exit_report()
    assert not is_healthy("node", programs, data)
    for library in ("fastapi", "sqlalchemy", "pip", "uv"):
        assert not list(programs.parent.glob(f"lib/python*/site-packages/{library}"))


def test_a_cloud_runs_from_what_its_image_installs(install: Callable[[str], Path], tmp_path: Path) -> None:
    programs, data = install("cloud"), tmp_path / "data"
    with Children(tmp_path / "logs") as children:
        words = ("cloud", "up", "--data", str(data), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        child = start(children, programs, tmp_path, *words)

        def healthy() -> bool:
            ports = data / "ports.json"
            port = str(json.loads(ports.read_bytes())["http"]) if ports.exists() else "1"
            return is_healthy("cloud", programs, data, port)

        wait_until(healthy, what="the health check passes", timeout_s=PATIENCE_S, failed=child.exit_report)
        assert child.stop() == 0, child.exit_report()
        assert not healthy()

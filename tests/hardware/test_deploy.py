"""The images: what their Dockerfile promises, and its install commands as they stand, without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from apps.demo.world.processes import Child, Children, wait_until
from common.cli import build
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "hardware" / "deploy"
IMAGES = ("node", "cloud")
NO_INDEX = (
    "NewConnectionError",
    "NameResolution",
    "Failed to fetch",
    "dns error",
    "No matching distribution",
)


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Each stage's parent and its instructions, in order."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in lines:
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = (parent, [])
        elif found:
            found[list(found)[-1]][1].append((word, " ".join(rest.split())))
    return found


def whole(image: str) -> list[tuple[str, str]]:
    """The instructions of a stage after those of the stages that it stands on."""
    parent, own = stages()[image]
    return [*(whole(parent) if parent in stages() else []), *own]


def arguments(image: str, word: str) -> list[str]:
    return [rest for each, rest in whole(image) if each == word]


def test_every_stage_stands_on_the_one_base_image() -> None:
    parents = {parent for parent, _ in stages().values()}
    assert parents - set(stages()) == {"${PYTHON_IMAGE}"}
    assert set(IMAGES) <= set(stages())


@pytest.mark.parametrize(("image", "extras"), [("node", {"edge", "ecg"}), ("cloud", {"cloud"})])
def test_everything_is_installed_from_the_lock(image: str, extras: set[str]) -> None:
    commands = " && ".join(arguments(f"build-{image}", "RUN"))
    assert set(re.findall(r"--extra (\S+)", commands)) == extras
    assert re.findall(r"pip install .*?(?=&&|$)", commands) == [
        "pip install --no-cache-dir --require-hashes -r .ci/uv.txt "
    ]
    assert all("--locked" in each for each in re.findall(r"uv sync [^&]*", commands))
    assert "--hash=sha256:" in (ROOT / ".ci" / "uv.txt").read_text("utf-8")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_no_build_tools_and_runs_without_rights(image: str) -> None:
    copied = arguments(image, "COPY")
    assert copied == [f"--from=build-{image} /opt/edgeloop /opt/edgeloop"]
    packages = " ".join(arguments(image, "RUN"))
    assert not re.search(r"gcc|build-essential|-dev\b|\buv\b|pip", packages)
    words = [word for word, _ in whole(image)]
    assert arguments(image, "USER") == ["edgeloop"]
    assert "RUN" not in words[words.index("USER") :]


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_runs_are_commands_that_exist(image: str) -> None:
    (entry,) = (json.loads(rest) for rest in arguments(image, "ENTRYPOINT"))
    (command,) = (json.loads(rest) for rest in arguments(image, "CMD"))
    for words in ([*entry, *command], health_of(image)):
        assert words[0] == "edgeloop"
        named = [word for word in words[1:3] if not word.startswith("-")]
        shown = CliRunner().invoke(build(), [*named, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.stdout


def test_the_context_has_all_that_is_copied_and_the_whole_package() -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    assert set(sources()) == kept
    assert {"apps", "cloud_backend", "common", "hardware"} <= kept


def sources() -> list[str]:
    return [name for rest in arguments("source", "COPY") for name in rest.split()[:-1]]


def health_of(image: str) -> list[str]:
    (check,) = arguments(image, "HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])


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


@pytest.mark.slow
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
        assert child.stop() == 0
    assert not is_healthy("node", programs, data)
    for library in ("fastapi", "sqlalchemy", "pip", "uv"):
        assert not list(programs.parent.glob(f"lib/python*/site-packages/{library}"))


@pytest.mark.slow
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
        assert child.stop() == 0
        assert not healthy()

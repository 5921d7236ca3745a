"""The images: what their Dockerfile promises. `tests/e2e/test_images.py` runs its install commands."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from common.cli import build
from tests.dockerfile import DEPLOY, ROOT, arguments, health_of, sources, stages, whole

IMAGES = ("node", "cloud")


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

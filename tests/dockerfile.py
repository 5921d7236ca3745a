"""The Dockerfile of the images of node and cloud, as tests read it."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "hardware" / "deploy"


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


def sources() -> list[str]:
    return [name for rest in arguments("source", "COPY") for name in rest.split()[:-1]]


def health_of(image: str) -> list[str]:
    (check,) = arguments(image, "HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])

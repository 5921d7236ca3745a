"""Links and paths in the documentation lead to files of this tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "apps/*/README.md", "hardware/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
SOURCE = re.compile(
    r"`((?:apps|common|cloud_backend|hardware|tests/\w+|docs|datasets)/[\w./-]+\.(?:py|md|toml))`"
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_path_exists(name: str) -> None:
    document = ROOT / name
    text = document.read_text("utf-8")
    links = [document.parent / target for target in LINK.findall(text)]
    paths = [ROOT / target for target in SOURCE.findall(text)]
    assert [str(path) for path in (*links, *paths) if not path.exists()] == []


def test_the_ten_questions_of_the_architecture_name_files() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| Where")]
    assert len(rows) == 10
    assert all(SOURCE.search(row) for row in rows)

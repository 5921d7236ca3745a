"""Tables of commands: at most 80 columns, with versions and ids whole."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.commands.fleets import COLUMNS as NODE_COLUMNS
from cloud_backend.commands.output import print_facts, print_rows
from cloud_backend.commands.rollouts import COLUMNS as ROLLOUT_COLUMNS

LONG = "20261129.001-a-version-that-a-person-chose"


def printed(capsys: pytest.CaptureFixture[str], columns: tuple[str, ...], **values: Any) -> list[str]:
    row = {column: 10**18 if column.endswith("_ns") else "some words of text" for column in columns}
    row |= values
    print_rows([row, row], columns, json=False, title="Rows")
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("version", ["20261129.001", LONG])
@pytest.mark.parametrize("columns", [NODE_COLUMNS, ROLLOUT_COLUMNS])
def test_a_table_fits_and_keeps_its_versions(
    capsys: pytest.CaptureFixture[str], columns: tuple[str, ...], version: str
) -> None:
    values = {"version": version, columns[0]: f"{version}-0a1b2c3d"}
    lines = printed(capsys, columns, **values)
    assert max(map(len, lines)) <= 80
    assert sum(version in line for line in lines) >= 2
    assert any(f"{version}-0a1b2c3d" in line for line in lines)
    assert not any("…" in line for line in lines)


def test_long_text_of_a_fact_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"version": LONG, "reason": "words " * 60}, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert LONG in lines[0]
    assert "".join(lines).count("words") == 60

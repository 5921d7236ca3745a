"""The options of the cloud's commands: declared once, and their help is shown whole."""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from cloud_backend import commands
from cloud_backend.commands.connection import DEFAULT_FOLDER

GROUPS = {name: getattr(commands, name) for name in ("cloud", "data", "fleet", "keys", "model", "rollout")}


def test_no_option_is_declared_twice() -> None:
    """Parameters of the same name and help are one object, from `cloud_backend.commands.options`."""
    declared: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group in GROUPS.values():
        for command in group.registered_commands:
            hints = get_type_hints(command.callback, include_extras=True)
            for name in inspect.signature(command.callback).parameters:
                for extra in getattr(hints[name], "__metadata__", ()):
                    declared[name, extra.help].add(id(extra))
    assert len(declared) > 20
    assert [key for key, objects in declared.items() if len(objects) > 1] == []


@pytest.mark.parametrize("words", [("cloud", "up"), ("cloud", "password"), ("cloud", "backup")])
def test_the_default_folder_is_shown(words: tuple[str, str]) -> None:
    app: typer.Typer = GROUPS[words[0]]
    shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"})
    assert f"by default {DEFAULT_FOLDER}." in shown.stdout

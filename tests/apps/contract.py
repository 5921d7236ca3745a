"""The apps that the contract tests run on: every registered one, and the template."""

from __future__ import annotations

from typing import Any

import pytest

from common.app.spec import AppSpec, find_app, installed_apps


def installed() -> dict[str, AppSpec]:
    """Every registered app by name, in order, and the template."""
    return dict(sorted((installed_apps() | {"template": find_app("apps.template.app:SPEC")}).items()))


SLOW = ("retail",)
"""Apps whose readings are rendered frames: minutes for all checks."""


def names() -> list[Any]:
    """Parameters of a test over `installed`."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in installed()]

"""Waiting in tests: for a condition, with a bound that only a hang reaches, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 300.0
"""Bound of every wait in tests: below pytest's own timeout, so that the failure names what was missing."""


def wait_for(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """Wait until ``condition`` is true; its value. Fails, naming ``what`` was missing."""
    until = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {patience_s:g} s for: {what}"
        time.sleep(0.01)
    return value


def eventually(condition: Callable[[], object]) -> bool:
    """True as soon as ``condition`` is; fails if it never is."""
    return bool(wait_for(condition, "the condition of this assertion"))

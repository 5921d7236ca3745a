"""Checks: their definition, discovery and execution, and the location of a failure."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from common.app.spec import AppSpec
from common.authoring.check.subject import AppUnderCheck
from common.errors import ConfigError, EdgeloopError

GROUP = "edgeloop.checks"
DETAIL_LIMIT = 600
"""Maximum length of an error text, in characters."""


class CheckFailed(EdgeloopError):
    """The app breaks its contract; the message describes the violation."""


class CheckSkipped(EdgeloopError):
    """The check does not apply to this app, or cannot run here; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the contract. ``run`` returns where it holds and raises where it does not."""

    name: str
    promise: str
    run: Callable[[AppUnderCheck], None]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a check: ``state`` is ``holds``, ``fails`` or ``skipped``."""

    check: str
    promise: str
    state: str
    detail: str = ""
    where: str = ""
    """File and line of the app, where the failure is an error raised there."""

    @property
    def failed(self) -> bool:
        return self.state == "fails"

    def line(self) -> str:
        """The result as text."""
        text = f"{self.state:7} {self.check}: {self.promise}"
        if self.detail:
            text += f"\n        {self.detail}"
        if self.where:
            text += f"\n        at {self.where}"
        return text


def require(condition: object, message: str) -> None:
    """Raises `CheckFailed` unless ``condition`` is true."""
    if not condition:
        raise CheckFailed(message)


def find_checks() -> list[Check]:
    """All installed checks, the node's first. Raises `ConfigError` where there are none."""
    groups = sorted(entry_points(group=GROUP), key=lambda entry: entry.name, reverse=True)
    if not groups:
        raise ConfigError("no checks are installed: install edgeloop itself, not only its files")
    checks: list[Check] = []
    for entry in groups:
        try:
            checks += entry.load()
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the checks of the {entry.name}'s side need {error.name}, which is not installed: "
                "pip install 'edgeloop[edge,cloud,train]'"
            ) from error
    return checks


def run_check(check: Check, app: AppUnderCheck) -> Result:
    """Run one check; whatever it raises is a failure of the app."""
    try:
        check.run(app)
    except CheckSkipped as skipped:
        return Result(check=check.name, promise=check.promise, state="skipped", detail=str(skipped))
    except Exception as error:  # noqa: BLE001  an app may raise anything
        kind = "" if isinstance(error, CheckFailed) else f"{type(error).__name__}: "
        return Result(
            check=check.name,
            promise=check.promise,
            state="fails",
            detail=f"{kind}{error}"[:DETAIL_LIMIT],
            where=_place(error, app.spec.starter.parent),
        )
    return Result(check=check.name, promise=check.promise, state="holds")


def run_checks(
    spec: AppSpec, *, postgresql: str = "", checks: Sequence[Check] | None = None
) -> Iterator[Result]:
    """Run all checks on an app, one after the other."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-check-") as folder:
        app = AppUnderCheck(spec, Path(folder), postgresql)
        for check in find_checks() if checks is None else checks:
            yield run_check(check, app)


def _place(error: BaseException, folder: Path) -> str:
    """The innermost line of the app in the traceback of ``error`` and its causes."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for one in reversed(chain):
        for frame in reversed(traceback.extract_tb(one.__traceback__)):
            if Path(frame.filename).is_relative_to(folder):
                return f"{frame.filename}:{frame.lineno}"
    return ""

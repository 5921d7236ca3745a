"""The ``edgeloop`` command in the process of the test."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from common.cli import main
from common.logs import OUR_LOGGERS, QUIET_LOGGERS


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def own_process() -> Iterator[None]:
    """Restores what a command sets for its process: umask, signals, fault handler and logging."""
    umask = os.umask(0o022)
    os.umask(umask)
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers = [logging.getLogger(name) for name in (None, *OUR_LOGGERS, *QUIET_LOGGERS)]
    levels = [logger.level for logger in loggers]
    handlers = loggers[0].handlers[:]
    configured = structlog.is_configured()
    structure = structlog.get_config()
    faults = faulthandler.is_enabled()
    yield
    os.umask(umask)
    for number, handler in signals.items():
        signal.signal(number, handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    loggers[0].handlers[:] = handlers
    structlog.reset_defaults()
    if configured:
        structlog.configure(**structure)
    if faults and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


@pytest.fixture
def edgeloop(
    own_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs ``edgeloop`` with arguments, in the folder of the test and without settings of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    for name in [name for name in os.environ if name.startswith("EDGELOOP_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeloop", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run

"""The ``edgeloop`` command. Rooms add their commands by the entry point group ``edgeloop.commands``.

Each entry point names a `typer.Typer`, or a function for a command without subcommands; the entry's name is
the command's (``cloud``, ``node``, ...).
Command modules import heavy libraries inside their functions, so that ``edgeloop node`` is quick and
works where only the edge is installed. Exit codes: 0 done, 1 failed, 2 wrong use. With ``--json`` a
command prints one object a line.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

import msgspec
import typer

from common.errors import EdgeloopError
from common.private import restrict_new_files

GROUP = "edgeloop.commands"


def print_object(facts: object) -> None:
    """One JSON object on one line, for ``--json``."""
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    sys.stdout.flush()


def print_figure(
    figure: str,
    value: float,
    unit: str,
    *,
    against: str | None = None,
    against_value: float | None = None,
    **more: str,
) -> None:
    """A measured figure as one JSON line; with ``against`` also its ratio to what the same run measured.

    ``more`` names what was measured, if one figure is measured of several things.
    """
    facts: dict[str, Any] = {"figure": figure, "value": value, "unit": unit, **more}
    if against is not None and against_value is not None:
        facts |= {"against": against, "against_value": against_value, "ratio": value / against_value}
    print_object(facts)


def parse_parameters(pairs: list[str]) -> dict[str, Any]:
    """Training parameters from ``NAME=VALUE``; VALUE is JSON or text."""
    parameters: dict[str, Any] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            parameters[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            parameters[name] = value
    return parameters


def build() -> typer.Typer:
    """The whole command, from all rooms that are installed."""
    root = typer.Typer(
        name="edgeloop",
        help="Edge-AI applications on one edge/cloud loop.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    root.callback()(lambda: None)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            root.add_typer(command, name=entry.name)
        else:
            root.command(entry.name)(command)
    return root


def main() -> None:
    """Entry point of the console script."""
    restrict_new_files()
    try:
        build()()
    except EdgeloopError as error:
        sys.stderr.write(f"edgeloop: {error}\n")
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"common", "apps", "cloud_backend", "hardware"}:
            raise
        sys.stderr.write(
            f"edgeloop: this command needs the package {error.name}, which is not installed here: "
            "pip install 'edgeloop[demo]' has all of them\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()

"""``edgeloop new-app`` and ``edgeloop app``: make an app, and hold it to its contract."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from common.cli import parse_parameters, print_object

app = typer.Typer(help="Check an app.", no_args_is_help=True)


def new_app(
    name: Annotated[str, typer.Argument(help="Name of the new app, such as pump_room.")],
    like: Annotated[str, typer.Option(help="App to copy; or module:attribute.")] = "template",
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder of the project (./NAME), or the folder apps of a checkout of edgeloop."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title in the dashboard; from the name by default.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data set for the starter; virtual data by default."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Training parameter NAME=VALUE of the starter. Repeatable.")
    ] = None,
) -> None:
    """Make a new app: a copy of another one with every name changed, and a starter trained by its own job."""
    from common.authoring.new_app import new_app as make

    project = make(
        name,
        like=like,
        out=out,
        title=title,
        data_path=data,
        parameters=parse_parameters(parameter or []),
        progress=lambda fraction, message: typer.echo(f"{fraction:4.0%} {message}", err=True),
    )
    where = os.path.relpath(project)
    typer.echo(f"{name} is in {where}. Next: pip install -e {where} && edgeloop app check {name}")


@app.callback()
def _group() -> None:
    """Commands on one app."""


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="App to check; or module:attribute.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of another bundle than the app's starter.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    postgresql: Annotated[
        str, typer.Option(help="URL of an empty PostgreSQL database for the projection as well.")
    ] = "",
) -> None:
    """Check that an app keeps its contract on node, cloud, pages and training; exit code 1 if it does not."""
    from dataclasses import replace

    import structlog

    from common.app.spec import find_app
    from common.authoring.check import run_checks

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    spec, failed = find_app(name), 0
    if bundle is not None:
        spec = replace(spec, starter=bundle)
    for result in run_checks(spec, postgresql=postgresql):
        failed += result.failed
        if json:
            print_object(result)
        else:
            typer.echo(result.line())
    raise typer.Exit(1 if failed else 0)

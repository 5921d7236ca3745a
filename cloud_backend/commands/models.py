"""``edgeloop model``: the registry, training, evaluation."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_backend.commands.connection import connect
from cloud_backend.commands.options import (
    AppArgument,
    CloudOption,
    FolderOption,
    JobArgument,
    JsonOption,
    ParameterOption,
    SeedOption,
    TokenOption,
    VersionArgument,
)
from cloud_backend.commands.output import print_facts, print_rows
from common.cli import parse_parameters, print_object
from common.cloud_client import CloudClient, path_part
from common.datasets import check_folder
from common.errors import DatasetError, TrainingError

app = typer.Typer(help="Model registry: list, lineage, training, evaluation, approval.", no_args_is_help=True)
POLL_S = 0.5
ENDED = ("done", "refused", "failed", "cancelled")


@app.command("ls")
def list_models(
    app_name: AppArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """List the versions of an app, newest first."""
    columns = ("version", "state", "parent", "job", "approved_by", "figures", "created_ns")
    with connect(cloud, token_file, data) as client:
        rows = client.pages(f"/v1/apps/{path_part(app_name)}/models")
        print_rows(rows, columns, json=json, title=f"Models of {app_name}")


@app.command()
def show(
    app_name: AppArgument,
    version: VersionArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show a version: state, approval, figures and lineage."""
    path = f"/v1/apps/{path_part(app_name)}/models/{path_part(version)}"
    with connect(cloud, token_file, data) as client:
        facts = client.get(path)
        chain = client.get(f"{path}/lineage")["chain"]
    if json:
        print_object(facts | {"lineage": chain})
        return
    print_facts({name: value for name, value in facts.items() if name != "manifest"}, json=False)
    columns = ("version", "state", "approved_by", "approval_reason", "job", "code", "data")
    print_rows(chain, columns, json=False, title="Lineage, nearest first")


@app.command()
def train(
    app_name: AppArgument,
    parameter: ParameterOption = None,
    seed: SeedOption = 0,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", help="Wait for the verdict; exit code 1 unless the candidate is approved."
        ),
    ] = True,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Train a candidate in the cloud, and let the gate judge it.

    It learns from the cloud's samples and labels, and from the app's data set below the folder that
    EDGELOOP_DATA named when the cloud was started; without that variable from virtual data. The set must be
    there, unless `--parameter data_sets=false` leaves it out. The gate approves only on the
    evidence of held-out samples.
    """
    body = {"parameters": parse_parameters(parameter or []), "seed": seed}
    with connect(cloud, token_file, data) as client:
        job = client.post(f"/v1/apps/{path_part(app_name)}/jobs", body)
        if follow:
            job = _follow(client, app_name, job, json=json)
        if not follow or not json:
            print_facts(job, json=json)
    if follow and job["state"] != "done":
        raise typer.Exit(1)


@app.command()
def jobs(
    app_name: AppArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """List the training jobs of an app, newest first."""
    columns = ("id", "state", "progress", "version", "parent", "message", "created_ns")
    with connect(cloud, token_file, data) as client:
        rows = client.pages(f"/v1/apps/{path_part(app_name)}/jobs")
        print_rows(rows, columns, json=json, title=f"Jobs of {app_name}")


@app.command()
def log(
    app_name: AppArgument,
    job: JobArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
) -> None:
    """Print the log of a training job."""
    with connect(cloud, token_file, data) as client:
        text = client.request("GET", f"/v1/apps/{path_part(app_name)}/jobs/{path_part(job)}/log")
    typer.echo(text.decode("utf-8", "replace"), nl=False)


@app.command()
def cancel(
    app_name: AppArgument,
    job: JobArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel a training job."""
    with connect(cloud, token_file, data) as client:
        print_facts(client.post(f"/v1/apps/{path_part(app_name)}/jobs/{path_part(job)}/cancel"), json=json)


@app.command()
def promote(
    app_name: AppArgument,
    version: VersionArgument,
    reason: Annotated[str, typer.Option(help="Reason of the approval.")],
    by: Annotated[str, typer.Option(help="Name of the person who approves.", envvar="USER")] = "admin",
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Approve a candidate or refused version by hand, so that it can be rolled out.

    Name and reason stay in its record.
    """
    if not reason.strip():
        raise typer.BadParameter("--reason is empty")
    path = f"/v1/apps/{path_part(app_name)}/models/{path_part(version)}/promote"
    with connect(cloud, token_file, data) as client:
        print_facts(client.post(path, {"by": by, "reason": reason}), json=json)


@app.command()
def add(
    app_name: AppArgument,
    path: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Add a bundle that was made elsewhere to the registry, as a candidate."""
    from common.bundle import open_bundle

    bundle = open_bundle(path, app=app_name)
    models = f"/v1/apps/{path_part(app_name)}/models"
    with connect(cloud, token_file, data) as client:
        client.send_bundle(app_name, bundle)
        print_facts(client.post(models, {"version": bundle.version}), json=json)


@app.command()
def evaluate(
    app_name: AppArgument,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data set to measure on; by default the one in EDGELOOP_DATA."),
    ] = None,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="Measure on virtual data only, ignoring EDGELOOP_DATA.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the app's own by default.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a model here, on a data set or on virtual data; needs no cloud.

    A named data set is measured or the command fails; virtual data is measured where none is named. The unit
    of a figure names its cases. A recorded figure is repeated from the bundle's manifest. A figure
    ``<name>_of_<rule>`` is that of a trivial rule; the two are compared. A figure of one of several things
    names it as its case. Progress of long evaluations is on stderr.
    """
    from common.app.spec import find_app
    from common.bundle import open_bundle

    if data is not None and virtual:
        raise typer.BadParameter("--data and --virtual exclude each other")
    named = os.environ.get("EDGELOOP_DATA", "")
    place = data or (Path(named) if named and not virtual else None)
    spec = find_app(app_name)
    if place is not None:
        check_folder(place)
    opened = open_bundle(bundle or spec.starter, app=spec.name)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("apps").setLevel(logging.INFO)
    try:
        metrics = spec.load_train().evaluate(opened, [], place)
    except DatasetError as error:
        if data is not None:
            raise
        raise DatasetError(
            f"EDGELOOP_DATA: {error}; --data names another folder, --virtual measures virtual data"
        ) from error
    if data is not None and not metrics.data:
        raise DatasetError(
            f"{spec.name} measures no data set, so nothing of {data} was measured: leave --data out"
        )
    figures = {name: _figure(name, figure, metrics.data) for name, figure in metrics.figures.items()}
    rows = [*figures.values()]
    rows += [
        _figure("", figure, metrics.data) | {"figure": name, "slice": True}
        for name, figure in metrics.slices.items()
    ]
    rows += _comparisons(figures)
    for row in rows:
        row["version"] = opened.version
    columns = ("figure", "case", "value", "unit", "lower", "upper", "count", "against", "ratio")
    if not json:
        named_in = " (named in EDGELOOP_DATA)" if data is None and metrics.data else ""
        typer.echo(f"Measured on: {metrics.data or 'no data set'}{named_in}")
    print_rows(rows, columns, json=json, title=f"{spec.name} {opened.version}")


@app.command()
def starter(
    app_name: AppArgument,
    out: Annotated[Path, typer.Option(help="New or empty folder of the bundle.")],
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1.0.0",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the app's data set; virtual data by default.")
    ] = None,
    seed: SeedOption = 0,
    parameter: ParameterOption = None,
    json: JsonOption = False,
) -> None:
    """Train an app's first model here, with the app's own training job; needs no cloud."""
    from common.app.spec import find_app
    from common.training.starter import make_starter

    if data is not None:
        check_folder(data)
    bundle = make_starter(
        find_app(app_name),
        out,
        version=version,
        data_path=data,
        seed=seed,
        parameters=parse_parameters(parameter or []),
        progress=lambda fraction, message: typer.echo(f"{fraction:4.0%} {message}", err=True),
    )
    details = {"app": bundle.manifest.app, "version": bundle.version, "path": str(bundle.path)}
    print_facts(details | {"figures": bundle.manifest.figures}, json=json)


def _figure(name: str, figure: Any, data: str) -> dict[str, Any]:
    """A figure as a row; what follows the first space of its name is its case."""
    kind, _, case = name.partition(" ")
    case, of, rule = case.partition("_of_")
    facts: dict[str, Any] = {"figure": kind + of + rule}
    facts |= {"case": case} if case else {}
    facts |= {"value": figure.value, "unit": figure.unit}
    more = {"lower": figure.lower, "upper": figure.upper, "count": figure.count}
    facts |= {key: value for key, value in more.items() if value is not None}
    if figure.recorded:
        return facts | {"recorded": True, "data": "the bundle's manifest"}
    if figure.virtual:
        return facts | {"virtual": True, "data": "virtual data"}
    return facts | ({"data": data} if data else {})


def _comparisons(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each baseline: the figure, and that of the baseline on the same data."""
    found = []
    for name, baseline in rows.items():
        figure, of, _ = name.rpartition("_of_")
        if of and figure in rows and baseline["value"]:
            kept = ("figure", "case", "value", "unit", "virtual", "data")
            facts = {key: rows[figure][key] for key in kept if key in rows[figure]}
            ratio = facts["value"] / baseline["value"]
            found.append(
                facts | {"against": baseline["figure"], "against_value": baseline["value"], "ratio": ratio}
            )
    return found


def _follow(client: CloudClient, app_name: str, job: dict[str, Any], *, json: bool) -> dict[str, Any]:
    path = f"/v1/apps/{path_part(app_name)}/jobs/{path_part(job['id'])}"
    shown = ""
    try:
        while True:
            line = f"{job['state']} {job['progress']:.0%} {job['message']}"
            if line != shown:
                shown = line
                if json:
                    print_object(job)
                else:
                    typer.echo(f"{job['id']}: {line}")
            if job["state"] in ENDED:
                return job
            time.sleep(POLL_S)
            job = client.get(path)
    except KeyboardInterrupt:
        raise TrainingError(
            f"{job['id']} continues: `edgeloop model cancel {app_name} {job['id']}` ends it"
        ) from None

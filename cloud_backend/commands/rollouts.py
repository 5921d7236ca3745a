"""``edgeloop rollout``: versions on their way to the fleet."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cloud_backend.commands.connection import connect
from cloud_backend.commands.options import (
    AppArgument,
    CloudOption,
    FolderOption,
    JsonOption,
    ReasonOption,
    RolloutArgument,
    TokenOption,
)
from cloud_backend.commands.output import print_facts, print_rows
from common.cli import print_object
from common.cloud_client import CloudClient, path_part
from common.errors import RolloutError

app = typer.Typer(help="Roll models out to the fleet, in waves.", no_args_is_help=True)
COLUMNS = ("id", "version", "previous_version", "state", "wave", "waves", "created_ns", "reason")
NODE_COLUMNS = ("node", "wave", "state", "outcome", "reason", "problem", "version")
POLL_S = 0.5


@app.command()
def start(
    app_name: AppArgument,
    version: Annotated[str, typer.Argument(help="Version to roll out; it must be approved.")],
    waves: Annotated[
        str, typer.Option(help="Share of the nodes that each wave reaches, separated by commas.")
    ] = "0.34,1.0",
    soak_s: Annotated[
        float | None, typer.Option(help="Seconds of good health before a node counts as adopted.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Only these sites.")] = None,
    profile: Annotated[list[str] | None, typer.Option(help="Only these hardware profiles.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only nodes with one of these tags.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only these nodes.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for the end; exit code 1 unless it is done.")] = False,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Start a rollout."""
    try:
        shares = [float(share) for share in waves.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{waves!r} is not a list of shares, such as 0.34,1.0") from None
    limits = {"sites": site, "profiles": profile, "tags": tag, "nodes": node}
    constraint = {name: values for name, values in limits.items() if values}
    body: dict[str, Any] = {"version": version, "waves": shares, "soak_s": soak_s}
    with connect(cloud, token_file, data) as client:
        row = client.post(
            f"/v1/apps/{path_part(app_name)}/rollouts",
            body | ({"constraint": constraint} if constraint else {}),
        )
        if not follow:
            print_facts(row, json=json)
            return
        state = _follow(client, app_name, row["id"], json=json)
    if state != "done":
        raise typer.Exit(1)


@app.command()
def status(
    app_name: AppArgument,
    id: RolloutArgument = "",
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """List the rollouts of an app, or show one with its nodes and their reports."""
    with connect(cloud, token_file, data) as client:
        path = f"/v1/apps/{path_part(app_name)}/rollouts"
        if not id:
            print_rows(client.pages(path), COLUMNS, json=json, title=f"Rollouts of {app_name}")
            return
        facts = client.get(f"{path}/{path_part(id)}")
        progress = client.get(f"{path}/{path_part(id)}/progress")
        steps = client.get(f"{path}/{path_part(id)}/adoptions", limit=200)["items"]
    facts |= {name: progress[name] for name in ("states", "problems", "nodes")}
    if json:
        print_object(facts | {"adoptions": steps})
        return
    nodes = facts.pop("nodes")
    print_facts(facts, json=False)
    print_rows(nodes, NODE_COLUMNS, json=False, title="Nodes, those in trouble first")
    print_rows(steps, ("time_ns", "node", "version", "step", "ok", "reason"), json=False, title="Reports")


@app.command()
def halt(
    app_name: AppArgument,
    id: RolloutArgument = "",
    reason: ReasonOption = "by hand",
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Halt a rollout at its present wave; nodes keep their versions."""
    with connect(cloud, token_file, data) as client:
        print_facts(_change(client, app_name, id, "halt", reason), json=json)


@app.command()
def revert(
    app_name: AppArgument,
    id: RolloutArgument = "",
    reason: ReasonOption = "by hand",
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Return every node to the version before the rollout."""
    with connect(cloud, token_file, data) as client:
        print_facts(_change(client, app_name, id, "revert", reason), json=json)


def _change(client: CloudClient, app_name: str, id: str, change: str, reason: str) -> Any:
    path = f"/v1/apps/{path_part(app_name)}/rollouts"
    if not id:
        newest = client.get(path, limit=1)["items"]
        if not newest or (change == "halt" and newest[0]["state"] != "running"):
            raise RolloutError(f"no rollout of {app_name} is running: name one by its id")
        id = newest[0]["id"]
    return client.post(f"{path}/{path_part(id)}/{change}", {"reason": reason})


def _follow(client: CloudClient, app_name: str, id: str, *, json: bool) -> str:
    shown: tuple[Any, ...] = ()
    while True:
        row = client.get(f"/v1/apps/{path_part(app_name)}/rollouts/{path_part(id)}")
        if (row["state"], row["wave"]) != shown:
            shown = (row["state"], row["wave"])
            if json:
                print_object(row)
            else:
                typer.echo(
                    f"{id}: {row['state']}, wave {row['wave'] + 1} of {len(row['waves'])} {row['reason']}"
                )
        if row["state"] != "running":
            return str(row["state"])
        time.sleep(POLL_S)

"""``edgeloop keys``: the signing keys of the update repository."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud_backend.commands.connection import connect
from cloud_backend.commands.options import CloudOption, FolderOption, JsonOption, TokenOption
from cloud_backend.commands.output import print_facts, print_rows
from common.cloud_client import path_part

app = typer.Typer(help="Signing keys of the update repository.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Signing keys of the update repository."""


@app.command("ls")
def list_keys(
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """List the roles with the ids of their keys."""
    with connect(cloud, token_file, data) as client:
        print_rows(client.pages("/v1/keys"), ("role", "version", "keys"), json=json, title="Keys")


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(help="root, timestamp, snapshot, targets, or the name of an app.")],
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Replace the keys of a role by new ones, after a compromise or by habit; nodes follow by themselves."""
    with connect(cloud, token_file, data) as client:
        print_facts(client.post(f"/v1/keys/{path_part(role)}/rotate"), json=json)

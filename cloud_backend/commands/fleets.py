"""``edgeloop fleet``: the nodes of a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_backend.commands.connection import (
    CloudOption,
    FolderOption,
    JsonOption,
    TokenOption,
    connect,
    part,
)
from cloud_backend.commands.output import print_facts, print_rows
from common.cli import print_object

app = typer.Typer(help="The nodes of a cloud.", no_args_is_help=True)
COLUMNS = ("node", "site", "state", "app", "version", "step", "confirmed", "virtual", "last_seen_ns")


@app.command("ls")
def list_nodes(
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """List the nodes."""
    with connect(cloud, token_file, data) as client:
        print_rows(client.pages("/v1/nodes"), COLUMNS, json=json, title="Nodes")


@app.command()
def show(
    node: Annotated[str, typer.Argument(help="Name of the node.")],
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show a node: what it last reported, and its last steps of adoption."""
    with connect(cloud, token_file, data) as client:
        facts = client.get(f"/v1/nodes/{part(node)}")
        steps = client.get(f"/v1/nodes/{part(node)}/adoptions", limit=20)["items"]
    if json:
        print_object(facts | {"adoptions": steps})
        return
    print_facts(facts, json=False)
    print_rows(
        steps, ("time_ns", "version", "step", "ok", "reason"), json=False, title="Adoption, newest first"
    )


@app.command()
def enrol(
    node: Annotated[str, typer.Argument(help="Name of the node: a-z, 0-9, '.', '_', '-'.")],
    site: Annotated[str, typer.Option(help="Site of the node.")],
    out: Annotated[Path, typer.Option(help="File for the enrolment; readable by its owner only.")],
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol a node, or give it new credentials: writes what `edgeloop node run --enrolment` takes."""
    import msgspec

    from common import durable
    from common.config import Enrolment, convert

    with connect(cloud, token_file, data) as client:
        answer = client.post("/v1/nodes", {"node": node, "site": site})
    enrolment = convert(Enrolment, answer, "the cloud's answer")
    durable.write(out, msgspec.json.encode(enrolment), mode=0o600)
    facts = {
        "node": enrolment.node,
        "site": enrolment.site,
        "cloud_url": enrolment.cloud_url,
        "file": str(out),
    }
    print_facts(facts, json=json)


@app.command()
def hint(
    node: Annotated[str, typer.Argument(help="Name of the node.")],
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
) -> None:
    """Tell a node to look for a deployment now."""
    with connect(cloud, token_file, data) as client:
        client.post(f"/v1/nodes/{part(node)}/hint", {"look": "deployment"})

"""``edgeloop fleet``: the nodes of a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_backend.commands.connection import connect
from cloud_backend.commands.options import (
    CloudOption,
    EnrolmentOption,
    FolderOption,
    JsonOption,
    LoopbackOption,
    NodeArgument,
    TokenOption,
)
from cloud_backend.commands.output import print_facts, print_rows
from common.cli import print_object
from common.cloud_client import path_part

app = typer.Typer(help="The nodes of a cloud.", no_args_is_help=True)
COLUMNS = (
    "node",
    "site",
    "state",
    "app",
    "version",
    "step",
    "update_problem",
    "problems",
    "virtual",
    "last_seen_ns",
)
RETIRED_COLUMNS = ("node", "site", "app", "version", "retired_ns", "replaced_by", "last_seen_ns")
DAY_NS = 86_400 * 10**9
HEALTH_CHARACTERS = 80


@app.command("ls")
def list_nodes(
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    retired: Annotated[bool, typer.Option("--retired", help="List retired nodes instead.")] = False,
    json: JsonOption = False,
) -> None:
    """List the nodes in service."""
    with connect(cloud, token_file, data) as client:
        rows = client.pages("/v1/nodes", retired=retired or None)
        if not json:
            rows = (
                row
                | {"problems": ", ".join(filter(None, (health_text(row["health"]), _kinds(row["problems"]))))}
                for row in rows
            )
        print_rows(rows, RETIRED_COLUMNS if retired else COLUMNS, json=json, title="Nodes")


def health_text(health: dict[str, Any]) -> str:
    """Problems that a node reports; empty for none."""
    problems = health.get("problems")
    if health.get("ok") is not False or not isinstance(problems, list):
        return ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"not ok: {str(problems[0])[:HEALTH_CHARACTERS]}{more}" if problems else "not ok"


def _kinds(problems: list[dict[str, Any]]) -> str:
    """Kinds of the problems within a day of the newest."""
    newest_ns = max((problem["last_ns"] for problem in problems), default=0)
    return ", ".join(p["kind"] for p in problems if newest_ns - p["last_ns"] < DAY_NS)


@app.command()
def show(
    node: NodeArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show a node: its last report, its problems and its last steps of adoption."""
    with connect(cloud, token_file, data) as client:
        facts = client.get(f"/v1/nodes/{path_part(node)}")
        steps = client.get(f"/v1/nodes/{path_part(node)}/adoptions", limit=20)["items"]
    if json:
        print_object(facts | {"adoptions": steps})
        return
    problems = facts.pop("problems")
    print_facts(facts, json=False)
    if problems:
        columns = ("last_ns", "kind", "count", "detail")
        print_rows(problems, columns, json=False, title="Problems, newest first")
    print_rows(
        steps, ("time_ns", "version", "step", "ok", "reason"), json=False, title="Adoption, newest first"
    )


@app.command()
def enrol(
    node: Annotated[str, typer.Argument(help="Name of the node: a-z, 0-9, '.', '_', '-'.")],
    site: Annotated[str, typer.Option(help="Site of the node.")],
    out: EnrolmentOption,
    force: LoopbackOption = False,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol a node, or renew its credentials: writes the file for `edgeloop node run --enrolment`."""
    with connect(cloud, token_file, data) as client:
        answer = client.post("/v1/nodes", {"node": node, "site": site, "allow_loopback": force})
    _keep_enrolment(answer, out, json=json)


@app.command()
def replace(
    node: Annotated[str, typer.Argument(help="Name of the node whose device is replaced.")],
    out: EnrolmentOption,
    name: Annotated[str, typer.Option(help="Name of the new device.", show_default="the same")] = "",
    force: LoopbackOption = False,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Replace the device of a node; the old device's credentials end at once.

    With a new name the old node is retired. Its data stays.
    """
    body = {"name": name or None, "allow_loopback": force}
    with connect(cloud, token_file, data) as client:
        answer = client.post(f"/v1/nodes/{path_part(node)}/replace", body)
    _keep_enrolment(answer, out, json=json)


@app.command()
def retire(
    node: NodeArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a node's credentials for good. Its history stays; counts and rollouts exclude it."""
    with connect(cloud, token_file, data) as client:
        row = client.post(f"/v1/nodes/{path_part(node)}/retire")
    print_facts({name: row[name] for name in ("node", "site", "retired_ns")}, json=json)


@app.command()
def remove(
    node: NodeArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a node without any history; retire one that has sent anything."""
    with connect(cloud, token_file, data) as client:
        client.delete(f"/v1/nodes/{path_part(node)}")
    print_facts({"node": node, "removed": True}, json=json)


@app.command()
def hint(
    node: NodeArgument,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
) -> None:
    """Request a node to check for a deployment now."""
    with connect(cloud, token_file, data) as client:
        client.post(f"/v1/nodes/{path_part(node)}/hint", {"action": "deployment"})


def _keep_enrolment(answer: Any, out: Path, *, json: bool) -> None:
    """Write the enrolment, and print its addresses and whether other machines reach them."""
    import msgspec

    from cloud_backend.runtime.addresses import host_of, is_local
    from common import durable
    from common.config.loader import convert
    from common.config.node import Enrolment

    enrolment = convert(Enrolment, answer, "the cloud's answer")
    durable.write(out, msgspec.json.encode(enrolment), mode=0o600)
    local = is_local(host_of(enrolment.cloud_url)) or is_local(enrolment.mqtt_host)
    facts = {
        "node": enrolment.node,
        "site": enrolment.site,
        "cloud_url": enrolment.cloud_url,
        "mqtt": f"{enrolment.mqtt_host}:{enrolment.mqtt_port}",
        "file": str(out),
        "works_on": "this machine only" if local else "any machine that reaches these addresses",
    }
    print_facts(facts, json=json)

"""``edgeloop cloud``: run a cloud, and look at one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_backend.commands.connection import (
    DEFAULT_FOLDER,
    CloudOption,
    FolderOption,
    JsonOption,
    TokenOption,
    connect,
)
from cloud_backend.commands.output import print_facts
from common.cli import print_object
from common.config import CloudSettings, load

app = typer.Typer(help="Run the cloud.", no_args_is_help=True)


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder of the cloud's state.")] = Path(DEFAULT_FOLDER),
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of the API; port 0 picks one.")
    ] = "",
    mqtt: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of the broker; port 0 picks one.")
    ] = "",
    broker: Annotated[str, typer.Option(help="auto, mosquitto, iotcore or external.")] = "",
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
) -> None:
    """Run a cloud until SIGTERM or Ctrl-C: broker, ingest, API, rollouts and training."""
    overrides: dict[str, Any] = {"data": str(data)}
    overrides["http"] = address_of(http, "--http")
    overrides["mqtt"] = address_of(mqtt, "--mqtt") | ({"broker": broker} if broker else {})
    settings = load(CloudSettings, file=config, environment=os.environ, overrides=overrides)
    from cloud_backend.server import run_cloud

    raise typer.Exit(run_cloud(settings))


@app.command()
def status(
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show the state of a running cloud."""
    with connect(cloud, token_file, data) as client:
        facts = client.get("/v1/status")
    if json:
        print_object(facts)
        return
    apps = {f"app {name}": state for name, state in facts.pop("apps").items()}
    print_facts(facts | apps, json=False)


def address_of(text: str, option: str) -> dict[str, Any]:
    """``HOST:PORT``, ``:PORT`` or ``HOST`` as settings; IPv6 addresses stand in brackets."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    if port and not (port.isdigit() and int(port) < 65536):
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    host = host.removeprefix("[").removesuffix("]")
    return ({"host": host} if host else {}) | ({"port": int(port)} if port else {})

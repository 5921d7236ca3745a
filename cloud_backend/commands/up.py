"""``edgeloop cloud``: run a cloud, look at one, and let people into its dashboard."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_backend.commands.connection import connect
from cloud_backend.commands.offline import offline_store, os_user, record_offline
from cloud_backend.commands.options import (
    CloudOption,
    ConfigOption,
    DataOption,
    FolderOption,
    JsonOption,
    TokenOption,
)
from cloud_backend.commands.output import print_facts, print_rows
from common.cli import print_object
from common.config.cloud import CloudSettings
from common.config.loader import load

AUDIT_COLUMNS = ("time_ns", "actor", "action", "subject", "outcome", "address", "details")
app = typer.Typer(help="Run the cloud.", no_args_is_help=True)


@app.command()
def up(
    data: DataOption = None,
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of the API; port 0 picks one.")
    ] = "",
    mqtt: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address of the broker; port 0 picks one.")
    ] = "",
    broker: Annotated[str, typer.Option(help="auto, mosquitto, iotcore or external.")] = "",
    config: ConfigOption = None,
) -> None:
    """Run a cloud until SIGTERM or Ctrl-C: broker, ingest, API, rollouts and training."""
    mqtt_overrides = address_of(mqtt, "--mqtt") | ({"broker": broker} if broker else {})
    settings = settings_of(data, config, http=address_of(http, "--http"), mqtt=mqtt_overrides)
    from cloud_backend.runtime.server import run_cloud

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


@app.command()
def password(
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Set the dashboard's password. Works while the cloud runs; everyone is signed out."""
    from cloud_backend.access.passwords import MIN_CHARACTERS, Passwords

    settings = settings_of(data, config)
    with offline_store(settings) as engine:
        text = f"New password (at least {MIN_CHARACTERS} characters)"
        typed = typer.prompt(text, hide_input=True, confirmation_prompt="Repeat the password")
        Passwords(Path(settings.data) / "secrets").set(typed)
        record_offline(engine, "set the dashboard's password")
    typer.echo("The password is set; all sessions have ended.")


@app.command()
def link(
    name: Annotated[str, typer.Option(help="Whom the link signs in.", show_default="you")] = "",
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Print a link that opens the dashboard without a password, once."""
    with connect(cloud, token_file, data) as client:
        made = client.post("/v1/sign-in-links", {"name": name or os_user()})
    if json:
        print_object(made)
        return
    typer.echo(made["url"])
    typer.echo(f"It works once, within {made['expires_s']} s.", err=True)


@app.command()
def audit(
    actor: Annotated[str, typer.Option(help="Only actions of this person.")] = "",
    last: Annotated[int, typer.Option(min=1, help="So many lines, the newest.")] = 100,
    cloud: CloudOption = "",
    token_file: TokenOption = None,
    data: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show the audit trail: who changed what, when, and from where."""
    with connect(cloud, token_file, data) as client:
        lines = islice(client.pages("/v1/audit-trail", actor=actor or None), last)
        print_rows(lines, AUDIT_COLUMNS, json=json, title="Audit trail, newest first")


def settings_of(data: Path | None, config: Path | None, **overrides: Any) -> CloudSettings:
    """The cloud's settings, the command line before variables before the file."""
    overriding = {"data": str(data)} if data is not None else {}
    return load(CloudSettings, file=config, environment=os.environ, overrides=overriding | overrides)


def address_of(text: str, option: str) -> dict[str, Any]:
    """``HOST:PORT``, ``:PORT`` or ``HOST`` as settings; IPv6 addresses stand in brackets."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    if port and not (port.isdigit() and int(port) < 65536):
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    host = host.removeprefix("[").removesuffix("]")
    return ({"host": host} if host else {}) | ({"port": int(port)} if port else {})

"""``edgeloop node``: run an edge node, and list its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from common.cli import print_object
from common.config import Enrolment, NodeSettings, explain, load
from common.errors import ConfigError

app = typer.Typer(help="Run an edge node.", no_args_is_help=True)
ENROLMENT = "enrolment.json"


@app.command()
def run(
    name: Annotated[str | None, typer.Option("--app", help="App to run; or module:attribute.")] = None,
    source: Annotated[str | None, typer.Option(help="Source, such as virtual:turbofan?seed=7.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the node's state.")] = None,
    enrolment: Annotated[
        Path | None, typer.Option(help="File of `edgeloop fleet enrol`; needed once, then kept in --data.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="URL of the cloud, instead of the enrolment's.")] = None,
    profile: Annotated[str | None, typer.Option(help="Hardware profile, instead of looking.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Times real time, for virtual and recorded sources; 0 is at once.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Also write readings here, for replay:FOLDER.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the source has ended and what it gave is delivered.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log lines as JSON.")] = False,
) -> None:
    """Run one node until SIGTERM or Ctrl-C. It works without a cloud, from its own model."""
    from common.edge.node import run_node

    overrides: dict[str, Any] = {
        "app": name,
        "source": source,
        "data": str(data) if data else None,
        "profile": profile,
        "speed": speed,
    }
    settings = load(NodeSettings, file=config, environment=os.environ, overrides=overrides)
    for option, value in (("--app", settings.app), ("--source", settings.source)):
        if not value:
            raise typer.BadParameter("is missing, on the command line and in the settings", param_hint=option)
    known = known_enrolment(Path(settings.data), enrolment, cloud)
    raise typer.Exit(run_node(settings, known, record=record, once=once, json_log=json_log))


@app.command("settings")
def list_settings(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Every setting of a node with its default and what it means."""
    for setting in explain(NodeSettings):
        if as_json:
            print_object(setting)
        else:
            typer.echo(f"{setting.name} = {setting.default}\n    {setting.help}")


def known_enrolment(data: Path, given: Path | None, cloud_url: str | None) -> Enrolment | None:
    """The enrolment in ``data``, or the ``given`` one, which is kept there. Raises `ConfigError`."""
    from common import durable

    kept = data / ENROLMENT
    origin = given or kept
    if not origin.is_file():
        if given is not None:
            raise ConfigError(f"there is no enrolment file {given}: edgeloop fleet enrol makes one")
        if cloud_url is not None:
            raise ConfigError(
                "--cloud needs an enrolment: edgeloop fleet enrol NODE --out FILE, then --enrolment FILE"
            )
        return None
    try:
        content = origin.read_bytes()
        enrolment = msgspec.json.decode(content, type=Enrolment)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{origin} is not an enrolment: {error}") from error
    if given is not None:
        data.mkdir(parents=True, exist_ok=True)
        durable.write(kept, content, mode=0o600)
    return msgspec.structs.replace(enrolment, cloud_url=cloud_url) if cloud_url else enrolment

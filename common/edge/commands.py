"""``edgeloop node``: run an edge node, show its events and its health, and list its settings."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from common.cli import print_object
from common.config.loader import explain, load
from common.config.node import Enrolment, NodeSettings
from common.errors import ConfigError, MessageError

app = typer.Typer(help="Run an edge node.", no_args_is_help=True)
ENROLMENT = "enrolment.json"


class _Printer:
    """Prints events to standard output until its reader closes it."""

    def __init__(self) -> None:
        self._open = True

    def show(self, facts: Mapping[str, Any], *, as_json: bool = True) -> bool:
        """Print an event as one line; False once standard output is closed."""
        if not self._open:
            return False
        try:
            if as_json:
                print_object(facts)
            else:
                about = ", ".join(f"{name} {_text(value)}" for name, value in _mapping(facts["data"]).items())
                head = f"{facts['time']} {facts['priority']:9} {facts['subject']} {facts['type']}"
                print(f"{head}: {about}", flush=True)
        except BrokenPipeError:
            self._open = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # What Python flushes at its end.
        return self._open


def _do_not_wait(_seconds: float) -> bool:
    return True


def _mapping(data: msgspec.Raw) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.ValidationError:
        return {"data": msgspec.json.decode(data)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@app.command()
def run(
    name: Annotated[str | None, typer.Option("--app", help="App to run; or module:attribute.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Source, such as virtual:turbofan?seed=7. Repeat it for several, which take turns."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the node's state.")] = None,
    enrolment: Annotated[
        Path | None, typer.Option(help="File of `edgeloop fleet enrol`; needed once, then kept in --data.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="URL of the cloud, instead of the enrolment's.")] = None,
    profile: Annotated[str | None, typer.Option(help="Hardware profile; default: detected.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Times real time, for virtual and recorded sources; 0 is at once.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder to record readings in, for replay:FOLDER.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the source has ended and all its events are delivered.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log lines as JSON.")] = False,
    print_events: Annotated[
        bool, typer.Option("--print", help="Print each committed event, one JSON object a line.")
    ] = False,
) -> None:
    """Run one node until SIGTERM or Ctrl-C. It works without a cloud, with its own model."""
    from common.edge.run import run_node

    overrides: dict[str, Any] = {
        "app": name,
        "source": source or None,
        "data": str(data) if data else None,
        "profile": profile,
        "speed": speed,
    }
    settings = load(NodeSettings, file=config, environment=os.environ, overrides=overrides)
    for option, value in (("--app", settings.app), ("--source", settings.sources)):
        if not value:
            raise typer.BadParameter("is missing, on the command line and in the settings", param_hint=option)
    known = known_enrolment(Path(settings.data), enrolment, cloud)
    watch: Callable[[Mapping[str, Any]], object] | None = _Printer().show if print_events else None
    raise typer.Exit(run_node(settings, known, record=record, once=once, json_log=json_log, watch=watch))


@app.command()
def events(
    data: Annotated[Path, typer.Option(help="Folder of the node's state.")],
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new events, until Ctrl-C.")] = False,
    priority: Annotated[str, typer.Option(help="Lowest: sample, telemetry, event or alarm.")] = "sample",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Events of a node, oldest first, while it runs or afterwards; no cloud is needed.

    These are the events that wait for the cloud (`delivered` is false) and the history of delivered ones
    (`history.budget_bytes`, `history.min_priority`).
    """
    from common.edge.delivery.history import follow as events_of
    from common.messages import priority_of

    try:
        min_priority = priority_of(priority)
    except MessageError as error:
        raise typer.BadParameter(str(error), param_hint="--priority") from None
    ended = threading.Event().wait if follow else _do_not_wait
    printer = _Printer()
    passed = 0
    with suppress(KeyboardInterrupt):
        for item in events_of(data, ended, lambda: _acked(data)):
            if isinstance(item, int):
                passed += item
            elif priority_of(item.event.priority) >= min_priority and not printer.show(
                item.facts(), as_json=as_json
            ):
                return
    if passed:
        typer.echo(
            f"{passed} events were delivered and are no longer kept here (history.min_priority)", err=True
        )


def _acked(data: Path) -> tuple[str, int]:
    """Epoch and seq up to which the node that runs in a folder knows its events to be delivered."""
    from common.edge.telemetry import query_node

    try:
        _, facts = query_node(data)
        return str(facts["epoch"]), int(facts["acked_seq"])
    except (ConfigError, KeyError, ValueError):
        return "", 0


@app.command()
def status(
    data: Annotated[Path, typer.Option(help="Folder of the node's state.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Health of the node that runs in a folder: its ``/healthz``, and why no samples reach the cloud.

    Exits 1 if the node is unhealthy or does not run.
    """
    from common.edge.telemetry import query_node

    good, facts = query_node(data)
    if as_json:
        print_object({"ok": good, **facts})
    else:
        samples = {f"samples.{name}": value for name, value in facts.pop("samples", {}).items()}
        lines = {"ok": good, **facts, **samples}
        typer.echo("\n".join(f"{name}: {_text(value)}" for name, value in lines.items()))
    raise typer.Exit(0 if good else 1)


@app.command("settings")
def list_settings(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Settings of a node, each with its default and its help."""
    for setting in explain(NodeSettings):
        if as_json:
            print_object(setting)
        else:
            typer.echo(f"{setting.name} = {setting.default}\n    {setting.help}")


def known_enrolment(data: Path, named: Path | None, cloud_url: str | None) -> Enrolment | None:
    """The enrolment in ``data``, or the ``named`` one, which is kept there. Raises `ConfigError`."""
    from common import durable

    kept = data / ENROLMENT
    origin = named or kept
    if not origin.is_file():
        if named is not None:
            raise ConfigError(f"there is no enrolment file {named}: edgeloop fleet enrol makes one")
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
    if named is not None:
        data.mkdir(parents=True, exist_ok=True)
        durable.write(kept, content, mode=0o600)
    return msgspec.structs.replace(enrolment, cloud_url=cloud_url) if cloud_url else enrolment

"""``edgeloop demo``: the show."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The whole loop on this machine, live, in a few minutes.", invoke_without_command=True)


@app.callback()
def demo(
    context: typer.Context,
    headless: Annotated[
        bool, typer.Option("--headless", help="Plain lines; exit code 1 if a step did not happen.")
    ] = False,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="The story by itself, in the terminal.")
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or only print the address.")
    ] = True,
    minutes: Annotated[
        float,
        typer.Option(min=0, help="How long to go on in all; 0: to the end of the story, or until Ctrl-C."),
    ] = 0.0,
    apps: Annotated[str, typer.Option(help="Apps to show, separated by commas.")] = "industrial",
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps what the show makes; it must be new or empty.")
    ] = None,
) -> None:
    """Start a cloud and three virtual engines, and show the loop in a browser."""
    if context.invoked_subcommand is not None:
        return
    from apps.demo.show import APP

    wanted = [name.strip() for name in apps.split(",")]
    if unknown := [name for name in wanted if name != APP]:
        raise typer.BadParameter(f"no show for {', '.join(unknown)}; there is one for {APP}")
    if headless and terminal:
        raise typer.BadParameter("--headless and --terminal exclude each other")
    if data is not None and data.exists() and any(data.iterdir()):
        raise typer.BadParameter(f"{data} is not empty: name a new folder")
    signal.signal(signal.SIGTERM, _interrupt)
    folder = data or Path(tempfile.mkdtemp(prefix="edgeloop-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    failed = True
    try:
        if headless or terminal:
            failed = _tell(folder.absolute(), headless=headless, minutes=minutes, kept=data is not None)
        else:
            _present(folder.absolute(), minutes=minutes, browser=browser)
            failed = False
    except KeyboardInterrupt:
        failed = headless or terminal
        typer.echo("Stopped; every process of the show has ended.")
    finally:
        if data is None and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(1 if failed else 0)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _present(folder: Path, *, minutes: float, browser: bool) -> None:
    """Show it in a browser, at the presenter's word."""
    from apps.demo.player import Player
    from apps.demo.serving import listen, serve
    from apps.demo.show import APP, KIND, MACHINES
    from apps.demo.stage import Stage

    listener, origin = listen()
    settings = {"http": {"frame_ancestors": [origin]}}
    with (
        listener,
        Stage(folder, APP, KIND, MACHINES, cloud_settings=settings) as stage,
        Player(stage) as player,
    ):
        player.chapter(0)
        serve(stage, player, listener, origin, seconds=60 * minutes, browser=browser, say=_say)


def _tell(folder: Path, *, headless: bool, minutes: float, kept: bool) -> bool:
    """Tell the story by itself; whether it failed."""
    from rich.console import Console

    from apps.demo.show import APP, KIND, MACHINES, chapters_of, ending, watched
    from apps.demo.stage import Stage
    from apps.demo.story import PlainNarrator, tell

    began = time.monotonic()
    console = Console()
    live = not headless and console.is_terminal
    with Stage(folder, APP, KIND, MACHINES) as stage:
        chapters = chapters_of(stage, look_around_until=began + 60 * minutes)
        steps = sum(len(chapter.steps) for chapter in chapters)
        with ExitStack() as telling:
            if live:
                from apps.demo.view import LiveNarrator

                watcher = telling.enter_context(watched(stage))
                narrator: Any = LiveNarrator(console, lambda: watcher.scene, steps=steps)
                telling.enter_context(narrator)
            else:
                narrator = PlainNarrator(_say)
            outcome = tell(chapters, narrator)
    for line in ending(outcome, folder, kept=kept or bool(outcome.failure)):
        _say(line)
    return bool(outcome.failure)


def _say(line: str) -> None:
    typer.echo(line)

"""``edgeloop demo``: the show."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from apps.demo.story.shows import Show
    from apps.demo.story.story import Outcome

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
    apps: Annotated[
        str, typer.Option(help="Apps to show, one after the other, separated by commas.")
    ] = "industrial,ecg",
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps what the show makes; it must be new or empty.")
    ] = None,
) -> None:
    """Start a cloud and three virtual subjects of an app, and show the loop in a browser."""
    if context.invoked_subcommand is not None:
        return
    from apps.demo.story.shows import find_show
    from apps.demo.world.processes import ShowError

    try:
        shows = [find_show(name.strip()) for name in dict.fromkeys(apps.split(","))]
    except ShowError as error:
        raise typer.BadParameter(str(error)) from error
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
            failed = _tell(
                folder.absolute(), shows, headless=headless, minutes=minutes, kept=data is not None
            )
        else:
            _present(folder.absolute(), shows, minutes=minutes, browser=browser)
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


def _present(folder: Path, shows: Sequence[Show], *, minutes: float, browser: bool) -> None:
    """Show it in a browser, at the presenter's word; one show is on the stage at a time."""
    from apps.demo.panel.serving import listen, serve
    from apps.demo.story.player import Player
    from apps.demo.world.stage import Stage

    listener, origin = listen()
    settings = {"http": {"frame_ancestors": [origin]}}
    with (
        listener,
        Stage(folder, shows[0], cloud_settings=settings) as stage,
        Player(stage) as player,
    ):
        player.chapter(0)
        serve(stage, player, shows, listener, origin, seconds=60 * minutes, browser=browser, say=_say)


def _tell(folder: Path, shows: Sequence[Show], *, headless: bool, minutes: float, kept: bool) -> bool:
    """Tell the stories by themselves, each on a stage of its own; whether one failed."""
    from rich.console import Console

    from apps.demo.story.show import ending
    from apps.demo.story.story import Outcome

    until = time.monotonic() + 60 * minutes
    console = Console()
    told = Outcome(0, 0, 0.0)
    for show in shows:
        place = folder / show.app if len(shows) > 1 else folder
        _say(f"=== {show.title}: three {show.who}")
        told = told.and_then(
            _tell_one(place, show, console, live=not headless, until=until * (show is shows[-1]))
        )
        if told.failure:
            break
    for line in ending(told, place, kept=kept or bool(told.failure)):
        _say(line)
    return bool(told.failure)


def _tell_one(folder: Path, show: Show, console: Console, *, live: bool, until: float) -> Outcome:
    from apps.demo.story.show import chapters_of
    from apps.demo.story.story import PlainNarrator, tell
    from apps.demo.world.snapshot import Watcher
    from apps.demo.world.stage import Stage

    with Stage(folder, show) as stage, ExitStack() as telling:
        chapters = chapters_of(stage, look_around_until=until)
        steps = sum(len(chapter.steps) for chapter in chapters)
        if live and console.is_terminal:
            from apps.demo.story.terminal_view import LiveNarrator

            watcher = telling.enter_context(Watcher(stage.nodes, stage.ask, show.app, show.load_look()))
            narrator: Any = LiveNarrator(console, lambda: watcher.scene, who=show.who, steps=steps)
            telling.enter_context(narrator)
        else:
            narrator = PlainNarrator(_say)
        return tell(chapters, narrator)


def _say(line: str) -> None:
    typer.echo(line)

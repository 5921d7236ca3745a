"""``edgeloop demo``: the shows, in a browser, in a terminal or headless."""

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

    from apps.demo.story.story import Outcome
    from apps.demo.world.shows import Show

app = typer.Typer(help="The whole loop on this machine, live, in a few minutes.", invoke_without_command=True)


@app.callback()
def demo(
    context: typer.Context,
    headless: Annotated[
        bool, typer.Option("--headless", help="Print the story as plain lines; exit code 1 if a step fails.")
    ] = False,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Play the story in the terminal, without input.")
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or print the address only.")
    ] = True,
    minutes: Annotated[
        float,
        typer.Option(min=0, help="Total duration; 0: until the end of the story, or until Ctrl-C."),
    ] = 0.0,
    apps: Annotated[
        str, typer.Option(help="Apps to show in sequence, separated by commas.")
    ] = "industrial,ecg,retail",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for the data and logs of the show, kept at the end; must be new or empty."),
    ] = None,
) -> None:
    """Start a cloud and three nodes with virtual subjects of an app, and show the loop in a browser."""
    if context.invoked_subcommand is not None:
        return
    from apps.demo.world.processes import ShowError
    from apps.demo.world.shows import find_show

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
            failed = _run_stories(
                folder.absolute(), shows, headless=headless, minutes=minutes, keep_data=data is not None
            )
        else:
            _serve_panel(folder.absolute(), shows, minutes=minutes, browser=browser)
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


def _serve_panel(folder: Path, shows: Sequence[Show], *, minutes: float, browser: bool) -> None:
    """Serve the panel in a browser, under the presenter's control; one show at a time."""
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
        player.play_chapter(0)
        serve(stage, player, shows, listener, origin, seconds=60 * minutes, browser=browser, write=typer.echo)


def _run_stories(
    folder: Path, shows: Sequence[Show], *, headless: bool, minutes: float, keep_data: bool
) -> bool:
    """Run the stories without a presenter, each on a stage of its own; True if one failed."""
    from rich.console import Console

    from apps.demo.story.show import closing_lines
    from apps.demo.story.story import Outcome

    until = time.monotonic() + 60 * minutes
    console = Console()
    outcome = Outcome(0, 0, 0.0)
    show_folder = folder
    for show in shows:
        show_folder = folder / show.app if len(shows) > 1 else folder
        typer.echo(f"=== {show.title}: three {show.subject_kind}")
        explore_until = until if show is shows[-1] else 0.0
        outcome = outcome.and_then(
            _run_one_story(show_folder, show, console, live=not headless, explore_until=explore_until)
        )
        if outcome.failure:
            break
    for line in closing_lines(outcome, show_folder, keep_data=keep_data or bool(outcome.failure)):
        typer.echo(line)
    return bool(outcome.failure)


def _run_one_story(
    folder: Path, show: Show, console: Console, *, live: bool, explore_until: float
) -> Outcome:
    from apps.demo.story.show import story_chapters
    from apps.demo.story.story import Narrator, PlainNarrator, run_story
    from apps.demo.world.snapshot import Watcher
    from apps.demo.world.stage import Stage

    with Stage(folder, show) as stage, ExitStack() as closing:
        chapters = story_chapters(stage, explore_until=explore_until)
        steps = sum(len(chapter.steps) for chapter in chapters)
        if live and console.is_terminal:
            from apps.demo.story.terminal_view import LiveNarrator

            view = show.load_snapshot_view()
            watcher = closing.enter_context(Watcher(stage.nodes, stage.get, show.app, view))
            narrator: Narrator = closing.enter_context(
                LiveNarrator(console, lambda: watcher.snapshot, subject_kind=show.subject_kind, steps=steps)
            )
        else:
            narrator = PlainNarrator(typer.echo)
        return run_story(chapters, narrator)

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
    minutes: Annotated[
        float, typer.Option(min=0, help="Go on this long in all, to look around; 0 ends with the story.")
    ] = 0.0,
    apps: Annotated[str, typer.Option(help="Apps to show, separated by commas.")] = "industrial",
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps what the show makes; it must be new or empty.")
    ] = None,
) -> None:
    """Start a cloud and three virtual engines, and go round the loop twice."""
    if context.invoked_subcommand is not None:
        return
    from apps.demo.show import APP

    wanted = [name.strip() for name in apps.split(",")]
    if unknown := [name for name in wanted if name != APP]:
        raise typer.BadParameter(f"no show for {', '.join(unknown)}; there is one for {APP}")
    if data is not None and data.exists() and any(data.iterdir()):
        raise typer.BadParameter(f"{data} is not empty: name a new folder")
    signal.signal(signal.SIGTERM, _interrupt)
    folder = data or Path(tempfile.mkdtemp(prefix="edgeloop-demo-"))
    failed = True
    try:
        failed = _run(folder.absolute(), headless=headless, minutes=minutes, kept=data is not None)
    except KeyboardInterrupt:
        typer.echo("Stopped; every process of the show has ended.")
    finally:
        if data is None and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(1 if failed else 0)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(folder: Path, *, headless: bool, minutes: float, kept: bool) -> bool:
    """Whether the show failed."""
    from rich.console import Console

    from apps.demo.show import APP, KIND, MACHINES, chapters_of, ending, watched
    from apps.demo.stage import Stage
    from apps.demo.story import PlainNarrator, tell

    began = time.monotonic()
    console = Console()
    live = not headless and console.is_terminal
    folder.mkdir(parents=True, exist_ok=True)
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

"""The live view of the show in a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from apps.demo.story.story import LOOP, Chapter, Step
from apps.demo.world.snapshot import NodeScene, Scene, clock_text

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 26
"""Of the line of blocks."""
LINES = 14
"""Lines of the narrator that stay on the screen."""


class LiveNarrator:
    """Tells the story on a screen that is drawn again a few times a second; a context manager."""

    def __init__(self, console: Console, scene: Callable[[], Scene], *, who: str, steps: int) -> None:
        self._console = console
        self._who = who
        self._scene = scene
        self._steps = steps
        self._began = time.monotonic()
        self._title = Text()
        self._text = ""
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._told: list[Text] = []
        self._step: Step | None = None
        self._number = 0
        self._live = Live(console=console, get_renderable=self.draw, refresh_per_second=5, screen=True)

    def __enter__(self) -> LiveNarrator:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)
        for line in self._told:
            self._console.print(line)

    def chapter(self, number: int, chapter: Chapter) -> None:
        self._title = Text(f"{number}. {chapter.title}", style="bold cyan")
        self._text = chapter.text
        self._told.append(Text(f"\n{number}. {chapter.title}", style="bold cyan"))
        self._lines.clear()

    def step(self, number: int, step: Step) -> None:
        self._number, self._step = number, step

    def happened(self, evidence: str, seconds: float) -> None:
        assert self._step is not None
        text = f"{self._step.title}: {evidence}"
        line = Text("✓ ", style="green").append(text, style="default").append(f"  {seconds:.1f} s", "dim")
        self._lines.append(line)
        self._told.append(line)
        self._step = None

    def failed(self, step: Step, reason: str) -> None:
        line = Text(f"✗ {step.title}: {reason}", style="bold red")
        self._lines.append(line)
        self._told.append(line)

    def draw(self) -> RenderableType:
        """The whole screen as it is now."""
        scene = self._scene()
        layout = Layout()
        layout.split_column(
            Layout(self._header(), size=3),
            Layout(name="middle"),
            Layout(self._loop(), size=3),
            Layout(_footer(scene), size=3),
        )
        layout["middle"].split_row(
            Layout(self._narrator(), ratio=5), Layout(_nodes(scene, self._who), ratio=6, minimum_size=58)
        )
        return layout

    def _header(self) -> RenderableType:
        elapsed = clock_text(time.monotonic() - self._began)
        text = Text.assemble(
            ("edgeloop", "bold"),
            f"   three {self._who.replace('virtual', 'VIRTUAL')}, real processes   ",
            (f"step {self._number} of {self._steps}   {elapsed}", "dim"),
        )
        return Panel(Align.center(text), border_style="cyan")

    def _narrator(self) -> RenderableType:
        doing = Text(f"… {self._step.title}", style="yellow") if self._step else Text()
        parts = [self._title, Text(self._text, style="italic"), Text(), *self._lines, doing]
        return Panel(Group(*parts), title="what happens", border_style="blue")

    def _loop(self) -> RenderableType:
        shown = self._step.shows if self._step else ()
        text = Text(" → ").join(
            Text(f" {name} ", style="black on green" if name in shown else "dim") for name in LOOP
        )
        return Panel(Align.center(text), title="the loop", border_style="green")


def _nodes(scene: Scene, who: str) -> RenderableType:
    parts: list[RenderableType] = []
    for node in scene.nodes:
        head = Table.grid(expand=True)
        head.add_column(ratio=3)
        head.add_column(ratio=4)
        head.add_column(ratio=4)
        head.add_column(ratio=5, justify="right")
        head.add_row(Text(node.node, style="bold"), _network(node), _model(node), _state(node))
        history = Text(sparkline(node.history).ljust(WIDTH), style="cyan")
        picture = node.picture
        line, place = (picture.line, f"  {picture.place}") if picture else ("nothing has been said yet", "")
        style = "dim" if picture is None else "red" if picture.alarm else "default"
        parts += [head, Text(line, style=style), Text.assemble(history, (place, "dim")), Text()]
    if scene.job:
        done = round(20 * scene.job_progress)
        parts.append(Text(f"training  {'█' * done}{'░' * (20 - done)} {scene.job}", style="magenta"))
    if scene.rollout:
        parts.append(Text(f"rollout   {scene.rollout}", style="magenta"))
    return Panel(Group(*parts), title=f"{who}, as the cloud knows them", border_style="blue")


def _network(node: NodeScene) -> Text:
    if node.cut:
        return Text(f"CUT, {node.waiting or 0} kept", style="bold red")
    if node.waiting:
        return Text(f"{node.waiting} on the way", style="yellow")
    return Text(node.state, style="green" if node.state == "online" else "dim")


def _model(node: NodeScene) -> Text:
    soaking = node.step not in ("", "confirmed", "live", "idle")
    text = f"{node.version} {node.step}" if soaking else node.version
    return Text(text, style="yellow" if soaking else "default")


def _state(node: NodeScene) -> Text:
    words = Text()
    if node.picture and node.picture.alarm:
        words.append(f"{node.picture.alarm} ", style="bold red")
    if node.drift:
        words.append("DRIFT", style="bold yellow")
    return words or Text("good", style="green")


def _footer(scene: Scene) -> RenderableType:
    share = f", {scene.bytes_sent / scene.bytes_raw:.0%} of" if scene.bytes_raw else "; against"
    text = (
        f"{scene.events:,} events in the cloud   sent {scene.bytes_sent / 1e3:,.0f} kB{share} "
        f"{scene.bytes_raw / 1e3:,.0f} kB for everything to the cloud   (all data here is virtual)"
    )
    return Panel(Align.center(Text(text)), border_style="cyan")


def sparkline(values: tuple[float, ...]) -> str:
    """Values in [0, 1] as a line of blocks."""
    top = len(BARS) - 1
    return "".join(BARS[min(top, max(0, round(value * top)))] for value in values[-WIDTH:])

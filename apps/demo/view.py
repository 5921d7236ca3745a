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

from apps.demo.scene import EngineScene, Scene, clock_text
from apps.demo.story import LOOP, Chapter, Step

BARS = "▁▂▃▄▅▆▇█"
RUL_FULL_CYCLES = 125.0
RUL_WIDTH = 26
LINES = 14
"""Lines of the narrator that stay on the screen."""


class LiveNarrator:
    """Tells the story on a screen that is drawn again a few times a second; a context manager."""

    def __init__(self, console: Console, scene: Callable[[], Scene], *, steps: int) -> None:
        self._console = console
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
            Layout(self._narrator(), ratio=5), Layout(_engines(scene), ratio=6, minimum_size=58)
        )
        return layout

    def _header(self) -> RenderableType:
        elapsed = clock_text(time.monotonic() - self._began)
        text = Text.assemble(
            ("edgeloop", "bold"),
            "   three VIRTUAL engines, real processes   ",
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


def _engines(scene: Scene) -> RenderableType:
    parts: list[RenderableType] = []
    for engine in scene.engines:
        head = Table.grid(expand=True)
        head.add_column(ratio=3)
        head.add_column(ratio=4)
        head.add_column(ratio=4)
        head.add_column(ratio=5, justify="right")
        head.add_row(Text(engine.node, style="bold"), _network(engine), _model(engine), _state(engine))
        history = Text(sparkline(engine.history).ljust(RUL_WIDTH), style="cyan")
        place = Text(f"  run {engine.run} cycle {engine.cycle}" if engine.cycle else "", style="dim")
        parts += [head, _life(engine), Text.assemble(history, place), Text()]
    if scene.job:
        done = round(20 * scene.job_progress)
        parts.append(Text(f"training  {'█' * done}{'░' * (20 - done)} {scene.job}", style="magenta"))
    if scene.rollout:
        parts.append(Text(f"rollout   {scene.rollout}", style="magenta"))
    return Panel(Group(*parts), title="virtual engines, as the cloud knows them", border_style="blue")


def _network(engine: EngineScene) -> Text:
    if engine.cut:
        return Text(f"CUT, {engine.waiting or 0} kept", style="bold red")
    if engine.waiting:
        return Text(f"{engine.waiting} on the way", style="yellow")
    return Text(engine.state, style="green" if engine.state == "online" else "dim")


def _model(engine: EngineScene) -> Text:
    soaking = engine.step not in ("", "confirmed", "live", "idle")
    text = f"{engine.version} {engine.step}" if soaking else engine.version
    return Text(text, style="yellow" if soaking else "default")


def _state(engine: EngineScene) -> Text:
    words = Text()
    if engine.due:
        words.append("MAINTENANCE ", style="bold red")
    if engine.drift:
        words.append("DRIFT", style="bold yellow")
    return words or Text("good", style="green")


def _life(engine: EngineScene) -> Text:
    if engine.rul_cycles is None:
        return Text("no prediction yet", style="dim")
    scale = RUL_WIDTH / RUL_FULL_CYCLES
    lower, middle, upper = (
        min(RUL_WIDTH - 1, max(0, int(value * scale)))
        for value in (engine.lower_cycles, engine.rul_cycles, engine.upper_cycles)
    )
    bar = "".join("●" if i == middle else "─" if lower <= i <= upper else "·" for i in range(RUL_WIDTH))
    interval = (
        f"{engine.rul_cycles:4.0f} cycles left ({engine.lower_cycles:.0f} to {engine.upper_cycles:.0f})"
    )
    return Text(f"{bar} {interval}", style="red" if engine.due else "default")


def _footer(scene: Scene) -> RenderableType:
    share = f", {scene.bytes_sent / scene.bytes_raw:.0%} of" if scene.bytes_raw else "; against"
    text = (
        f"{scene.events:,} events in the cloud   sent {scene.bytes_sent / 1e3:,.0f} kB{share} "
        f"{scene.bytes_raw / 1e3:,.0f} kB for everything to the cloud   (all data here is virtual)"
    )
    return Panel(Align.center(Text(text)), border_style="cyan")


def sparkline(values: tuple[float, ...], full: float = RUL_FULL_CYCLES) -> str:
    """Values in [0, ``full``] as a line of blocks."""
    top = len(BARS) - 1
    return "".join(BARS[min(top, max(0, round(value / full * top)))] for value in values[-RUL_WIDTH:])

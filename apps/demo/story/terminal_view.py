"""Live view of a show in a terminal."""

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
from apps.demo.world.snapshot import NodeSnapshot, Snapshot, clock_text

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 26
"""Of a sparkline, in characters."""
LINES = 14
"""Evidence lines on the screen."""


class LiveNarrator:
    """Narrator on a screen that is redrawn five times per second; a context manager."""

    def __init__(
        self, console: Console, snapshot: Callable[[], Snapshot], *, subject_kind: str, steps: int
    ) -> None:
        self._console = console
        self._subject_kind = subject_kind
        self._snapshot = snapshot
        self._steps = steps
        self._began = time.monotonic()
        self._title = Text()
        self._text = ""
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._transcript: list[Text] = []
        self._step: Step | None = None
        self._number = 0
        self._live = Live(console=console, get_renderable=self.draw, refresh_per_second=5, screen=True)

    def __enter__(self) -> LiveNarrator:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)
        for line in self._transcript:
            self._console.print(line)

    def chapter(self, number: int, chapter: Chapter) -> None:
        self._title = Text(f"{number}. {chapter.title}", style="bold cyan")
        self._text = chapter.text
        self._transcript.append(Text(f"\n{number}. {chapter.title}", style="bold cyan"))
        self._lines.clear()

    def step(self, number: int, step: Step) -> None:
        self._number, self._step = number, step

    def passed(self, evidence: str, seconds: float) -> None:
        assert self._step is not None
        text = f"{self._step.title}: {evidence}"
        line = Text("✓ ", style="green").append(text, style="default").append(f"  {seconds:.1f} s", "dim")
        self._lines.append(line)
        self._transcript.append(line)
        self._step = None

    def failed(self, step: Step, reason: str) -> None:
        line = Text(f"✗ {step.title}: {reason}", style="bold red")
        self._lines.append(line)
        self._transcript.append(line)

    def draw(self) -> RenderableType:
        """The current screen."""
        snapshot = self._snapshot()
        layout = Layout()
        layout.split_column(
            Layout(self._header(), size=3),
            Layout(name="middle"),
            Layout(self._loop(), size=3),
            Layout(_footer(snapshot), size=3),
        )
        layout["middle"].split_row(
            Layout(self._narrator(), ratio=5),
            Layout(_nodes(snapshot, self._subject_kind), ratio=6, minimum_size=58),
        )
        return layout

    def _header(self) -> RenderableType:
        elapsed = clock_text(time.monotonic() - self._began)
        text = Text.assemble(
            ("edgeloop", "bold"),
            f"   three {self._subject_kind.replace('virtual', 'VIRTUAL')}, real processes   ",
            (f"step {self._number} of {self._steps}   {elapsed}", "dim"),
        )
        return Panel(Align.center(text), border_style="cyan")

    def _narrator(self) -> RenderableType:
        current = Text(f"… {self._step.title}", style="yellow") if self._step else Text()
        parts = [self._title, Text(self._text, style="italic"), Text(), *self._lines, current]
        return Panel(Group(*parts), title="story", border_style="blue")

    def _loop(self) -> RenderableType:
        shown = self._step.loop_stages if self._step else ()
        text = Text(" → ").join(
            Text(f" {name} ", style="black on green" if name in shown else "dim") for name in LOOP
        )
        return Panel(Align.center(text), title="the loop", border_style="green")


def _nodes(snapshot: Snapshot, subject_kind: str) -> RenderableType:
    parts: list[RenderableType] = []
    for node in snapshot.nodes:
        head = Table.grid(expand=True)
        head.add_column(ratio=3)
        head.add_column(ratio=4)
        head.add_column(ratio=4)
        head.add_column(ratio=5, justify="right")
        head.add_row(Text(node.node, style="bold"), _network(node), _model(node), _state(node))
        history = Text(sparkline(node.history).ljust(WIDTH), style="cyan")
        subject = node.subject
        line, position = (subject.line, f"  {subject.position}") if subject else ("no report yet", "")
        style = "dim" if subject is None else "red" if subject.alarm else "default"
        parts += [head, Text(line, style=style), Text.assemble(history, (position, "dim")), Text()]
    if snapshot.job:
        done = round(20 * snapshot.job_progress)
        parts.append(Text(f"training  {'█' * done}{'░' * (20 - done)} {snapshot.job}", style="magenta"))
    if snapshot.rollout:
        parts.append(Text(f"rollout   {snapshot.rollout}", style="magenta"))
    return Panel(Group(*parts), title=f"{subject_kind}, as reported to the cloud", border_style="blue")


def _network(node: NodeSnapshot) -> Text:
    if node.cut:
        return Text(f"CUT, {node.waiting or 0} queued", style="bold red")
    if node.waiting:
        return Text(f"{node.waiting} in transit", style="yellow")
    return Text(node.state, style="green" if node.state == "online" else "dim")


def _model(node: NodeSnapshot) -> Text:
    soaking = node.step not in ("", "confirmed", "live", "idle")
    text = f"{node.version} {node.step}" if soaking else node.version
    return Text(text, style="yellow" if soaking else "default")


def _state(node: NodeSnapshot) -> Text:
    state = Text()
    if node.subject and node.subject.alarm:
        state.append(f"{node.subject.alarm} ", style="bold red")
    if node.drift:
        state.append("DRIFT", style="bold yellow")
    return state or Text("good", style="green")


def _footer(snapshot: Snapshot) -> RenderableType:
    sent, raw = snapshot.bytes_sent, snapshot.bytes_raw
    share = f", {sent / raw:.0%} of" if raw else "; compare"
    text = (
        f"{snapshot.events:,} events in the cloud   sent {sent / 1e3:,.0f} kB{share} "
        f"{raw / 1e3:,.0f} kB of raw readings   (all data is virtual)"
    )
    return Panel(Align.center(Text(text)), border_style="cyan")


def sparkline(values: tuple[float, ...]) -> str:
    """Values in [0, 1] as a line of block characters."""
    top = len(BARS) - 1
    return "".join(BARS[min(top, max(0, round(value * top)))] for value in values[-WIDTH:])

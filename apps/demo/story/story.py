"""The story of a show: chapters of steps, each step a check that can fail.

A step does something to the world, waits until its effect is there, and returns the evidence as one
line; a step that fails raises an `EdgeloopError`, which ends the story. A `Narrator` tells it
as it happens; the story itself prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.errors import EdgeloopError

LOOP = (
    "sense",
    "infer",
    "decide",
    "keep",
    "send",
    "aggregate",
    "curate",
    "learn",
    "gate",
    "roll out",
    "adopt",
)
"""The steps of the loop, in order; a step of the story says which of them it shows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One checked step. ``act`` returns its evidence or raises `EdgeloopError`; ``shows`` are of `LOOP`."""

    title: str
    act: Callable[[], str]
    shows: tuple[str, ...] = ()
    page: str | Callable[[], str] = ""
    """Page of the dashboard that shows it; empty where the one before it still does. One that is only known
    when the step begins is asked for then."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that belong together, with a sentence or two for the audience."""

    title: str
    text: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class HandAct:
    """A button, with what can be chosen beside it; ``chapter`` makes the chapter that is then played."""

    name: str
    title: str
    choose: str
    """What the choice is, for its label; empty where there is none."""
    choices: tuple[str, ...]
    chapter: Callable[[str], Chapter]


@dataclass(frozen=True, slots=True)
class Script:
    """What can be played on a stage."""

    story: Sequence[Chapter]
    by_hand: Sequence[HandAct]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a story ended. ``failure`` is empty where every step happened."""

    steps: int
    happened: int
    seconds: float
    failure: str = ""

    def and_then(self, other: Outcome) -> Outcome:
        """Both stories, one after the other."""
        return Outcome(
            self.steps + other.steps,
            self.happened + other.happened,
            self.seconds + other.seconds,
            self.failure or other.failure,
        )


class Narrator(Protocol):
    """Tells a story to an audience: a live screen, or plain lines."""

    def chapter(self, number: int, chapter: Chapter) -> None: ...

    def step(self, number: int, step: Step) -> None: ...

    def happened(self, evidence: str, seconds: float) -> None: ...

    def failed(self, step: Step, reason: str) -> None: ...


def tell(chapters: Sequence[Chapter], narrator: Narrator) -> Outcome:
    """Run all steps in order until one fails."""
    began = time.monotonic()
    total = sum(len(chapter.steps) for chapter in chapters)
    number = 0
    for place, chapter in enumerate(chapters, 1):
        narrator.chapter(place, chapter)
        for step in chapter.steps:
            number += 1
            narrator.step(number, step)
            started = time.monotonic()
            try:
                evidence = step.act()
            except EdgeloopError as error:
                narrator.failed(step, str(error))
                return Outcome(total, number - 1, time.monotonic() - began, f"{step.title}: {error}")
            narrator.happened(evidence, time.monotonic() - started)
    return Outcome(total, number, time.monotonic() - began)


class PlainNarrator:
    """Plain lines, for logs and for machines without a terminal."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = time.monotonic()

    def chapter(self, number: int, chapter: Chapter) -> None:
        self._say("")
        self._say(f"== {number}. {chapter.title}")
        self._say(f"   {chapter.text}")

    def step(self, number: int, step: Step) -> None:
        self._say(f"[{self._elapsed()}] {number:2d} {step.title} ...")

    def happened(self, evidence: str, seconds: float) -> None:
        first, *rest = evidence.splitlines() or [""]
        self._say(f"[{self._elapsed()}]    ok ({seconds:.1f} s): {first}")
        for line in rest:
            self._say(f"             {line}")

    def failed(self, step: Step, reason: str) -> None:
        self._say(f"[{self._elapsed()}]    DID NOT HAPPEN: {step.title}: {reason}")

    def _elapsed(self) -> str:
        minutes, seconds = divmod(time.monotonic() - self._began, 60)
        return f"{minutes:.0f}:{seconds:04.1f}"

"""Story of a show: chapters of checked steps.

A step acts on the world, waits for the effect, and returns its evidence as text. A step that fails raises an
`EdgeloopError`, which ends the story. All output goes through a `Narrator`.
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
"""Stages of the loop, in order; a step of the story names those that it shows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One checked step. ``act`` returns its evidence or raises `EdgeloopError`."""

    title: str
    act: Callable[[], str]
    loop_stages: tuple[str, ...] = ()
    """Those of `LOOP` that the step shows."""
    page: str | Callable[[], str] = ""
    """Dashboard page that shows the step; empty keeps the current page. A callable is resolved when the step
    begins."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Related steps, with a sentence or two for the audience."""

    title: str
    text: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class ManualAction:
    """A button with an optional choice; ``make_chapter`` builds the chapter that it plays."""

    name: str
    title: str
    choice_label: str
    """Empty for an action without a choice."""
    choices: tuple[str, ...]
    make_chapter: Callable[[str], Chapter]


@dataclass(frozen=True, slots=True)
class Script:
    """Story and manual actions of one stage."""

    story: Sequence[Chapter]
    manual_actions: Sequence[ManualAction]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a story. ``failure`` is empty if every step passed."""

    steps: int
    passed: int
    seconds: float
    failure: str = ""

    def and_then(self, other: Outcome) -> Outcome:
        """Sum of two stories in sequence."""
        return Outcome(
            self.steps + other.steps,
            self.passed + other.passed,
            self.seconds + other.seconds,
            self.failure or other.failure,
        )


class Narrator(Protocol):
    """Output of a story: a live screen, or plain lines."""

    def chapter(self, number: int, chapter: Chapter) -> None: ...

    def step(self, number: int, step: Step) -> None: ...

    def passed(self, evidence: str, seconds: float) -> None: ...

    def failed(self, step: Step, reason: str) -> None: ...


def run_story(chapters: Sequence[Chapter], narrator: Narrator) -> Outcome:
    """Run all steps in order until one fails."""
    began = time.monotonic()
    total = sum(len(chapter.steps) for chapter in chapters)
    number = 0
    for chapter_number, chapter in enumerate(chapters, 1):
        narrator.chapter(chapter_number, chapter)
        for step in chapter.steps:
            number += 1
            narrator.step(number, step)
            started = time.monotonic()
            try:
                evidence = step.act()
            except EdgeloopError as error:
                narrator.failed(step, str(error))
                return Outcome(total, number - 1, time.monotonic() - began, f"{step.title}: {error}")
            narrator.passed(evidence, time.monotonic() - started)
    return Outcome(total, number, time.monotonic() - began)


class PlainNarrator:
    """Plain lines for logs and non-interactive output."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._began = time.monotonic()

    def chapter(self, number: int, chapter: Chapter) -> None:
        self._write("")
        self._write(f"== {number}. {chapter.title}")
        self._write(f"   {chapter.text}")

    def step(self, number: int, step: Step) -> None:
        self._write(f"[{self._elapsed()}] {number:2d} {step.title} ...")

    def passed(self, evidence: str, seconds: float) -> None:
        first, *rest = evidence.splitlines() or [""]
        self._write(f"[{self._elapsed()}]    ok ({seconds:.1f} s): {first}")
        for line in rest:
            self._write(f"             {line}")

    def failed(self, step: Step, reason: str) -> None:
        self._write(f"[{self._elapsed()}]    FAILED: {step.title}: {reason}")

    def _elapsed(self) -> str:
        minutes, seconds = divmod(time.monotonic() - self._began, 60)
        return f"{minutes:.0f}:{seconds:04.1f}"

"""Plays the show at the presenter's word: one act at a time, in a thread of its own.

Its rules:

- One thing runs at a time; a second wish is refused with a `ShowError` that names what runs.
- A chapter is *not yet* played, *running*, *paused* between two of its steps, *done*, or *failed*; each
  step that happened is kept with its evidence, one that did not with its reason.
- `next` plays the step after the one that was played last; a step that failed is played again.
- `chapter` plays any chapter from its start, again as often as wanted.
- `stop` ends the wait of the step that runs now: that step fails, and nothing after it is played.
- `reset` builds the stage anew, for the same show or another one, and plays the first chapter on it; what was
  told before is forgotten.

Whoever shows it takes a `Told`, which never changes, from `told` as often as wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from apps.demo.story.shows import Show
from apps.demo.story.story import Chapter, HandAct, Script, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from common.errors import EdgeloopError

State = Literal["not yet", "running", "paused", "done", "failed"]
JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """A step that happened."""

    title: str
    evidence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ToldChapter:
    """How far a chapter is."""

    title: str
    text: str
    steps: int
    state: State = "not yet"
    lines: tuple[Line, ...] = ()
    doing: str = ""
    """Title of the step that runs, or of the one that failed."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """All that is told of the show at one moment."""

    show: Show
    chapters: tuple[ToldChapter, ...]
    by_hand: ToldChapter | None = None
    """The last act by hand, or the last reset."""
    busy: str = ""
    """What runs now; empty while the presenter may choose."""
    upcoming: str = ""
    """Title of the step that `Player.next` plays; empty at the end of the story."""
    shows: tuple[str, ...] = ()
    """The steps of the loop that the step which runs shows."""
    page: str = ""
    """Page of the dashboard that shows what was played last."""
    stage: int = 0
    """How often the stage was set up again."""
    clearing: bool = False
    """Whether the cloud of this stage is about to end."""
    unplugged: tuple[str, ...] = ()


class Player:
    """A context manager; what it plays ends with it."""

    def __init__(self, stage: Stage, script: Callable[[Stage], Script] | None = None) -> None:
        """``script`` makes what is played; without it, the show on the stage says that."""
        self._stage = stage
        self._make_script = script
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._load()
        self._told = Told(stage.show, self._fresh())

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._stage.interrupt("the show ends")
        if self._thread is not None:
            self._thread.join(JOIN_S)  # What still waits for a process ends with the stage's processes.

    @property
    def told(self) -> Told:
        upcoming = ""
        if (place := self._place) is not None:
            chapter, step = place
            upcoming = self._script.story[chapter].steps[step].title
        cut = tuple(node.name for node in self._stage.nodes if node.is_cut)
        return replace(self._told, upcoming=upcoming, unplugged=cut)

    @property
    def hand(self) -> Sequence[HandAct]:
        """What can be done by hand."""
        return self._script.by_hand

    # ------------------------------------------------------------------------------ the presenter's word

    def next(self) -> None:
        """Play the next step of the story. All of these raise `ShowError` while something else runs."""
        self._start("the next step", self._play_next)

    def play(self) -> None:
        """Play the story from the next step to its end, or to a step that does not happen."""

        def all_of_it() -> None:
            while self._play_next():
                pass

        self._start("the story", all_of_it)

    def chapter(self, number: int) -> None:
        """Play a chapter (from 0) from its start."""
        title = self._script.story[number].title
        self._start(title, lambda: self._play_chapter(number))

    def by_hand(self, name: str, choice: str = "") -> None:
        """Play an act by hand. Raises `ShowError` also for one that does not exist."""
        act = next((act for act in self.hand if act.name == name), None)
        if act is None or (act.choices and choice not in act.choices):
            raise ShowError(f"there is no act {name!r} with {choice!r}")
        self._start(act.title, lambda: self._play_by_hand(act.chapter(choice)))

    def reset(self, show: Show | None = None) -> None:
        """Set the stage up again, for ``show`` or the same one, and play the first chapter."""
        self._start("reset the stage", lambda: self._reset(show or self._stage.show))

    def stop(self) -> None:
        """Stop what runs, as soon as it waits for something."""
        self._stopped = True
        self._stage.interrupt("stopped by the presenter")

    def wait(self, timeout_s: float) -> None:
        """Wait until nothing runs. Raises `ShowError` if it takes longer."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                raise ShowError(f"{self._told.busy}: not within {timeout_s:g} s")

    # -------------------------------------------------------------------------------------- in its thread

    def _start(self, title: str, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                self._tell(busy="", shows=())

        with self._lock:
            if self._closing:
                raise ShowError("the show ends")
            if self._told.busy:
                raise ShowError(f"wait: {self._told.busy} is running")
            self._stopped = False
            self._stage.resume()
            self._tell(busy=title)
            self._thread = threading.Thread(target=run, name="acts", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        if self._make_script is not None:
            self._script = self._make_script(self._stage)
        else:
            self._script = self._stage.script(again=True)
        self._place: tuple[int, int] | None = (0, 0)
        self._stopped = False

    def _fresh(self) -> tuple[ToldChapter, ...]:
        return tuple(ToldChapter(each.title, each.text, len(each.steps)) for each in self._script.story)

    def _play_next(self) -> bool:
        """Whether a step was played and happened."""
        if self._place is None:
            return False
        chapter, step = self._place
        return self._play_step(chapter, step)

    def _play_chapter(self, number: int) -> bool:
        return all(self._play_step(number, step) for step in range(len(self._script.story[number].steps)))

    def _play_step(self, number: int, place: int) -> bool:
        chapter = self._script.story[number]
        told = self._told.chapters[number]
        if place == 0:
            told = ToldChapter(chapter.title, chapter.text, len(chapter.steps))

        def show(now: ToldChapter) -> None:
            chapters = self._told.chapters
            self._tell(chapters=(*chapters[:number], now, *chapters[number + 1 :]))

        self._place = (number, place)
        told = self._play(chapter.steps[place], told, show)
        if told.state == "failed":
            return False
        if place + 1 < len(chapter.steps):
            self._place = (number, place + 1)
        else:
            self._place = (number + 1, 0) if number + 1 < len(self._script.story) else None
        return True

    def _play_by_hand(self, chapter: Chapter, told: ToldChapter | None = None) -> None:
        told = told or ToldChapter(chapter.title, chapter.text, len(chapter.steps))
        for step in chapter.steps:
            told = self._play(step, told, lambda now: self._tell(by_hand=now))
            if told.state == "failed":
                return

    def _reset(self, show: Show) -> None:
        text = "Everything is stopped and thrown away; a new cloud and new nodes start in a fresh folder."
        told = ToldChapter("Reset the stage", text, 2)
        began = time.monotonic()

        def clear() -> str:
            self._tell(clearing=True)
            self._stage.clear(show)
            self._load()
            chapters = self._fresh()
            self._tell(show=show, chapters=chapters, stage=self._stage.number, page="", clearing=False)
            return "cloud and nodes have ended"

        told = self._play(Step("everything stops", clear, (), ""), told, lambda now: self._tell(by_hand=now))
        if told.state == "failed" or not self._play_chapter(0):
            self._tell(
                by_hand=replace(told, state="failed", reason=self._told.chapters[0].reason or told.reason)
            )
            return
        seconds = time.monotonic() - began
        line = Line("the stage is set", f"ready after {seconds:.1f} s", seconds)
        self._tell(by_hand=replace(told, state="done", steps=2, lines=(*told.lines, line), doing=""))

    def _play(self, step: Step, told: ToldChapter, show: Callable[[ToldChapter], None]) -> ToldChapter:
        """Play one step, and show the chapter before and after it."""
        told = replace(told, state="running", doing=step.title, reason="")
        with suppress(EdgeloopError):  # The act itself says what is missing.
            page = step.page() if callable(step.page) else step.page
            self._tell(page=page or self._told.page)
        self._tell(shows=step.shows)
        show(told)
        began = time.monotonic()
        try:
            if self._stopped or self._closing:
                raise ShowError("stopped by the presenter")
            evidence = step.act()
        except EdgeloopError as error:
            told = replace(told, state="failed", reason=str(error))
        except BaseException as error:
            show(replace(told, state="failed", reason=f"the show itself broke: {error!r}"))
            raise
        else:
            lines = (*told.lines, Line(step.title, evidence, time.monotonic() - began))
            state: State = "done" if len(lines) >= told.steps else "paused"
            told = replace(told, state=state, lines=lines, doing="")
        show(told)
        return told

    def _tell(self, **changes: object) -> None:
        self._told = replace(self._told, **changes)  # type: ignore[arg-type]

"""Player of a show: runs one step, chapter or manual action at a time, in a thread of its own.

Rules:

- At most one runs at a time; a second request is refused with a `ShowError` that names the running one.
- A chapter is *not started*, *running*, *paused* between two steps, *done*, or *failed*; passed steps keep
  their evidence, a failed step its reason.
- `next` plays the step after the last played one; a failed step is repeated.
- `play_chapter` plays any chapter from its start, any number of times.
- `stop` ends the wait of the running step: the step fails, and nothing after it is played.
- `reset` builds a new stage, for the same or another show, and plays its first chapter; earlier progress is
  discarded.

Views poll `Player.state`, an immutable `PlayerState`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from apps.demo.story.show import load_script
from apps.demo.story.story import Chapter, ManualAction, Script, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.shows import Show
from apps.demo.world.stage import Stage
from common.errors import EdgeloopError

ChapterState = Literal["not started", "running", "paused", "done", "failed"]
JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class StepResult:
    """A passed step."""

    title: str
    evidence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ChapterProgress:
    """Progress of one chapter."""

    title: str
    text: str
    steps: int
    state: ChapterState = "not started"
    results: tuple[StepResult, ...] = ()
    current_step: str = ""
    """Title of the running or failed step."""
    reason: str = ""
    """Of the failure."""


@dataclass(frozen=True, slots=True)
class PlayerState:
    """State of the show at one moment."""

    show: Show
    chapters: tuple[ChapterProgress, ...]
    action: ChapterProgress | None = None
    """The last manual action or reset."""
    running: str = ""
    """Title of what runs; empty if the presenter may choose."""
    next_step: str = ""
    """Title of the step that `Player.next` plays; empty at the end of the story."""
    loop_stages: tuple[str, ...] = ()
    """Stages of the loop that the running step shows."""
    page: str = ""
    """Dashboard page of the last played step."""
    stage_number: int = 0
    """Number of resets."""
    clearing: bool = False
    """The cloud of this stage is about to end."""
    unplugged: tuple[str, ...] = ()
    """Nodes whose network is cut."""


class Player:
    """A context manager; leaving it stops the running step."""

    def __init__(self, stage: Stage, script: Callable[[Stage], Script] | None = None) -> None:
        """``script`` replaces the script of the stage's show."""
        self._stage = stage
        self._make_script = script
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._load_script()
        self._state = PlayerState(stage.show, self._initial_progress())

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._stage.interrupt("the show ends")
        if self._thread is not None:
            self._thread.join(JOIN_S)  # A wait for a process ends when the stage stops its processes.

    @property
    def state(self) -> PlayerState:
        next_step = ""
        if (position := self._position) is not None:
            chapter, step = position
            next_step = self._script.story[chapter].steps[step].title
        unplugged = tuple(node.name for node in self._stage.nodes if node.is_cut)
        return replace(self._state, next_step=next_step, unplugged=unplugged)

    @property
    def manual_actions(self) -> Sequence[ManualAction]:
        return self._script.manual_actions

    # ----------------------------------------------------------------------------- the presenter's controls

    def next(self) -> None:
        """Play the next step of the story. Like all controls, raises `ShowError` while something runs."""
        self._start("the next step", self._play_next)

    def play_all(self) -> None:
        """Play the story from the next step to its end or its first failed step."""

        def play() -> None:
            while self._play_next():
                pass

        self._start("the story", play)

    def play_chapter(self, number: int) -> None:
        """Play a chapter (from 0) from its start."""
        title = self._script.story[number].title
        self._start(title, lambda: self._play_chapter(number))

    def run_action(self, name: str, choice: str = "") -> None:
        """Run a manual action. Raises `ShowError` also for an unknown action or choice."""
        action = next((each for each in self.manual_actions if each.name == name), None)
        if action is None or (action.choices and choice not in action.choices):
            raise ShowError(f"no action {name!r} with choice {choice!r}")
        self._start(action.title, lambda: self._run_action(action.make_chapter(choice)))

    def reset(self, show: Show | None = None) -> None:
        """Build a new stage, for ``show`` or the current one, and play the first chapter."""
        self._start("reset the stage", lambda: self._reset(show or self._stage.show))

    def stop(self) -> None:
        """Stop the running step at its next wait."""
        self._stopped = True
        self._stage.interrupt("stopped by the presenter")

    def wait(self, timeout_s: float) -> None:
        """Wait until nothing runs. Raises `ShowError` after ``timeout_s``."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                raise ShowError(f"{self._state.running}: not within {timeout_s:g} s")

    # -------------------------------------------------------------------------------------- in its thread

    def _start(self, title: str, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                self._state = replace(self._state, running="", loop_stages=())

        with self._lock:
            if self._closing:
                raise ShowError("the show ends")
            if self._state.running:
                raise ShowError(f"wait: {self._state.running} is running")
            self._stopped = False
            self._stage.resume()
            self._state = replace(self._state, running=title)
            self._thread = threading.Thread(target=run, name="player", daemon=True)
            self._thread.start()

    def _load_script(self) -> None:
        if self._make_script is not None:
            self._script = self._make_script(self._stage)
        else:
            self._script = load_script(self._stage, keep_running=True)
        self._position: tuple[int, int] | None = (0, 0)
        self._stopped = False

    def _initial_progress(self) -> tuple[ChapterProgress, ...]:
        return tuple(_not_started(chapter) for chapter in self._script.story)

    def _play_next(self) -> bool:
        """Play the next step; False if it failed or the story is over."""
        if self._position is None:
            return False
        chapter, step = self._position
        return self._play_step(chapter, step)

    def _play_chapter(self, number: int) -> bool:
        return all(self._play_step(number, step) for step in range(len(self._script.story[number].steps)))

    def _play_step(self, number: int, step: int) -> bool:
        chapter = self._script.story[number]
        progress = _not_started(chapter) if step == 0 else self._state.chapters[number]

        def publish(now: ChapterProgress) -> None:
            chapters = self._state.chapters
            self._state = replace(self._state, chapters=(*chapters[:number], now, *chapters[number + 1 :]))

        self._position = (number, step)
        progress = self._play(chapter.steps[step], progress, publish)
        if progress.state == "failed":
            return False
        if step + 1 < len(chapter.steps):
            self._position = (number, step + 1)
        else:
            self._position = (number + 1, 0) if number + 1 < len(self._script.story) else None
        return True

    def _run_action(self, chapter: Chapter) -> None:
        progress = _not_started(chapter)
        for step in chapter.steps:
            progress = self._play(step, progress, self._publish_action)
            if progress.state == "failed":
                return

    def _publish_action(self, progress: ChapterProgress) -> None:
        self._state = replace(self._state, action=progress)

    def _reset(self, show: Show) -> None:
        text = "Cloud and nodes stop and their data is discarded; new ones start in a fresh folder."
        progress = ChapterProgress("Reset the stage", text, 2)
        began = time.monotonic()

        def clear() -> str:
            self._state = replace(self._state, clearing=True)
            self._stage.clear(show)
            self._load_script()
            self._state = replace(
                self._state,
                show=show,
                chapters=self._initial_progress(),
                stage_number=self._stage.number,
                page="",
                clearing=False,
            )
            return "cloud and nodes have ended"

        progress = self._play(Step("cloud and nodes stop", clear), progress, self._publish_action)
        if progress.state == "failed" or not self._play_chapter(0):
            reason = self._state.chapters[0].reason or progress.reason
            self._publish_action(replace(progress, state="failed", reason=reason))
            return
        seconds = time.monotonic() - began
        result = StepResult("the stage is ready", f"ready after {seconds:.1f} s", seconds)
        self._publish_action(
            replace(progress, state="done", results=(*progress.results, result), current_step="")
        )

    def _play(
        self, step: Step, progress: ChapterProgress, publish: Callable[[ChapterProgress], None]
    ) -> ChapterProgress:
        """Play one step, and publish the chapter before and after it."""
        progress = replace(progress, state="running", current_step=step.title, reason="")
        with suppress(EdgeloopError):  # The act itself reports what is missing.
            page = step.page() if callable(step.page) else step.page
            self._state = replace(self._state, page=page or self._state.page)
        self._state = replace(self._state, loop_stages=step.loop_stages)
        publish(progress)
        try:
            if self._stopped or self._closing:
                raise ShowError("stopped by the presenter")
            progress = _run_step(step, progress)
        except EdgeloopError as error:
            progress = replace(progress, state="failed", reason=str(error))
        except BaseException as error:
            publish(replace(progress, state="failed", reason=f"internal error of the show: {error!r}"))
            raise
        publish(progress)
        return progress


def _run_step(step: Step, progress: ChapterProgress) -> ChapterProgress:
    """Run the act of a step, and add its result."""
    began = time.monotonic()
    evidence = step.act()
    results = (*progress.results, StepResult(step.title, evidence, time.monotonic() - began))
    state: ChapterState = "done" if len(results) >= progress.steps else "paused"
    return replace(progress, state=state, results=results, current_step="")


def _not_started(chapter: Chapter) -> ChapterProgress:
    return ChapterProgress(chapter.title, chapter.text, len(chapter.steps))

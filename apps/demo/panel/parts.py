"""The parts of the show's panel. Each keeps its place, and sends the browser only what has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from apps.demo.story.player import Line, ToldChapter
from apps.demo.story.story import HandAct
from common.pages import Text

TABLE_GAP = "   "
"""What stands between the columns of a table in a step's evidence."""
TONES = {"not yet": "", "running": "info", "paused": "info", "done": "good", "failed": "bad"}


def button(text: str, pressed: Callable[[], None], kind: str = "") -> Text:
    """A button. One that `enable` has switched off keeps the focus, so a presenter may go on pressing it."""
    made = Text("button", text).classes(f"action {kind}").props("type=button")
    made.on("click", lambda: pressed())
    return made


def enable(element: Element, on: bool) -> None:
    """Show whether a button can be pressed now."""
    element.props(f"aria-disabled={str(not on).lower()}")


def bring_near(element: Element) -> None:
    """Bring it into view: only the narrator's own column moves, and only as far as it must."""
    ui.run_javascript(f"getHtmlElement({element.id}).scrollIntoView({{block: 'nearest'}})")


class Tick:
    """A box that can be ticked; ticked at first."""

    def __init__(self) -> None:
        self.value = True
        box = ui.element("input").props("type=checkbox checked")
        box.on("change", self._changed, js_handler="(event) => emit(event.target.checked)")

    def _changed(self, event: Any) -> None:
        self.value = bool(event.args)


class Evidence:
    """What happened in a chapter: a line for each step, the step that runs, or why one did not happen."""

    def __init__(self, *, titled: bool = False) -> None:
        self._told: tuple[Line, ...] = ()
        with ui.element("div").classes("evidence") as self._box:
            self._title = Text("h3", "") if titled else None
            self._lines = ui.element("ul").classes("lines")
            self._doing = Text("p", "").classes("doing")
            self._reason = Text("p", "").classes("reason").props("tabindex=0")

    def show(self, chapter: ToldChapter | None, *, near: bool = False) -> None:
        """Show how far ``chapter`` is; ``near`` brings what is new into view."""
        if chapter is None:
            return
        if self._title is not None and self._title.text != (title := f"{chapter.title}: {chapter.state}"):
            self._title.text = title
            if near:
                bring_near(self._box)
        if chapter.lines[: len(self._told)] != self._told:
            self._lines.clear()
            self._told = ()
        with self._lines:
            for line in chapter.lines[len(self._told) :]:
                self._add(line)
        self._told = chapter.lines
        self._doing.text = f"{chapter.doing} …" if chapter.state == "running" else ""
        failed = chapter.state == "failed"
        self._reason.text = f"{chapter.doing}: {chapter.reason}" if failed else ""

    def _add(self, line: Line) -> None:
        rows = line.evidence.splitlines()
        table = [row for row in rows if TABLE_GAP in row]
        with ui.element("li"):
            with ui.element("p"):
                Text("strong", line.title)
                Text("span", f" {line.seconds:.1f} s").classes("hint")
            for row in rows:
                if row not in table:
                    Text("p", row)
            if table:
                Text("pre", "\n".join(table)).classes("log").props("tabindex=0")


class ChapterRow:
    """A chapter of the story, with the button that plays it from its start."""

    def __init__(self, number: int, chapter: ToldChapter, play: Callable[[], None]) -> None:
        self._shown: ToldChapter | None = None
        with ui.element("li").classes("chapter") as self._item:
            with ui.element("details") as self._details:
                with ui.element("summary"):
                    Text("span", f"{number + 1}. {chapter.title}").classes("chapter-title")
                    self._state = Text("span", "").classes("badge")
                Text("p", chapter.text).classes("hint")
                self._evidence = Evidence()
            self._play = button("Play", play, "small")
            self._play.props(f'aria-label="Play chapter {number + 1}"')

    def show(self, chapter: ToldChapter, *, busy: bool) -> None:
        """Show how far it is; a chapter that runs is open and in view."""
        enable(self._play, not busy)
        if chapter == self._shown:
            return
        before, self._shown = self._shown, chapter
        happened = (
            f" {len(chapter.lines)} of {chapter.steps}" if chapter.state in ("running", "paused") else ""
        )
        self._state.text = chapter.state + happened
        self._state.classes(replace=f"badge {TONES[chapter.state]}")
        self._evidence.show(chapter)
        if chapter.state in ("running", "failed"):
            self._details.props("open")
            self._item.classes(add="now")
        elif chapter.state != "paused":
            self._item.classes(remove="now")
        if chapter.state == "not yet":
            self.fold()
        elif before is not None or chapter.state == "running":
            bring_near(self._item)

    def fold(self) -> None:
        """Show its title only."""
        self._details.props(remove="open")


class HandRow:
    """An act by hand, with its choice."""

    def __init__(self, act: HandAct, press: Callable[[str, str], None]) -> None:
        self._act = act
        self._choice = act.choices[0] if act.choices else ""
        with ui.element("div").classes("hand"):
            self._button = button(act.title, lambda: press(act.name, self._choice), "small")
            self._options: dict[str, Text] = {}
            if act.choices:
                select = ui.element("select").props(f'aria-label="{act.choose}: {act.title}"')
                with select:
                    for choice in act.choices:
                        self._options[choice] = Text("option", choice).props(f"value={choice}")
                select.on("change", self._choose, js_handler="(event) => emit(event.target.value)")

    def show(self, *, busy: bool, unplugged: tuple[str, ...]) -> None:
        """Show whether it can be pressed, and which nodes have no network."""
        enable(self._button, not busy)
        for choice, option in self._options.items():
            option.text = f"{choice} (cut)" if choice in unplugged else choice

    def _choose(self, event: Any) -> None:
        if event.args in self._act.choices:
            self._choice = event.args

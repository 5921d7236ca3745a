"""Parts of the panel. Each is drawn once and then sends only changes to the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from apps.demo.story.player import ChapterProgress, StepResult
from apps.demo.story.story import ManualAction
from common.pages import Text

TABLE_GAP = "   "
"""Column separator of a table in a step's evidence."""
TONES = {"not started": "", "running": "info", "paused": "info", "done": "good", "failed": "bad"}


def button(text: str, on_click: Callable[[], None], kind: str = "") -> Text:
    """A button. It keeps the focus while `enable` has disabled it."""
    element = Text("button", text).classes(f"action {kind}").props("type=button")
    element.on("click", lambda: on_click())
    return element


def enable(element: Element, enabled: bool) -> None:
    """Show a button as enabled or disabled."""
    element.props(f"aria-disabled={str(not enabled).lower()}")


def scroll_into_view(element: Element) -> None:
    """Scroll the narrator's column as little as needed to show the element."""
    ui.run_javascript(f"getHtmlElement({element.id}).scrollIntoView({{block: 'nearest'}})")


class Checkbox:
    """A checkbox, initially checked."""

    def __init__(self) -> None:
        self.value = True
        box = ui.element("input").props("type=checkbox checked")
        box.on("change", self._changed, js_handler="(event) => emit(event.target.checked)")

    def _changed(self, event: Any) -> None:
        self.value = bool(event.args)


class Evidence:
    """Progress of a chapter: evidence of its passed steps, the running step, or the reason of a failure."""

    def __init__(self, *, titled: bool = False) -> None:
        self._results: tuple[StepResult, ...] = ()
        with ui.element("div").classes("evidence") as self._box:
            self._title = Text("h3", "") if titled else None
            self._lines = ui.element("ul").classes("lines")
            self._current_step = Text("p", "").classes("current-step")
            self._reason = Text("p", "").classes("reason").props("tabindex=0")

    def show(self, chapter: ChapterProgress | None, *, scroll: bool = False) -> None:
        """Render ``chapter``; ``scroll`` brings a new title into view."""
        if chapter is None:
            return
        if self._title is not None and self._title.text != (title := f"{chapter.title}: {chapter.state}"):
            self._title.text = title
            if scroll:
                scroll_into_view(self._box)
        if chapter.results[: len(self._results)] != self._results:
            self._lines.clear()
            self._results = ()
        with self._lines:
            for result in chapter.results[len(self._results) :]:
                self._add(result)
        self._results = chapter.results
        self._current_step.text = f"{chapter.current_step} …" if chapter.state == "running" else ""
        failed = chapter.state == "failed"
        self._reason.text = f"{chapter.current_step}: {chapter.reason}" if failed else ""

    def _add(self, result: StepResult) -> None:
        rows = result.evidence.splitlines()
        table = [row for row in rows if TABLE_GAP in row]
        with ui.element("li"):
            with ui.element("p"):
                Text("strong", result.title)
                Text("span", f" {result.seconds:.1f} s").classes("hint")
            for row in rows:
                if row not in table:
                    Text("p", row)
            if table:
                Text("pre", "\n".join(table)).classes("log").props("tabindex=0")


class ChapterRow:
    """A chapter of the story, with a button that plays it from its start."""

    def __init__(self, number: int, chapter: ChapterProgress, play: Callable[[], None]) -> None:
        self._shown: ChapterProgress | None = None
        with ui.element("li").classes("chapter") as self._item:
            with ui.element("details") as self._details:
                with ui.element("summary"):
                    Text("span", f"{number + 1}. {chapter.title}").classes("chapter-title")
                    self._state = Text("span", "").classes("badge")
                Text("p", chapter.text).classes("hint")
                self._evidence = Evidence()
            self._play = button("Play", play, "small")
            self._play.props(f'aria-label="Play chapter {number + 1}"')

    def show(self, chapter: ChapterProgress, *, busy: bool) -> None:
        """Render its progress; a running chapter is open and in view."""
        enable(self._play, not busy)
        if chapter == self._shown:
            return
        before, self._shown = self._shown, chapter
        passed = (
            f" {len(chapter.results)} of {chapter.steps}" if chapter.state in ("running", "paused") else ""
        )
        self._state.text = chapter.state + passed
        self._state.classes(replace=f"badge {TONES[chapter.state]}")
        self._evidence.show(chapter)
        if chapter.state in ("running", "failed"):
            self._details.props("open")
            self._item.classes(add="now")
        elif chapter.state != "paused":
            self._item.classes(remove="now")
        if chapter.state == "not started":
            self.fold()
        elif before is not None or chapter.state == "running":
            scroll_into_view(self._item)

    def fold(self) -> None:
        """Collapse it to its title."""
        self._details.props(remove="open")


class ManualActionRow:
    """A manual action, with its choice."""

    def __init__(self, action: ManualAction, press: Callable[[str, str], None]) -> None:
        self._action = action
        self._choice = action.choices[0] if action.choices else ""
        with ui.element("div").classes("manual-action"):
            self._button = button(action.title, lambda: press(action.name, self._choice), "small")
            self._options: dict[str, Text] = {}
            if action.choices:
                select = ui.element("select").props(f'aria-label="{action.choice_label}: {action.title}"')
                with select:
                    for choice in action.choices:
                        self._options[choice] = Text("option", choice).props(f"value={choice}")
                select.on("change", self._choose, js_handler="(event) => emit(event.target.value)")

    def show(self, *, busy: bool, unplugged: tuple[str, ...]) -> None:
        """Enable or disable it, and mark nodes whose network is cut."""
        enable(self._button, not busy)
        for choice, option in self._options.items():
            option.text = f"{choice} (cut)" if choice in unplugged else choice

    def _choose(self, event: Any) -> None:
        if event.args in self._action.choices:
            self._choice = event.args

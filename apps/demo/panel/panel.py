"""The show in a browser: the narrator at the left, the cloud's own dashboard beside it.

The panel only tells (`apps.demo.story.player.Told`) and passes on what is pressed. What it shows of the cloud
is the cloud's dashboard, in a frame, signed in by a one-time link from the public API. NiceGUI keeps its
pages once per process, so a process has one panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import ui

import common.pages
from apps.demo.panel.dashboard_frame import Board
from apps.demo.panel.parts import ChapterRow, Evidence, HandRow, Tick, button, enable
from apps.demo.story.player import Player, Told
from apps.demo.story.shows import Show
from apps.demo.story.story import LOOP
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from common.pages import Text

TELL_S = 0.3
STYLES = (Path(common.pages.__file__).with_name("style.css"), Path(__file__).with_name("panel.css"))

# Which tab is open is the window's own business, so it stays in the browser.
_OPEN_TAB = """(event) => {
  const chosen = event.currentTarget;
  document.querySelector(".show").dataset.tab = chosen.dataset.tab;
  for (const tab of document.querySelectorAll(".show-tabs [role=tab]")) {
    tab.setAttribute("aria-selected", tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
  }
}"""
_MOVE_TAB = """(event) => {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const other = event.currentTarget.nextElementSibling || event.currentTarget.previousElementSibling;
  other.focus();
  other.click();
}"""


def add_page(stage: Stage, player: Player, shows: Sequence[Show]) -> None:
    """Add the panel as the page ``/``; the presenter chooses among ``shows``."""
    for style in STYLES:
        ui.add_css(style, shared=True)

    @ui.page("/", title="edgeloop: the show")
    def show() -> None:
        ui.dark_mode(None)
        window = Window(stage, player, shows)
        ui.timer(TELL_S, window.refresh)


class Window:
    """One browser window on the show."""

    def __init__(self, stage: Stage, player: Player, shows: Sequence[Show]) -> None:
        self._player = player
        self._shows = shows
        self._told: Told | None = None
        with ui.element("div").classes("show").props("data-tab=story"):
            self._draw_tabs()
            with ui.element("section").classes("narrator").props("id=story aria-label=Story"):
                with ui.element("div").classes("narrator-top"):
                    self._draw_head()
                    self._draw_controls()
                self._rest = ui.element("div").classes("narrator-rest")
                self._draw_show(player.told)
            with ui.element("section").classes("stage").props("id=dashboard aria-label=Dashboard"):
                self._board = Board(stage)

    async def refresh(self) -> None:
        """Show what has changed since the last time."""
        told = self._player.told
        if told != self._told:
            before, self._told = self._told, told
            if told.show.app != self._drawn:
                self._draw_show(told)
            begun = [place for place, each in enumerate(told.chapters) if each.state == "running"]
            for place, (row, chapter) in enumerate(zip(self._rows, told.chapters, strict=True)):
                if begun and place not in begun:
                    row.fold()  # The narrator speaks of one chapter at a time.
                row.show(chapter, busy=bool(told.busy))
            self._by_hand.show(told.by_hand, near=before is not None)
            self._show_controls(told)
            self._show_loop(told.shows, before.shows if before else ())
        if told.clearing:
            self._board.close()
        else:
            await self._board.refresh(told.stage, told.page if self._follow.value else "")

    # ------------------------------------------------------------------------------------------- drawing

    def _draw_tabs(self) -> None:
        with ui.element("div").classes("show-tabs").props('role=tablist aria-label="What is shown"'):
            for name, chosen in (("story", True), ("dashboard", False)):
                tab = Text("button", name.capitalize()).props(
                    f"type=button role=tab data-tab={name} aria-controls={name} "
                    f"aria-selected={str(chosen).lower()} tabindex={0 if chosen else -1}"
                )
                tab.on("click", js_handler=_OPEN_TAB)
                tab.on("keydown", js_handler=_MOVE_TAB)

    def _draw_head(self) -> None:
        with ui.element("header").classes("narrator-head"):
            Text("h1", "edgeloop: the show")
            Text("span", "virtual").classes("badge warn")
            self._who = Text("p", "").classes("hint")
        self._choices: dict[str, Text] = {}
        if len(self._shows) > 1:
            with ui.element("div").classes("shows").props('role=group aria-label="What is on the stage"'):
                self._choices = {
                    show.app: button(
                        show.title, lambda show=show: self._press(self._player.reset, show), "small"
                    )
                    for show in self._shows
                }
        with ui.element("ul").classes("loop").props('aria-label="The loop"'):
            self._loop = {name: Text("li", name) for name in LOOP}

    def _draw_controls(self) -> None:
        player = self._player
        with ui.element("div").classes("controls").props('role=group aria-label="The story"'):
            self._next = button("Next", lambda: self._press(player.next), "main")
            self._play = button("Play all", lambda: self._press(player.play))
            self._stop = button("Stop", lambda: self._press(player.stop))
            self._reset = button("Reset stage", lambda: self._press(player.reset))
        with ui.element("div").classes("status").props("role=status"):
            self._status = Text("p", "")
        with ui.element("div").classes("refusal").props("role=alert"):
            self._refusal = Text("p", "")
        with ui.element("label").classes("follow"):
            self._follow = Tick()
            Text("span", "The dashboard follows the story")

    def _draw_show(self, told: Told) -> None:
        """Draw what belongs to the show on the stage."""
        self._drawn = told.show.app
        who = told.show.who
        self._who.text = f"{who[0].upper()}{who[1:]}; the cloud and the nodes are real."
        for app, choice in self._choices.items():
            choice.props(f"aria-pressed={str(app == told.show.app).lower()}")
        self._rest.clear()
        with self._rest:
            self._draw_story(told)
            self._draw_hand()

    def _draw_story(self, told: Told) -> None:
        with ui.element("ol").classes("chapters").props('aria-label="Chapters"'):
            self._rows = [
                ChapterRow(number, chapter, lambda number=number: self._press(self._player.chapter, number))
                for number, chapter in enumerate(told.chapters)
            ]

    def _draw_hand(self) -> None:
        with ui.element("section").classes("by-hand").props("aria-labelledby=by-hand"):
            Text("h2", "By hand, in any order").props("id=by-hand")
            self._hand = [
                HandRow(act, lambda name, choice: self._press(self._player.by_hand, name, choice))
                for act in self._player.hand
            ]
            self._by_hand = Evidence(titled=True)

    # ----------------------------------------------------------------------------------------- what is new

    def _show_controls(self, told: Told) -> None:
        busy = bool(told.busy)
        for each in (self._next, self._play):
            enable(each, not busy and bool(told.upcoming))
        for each in (self._reset, *self._choices.values()):
            enable(each, not busy)
        enable(self._stop, busy)
        for row in self._hand:
            row.show(busy=busy, unplugged=told.unplugged)
        if busy:
            self._status.text = f"Running: {told.busy}. One act at a time."
        else:
            self._status.text = f"Next: {told.upcoming}." if told.upcoming else "That was the story."

    def _show_loop(self, now: tuple[str, ...], before: tuple[str, ...]) -> None:
        for name in set(now) ^ set(before):
            if name in now:
                self._loop[name].classes(add="now").props("aria-current=step")
            else:
                self._loop[name].classes(remove="now").props(remove="aria-current")

    def _press(self, act: Callable[..., None], *given: object) -> None:
        try:
            act(*given)
        except ShowError as error:
            self._refusal.text = str(error)
        else:
            self._refusal.text = ""

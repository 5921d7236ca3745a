"""Panel of a show in a browser: the narrator at the left, the cloud's own dashboard beside it.

The panel renders `apps.demo.story.player.PlayerState` and calls the player's controls. The dashboard is in a
frame, signed in by a one-time link from the public API. NiceGUI registers pages per process, so a process has
one panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import ui

import common.pages
from apps.demo.panel.dashboard_frame import DashboardFrame
from apps.demo.panel.parts import ChapterRow, Checkbox, Evidence, ManualActionRow, button, enable
from apps.demo.story.player import Player, PlayerState
from apps.demo.story.story import LOOP
from apps.demo.world.processes import ShowError
from apps.demo.world.shows import Show
from apps.demo.world.stage import Stage
from common.pages import Text

REFRESH_S = 0.3
STYLES = (Path(common.pages.__file__).with_name("style.css"), Path(__file__).with_name("panel.css"))

# The open tab is state of the window, so it stays in the browser.
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
    """Add the panel as the page ``/``; the presenter can switch between ``shows``."""
    for style in STYLES:
        ui.add_css(style, shared=True)

    @ui.page("/", title="edgeloop: the show")
    def show() -> None:
        ui.dark_mode(None)
        window = Window(stage, player, shows)
        ui.timer(REFRESH_S, window.refresh)


class Window:
    """One browser window of the panel."""

    def __init__(self, stage: Stage, player: Player, shows: Sequence[Show]) -> None:
        self._player = player
        self._shows = shows
        self._state: PlayerState | None = None
        with ui.element("div").classes("show").props("data-tab=story"):
            self._draw_tabs()
            with ui.element("section").classes("narrator").props("id=story aria-label=Story"):
                with ui.element("div").classes("narrator-top"):
                    self._draw_head()
                    self._draw_controls()
                self._rest = ui.element("div").classes("narrator-rest")
                self._draw_show(player.state)
            with ui.element("section").classes("stage").props("id=dashboard aria-label=Dashboard"):
                self._dashboard = DashboardFrame(stage)

    async def refresh(self) -> None:
        """Render changes since the last refresh."""
        state = self._player.state
        if state != self._state:
            before, self._state = self._state, state
            if state.show.app != self._drawn:
                self._draw_show(state)
            running = any(chapter.state == "running" for chapter in state.chapters)
            for row, chapter in zip(self._rows, state.chapters, strict=True):
                if running and chapter.state != "running":
                    row.fold()  # One chapter is open at a time.
                row.show(chapter, busy=bool(state.running))
            self._action_evidence.show(state.action, scroll=before is not None)
            self._show_controls(state)
            self._show_loop(state.loop_stages, before.loop_stages if before else ())
        if state.clearing:
            self._dashboard.close()
        else:
            await self._dashboard.refresh(state.stage_number, state.page if self._follow.value else "")

    # ------------------------------------------------------------------------------------------- drawing

    def _draw_tabs(self) -> None:
        with ui.element("div").classes("show-tabs").props('role=tablist aria-label="View"'):
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
            self._subtitle = Text("p", "").classes("hint")
        self._choices: dict[str, Text] = {}
        if len(self._shows) > 1:
            with ui.element("div").classes("shows").props('role=group aria-label="Show"'):
                self._choices = {
                    show.app: button(
                        show.title, lambda show=show: self._control(self._player.reset, show), "small"
                    )
                    for show in self._shows
                }
        with ui.element("ul").classes("loop").props('aria-label="The loop"'):
            self._loop = {name: Text("li", name) for name in LOOP}

    def _draw_controls(self) -> None:
        player = self._player
        with ui.element("div").classes("controls").props('role=group aria-label="The story"'):
            self._next = button("Next", lambda: self._control(player.next), "main")
            self._play = button("Play all", lambda: self._control(player.play_all))
            self._stop = button("Stop", lambda: self._control(player.stop))
            self._reset = button("Reset stage", lambda: self._control(player.reset))
        with ui.element("div").classes("status").props("role=status"):
            self._status = Text("p", "")
        with ui.element("div").classes("refusal").props("role=alert"):
            self._refusal = Text("p", "")
        with ui.element("label").classes("follow"):
            self._follow = Checkbox()
            Text("span", "The dashboard follows the story")

    def _draw_show(self, state: PlayerState) -> None:
        """Draw the parts that depend on the show."""
        self._drawn = state.show.app
        kind = state.show.subject_kind
        self._subtitle.text = f"{kind.capitalize()}; the cloud and the nodes are real processes."
        for app, choice in self._choices.items():
            choice.props(f"aria-pressed={str(app == state.show.app).lower()}")
        self._rest.clear()
        with self._rest:
            self._draw_story(state)
            self._draw_manual_actions()

    def _draw_story(self, state: PlayerState) -> None:
        with ui.element("ol").classes("chapters").props('aria-label="Chapters"'):
            self._rows = [
                ChapterRow(
                    number, chapter, lambda number=number: self._control(self._player.play_chapter, number)
                )
                for number, chapter in enumerate(state.chapters)
            ]

    def _draw_manual_actions(self) -> None:
        with ui.element("section").classes("manual-actions").props("aria-labelledby=manual-actions"):
            Text("h2", "Manual actions, in any order").props("id=manual-actions")
            self._action_rows = [
                ManualActionRow(
                    action, lambda name, choice: self._control(self._player.run_action, name, choice)
                )
                for action in self._player.manual_actions
            ]
            self._action_evidence = Evidence(titled=True)

    # ----------------------------------------------------------------------------------------- updates

    def _show_controls(self, state: PlayerState) -> None:
        busy = bool(state.running)
        for each in (self._next, self._play):
            enable(each, not busy and bool(state.next_step))
        for each in (self._reset, *self._choices.values()):
            enable(each, not busy)
        enable(self._stop, busy)
        for row in self._action_rows:
            row.show(busy=busy, unplugged=state.unplugged)
        if busy:
            self._status.text = f"Running: {state.running}."
        else:
            self._status.text = f"Next: {state.next_step}." if state.next_step else "End of the story."

    def _show_loop(self, now: tuple[str, ...], before: tuple[str, ...]) -> None:
        for name in set(now) ^ set(before):
            if name in now:
                self._loop[name].classes(add="now").props("aria-current=step")
            else:
                self._loop[name].classes(remove="now").props(remove="aria-current")

    def _control(self, control: Callable[..., None], *arguments: object) -> None:
        try:
            control(*arguments)
        except ShowError as error:
            self._refusal.text = str(error)
        else:
            self._refusal.text = ""

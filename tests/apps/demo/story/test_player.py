"""The player runs one thing at a time, in any order, and reports the progress of each chapter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.demo.story.player import Player
from apps.demo.story.story import Chapter, ManualAction, Script, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.shows import ENGINES, SHOWS, Show
from apps.demo.world.stage import Stage
from tests.waiting import PATIENCE_S


class Playlist:
    """A script that records played steps, and can block or fail at a step."""

    def __init__(self) -> None:
        self.played: list[str] = []
        self.failing: set[str] = set()
        self.held = threading.Event()
        self.held.set()
        self.scripts = 0

    def __call__(self, stage: Stage) -> Script:
        self.scripts += 1

        def step(name: str) -> Step:
            def act() -> str:
                assert self.held.wait(PATIENCE_S)
                if name in self.failing:
                    raise ShowError(f"no {name} today")
                self.played.append(name)
                return f"{name} passed"

            return Step(name, act, ("sense",), f"/ui/{name}")

        def wait() -> str:
            assert self.held.wait(PATIENCE_S)
            return stage.wait(lambda: "", "what never comes", PATIENCE_S)

        def endless(_choice: str) -> Chapter:
            return Chapter("Endless", "", [Step("wait", wait)])

        story = [
            Chapter("One", "", [step("a"), step("b")]),
            Chapter("Two", "", [step("c"), step("d")]),
        ]
        manual_actions = [
            ManualAction(
                "wave", "Wave", "Hand", ("left", "right"), lambda hand: Chapter("Wave", "", [step(hand)])
            ),
            ManualAction("endless", "Endless", "", (), endless),
        ]
        return Script(story, manual_actions)


@pytest.fixture
def playlist() -> Playlist:
    return Playlist()


@pytest.fixture
def player(tmp_path: Path, playlist: Playlist) -> Iterator[Player]:
    with Stage(tmp_path, ENGINES) as stage, Player(stage, playlist) as player:
        yield player


def states(player: Player) -> list[str]:
    return [chapter.state for chapter in player.state.chapters]


def test_next_goes_step_by_step_and_play_goes_to_the_end(player: Player, playlist: Playlist):
    assert player.state.next_step == "a"
    player.next()
    player.wait(PATIENCE_S)
    assert (states(player), player.state.next_step, player.state.page) == (
        ["paused", "not started"],
        "b",
        "/ui/a",
    )
    player.play_all()
    player.wait(PATIENCE_S)
    assert (states(player), player.state.next_step) == (["done", "done"], "")
    assert playlist.played == ["a", "b", "c", "d"]
    assert [line.evidence for line in player.state.chapters[1].results] == ["c passed", "d passed"]


def test_any_chapter_can_be_played_first_and_again(player: Player, playlist: Playlist):
    for number in (1, 0, 1):
        player.play_chapter(number)
        player.wait(PATIENCE_S)
    assert playlist.played == ["c", "d", "a", "b", "c", "d"]
    assert len(player.state.chapters[1].results) == 2


def test_a_failed_step_ends_the_play_and_next_repeats_it(player: Player, playlist: Playlist):
    playlist.failing = {"b"}
    player.play_all()
    player.wait(PATIENCE_S)
    progress = player.state.chapters[0]
    assert (progress.state, progress.current_step, progress.reason) == ("failed", "b", "no b today")
    assert playlist.played == ["a"]
    playlist.failing = set()
    player.next()
    player.wait(PATIENCE_S)
    assert states(player) == ["done", "not started"]
    assert playlist.played == ["a", "b"]


def test_a_second_control_is_refused_while_something_runs(player: Player, playlist: Playlist):
    playlist.held.clear()
    player.play_chapter(1)
    assert player.state.running == "Two"
    for act in (player.next, player.play_all, player.reset, lambda: player.run_action("wave", "left")):
        with pytest.raises(ShowError, match="Two is running"):
            act()
    playlist.held.set()
    player.wait(PATIENCE_S)
    assert playlist.played == ["c", "d"]


def test_a_manual_action_accepts_only_its_choices(player: Player, playlist: Playlist):
    player.run_action("wave", "right")
    player.wait(PATIENCE_S)
    progress = player.state.action
    assert progress is not None
    assert (progress.title, progress.state) == ("Wave", "done")
    for name, choice in (("wave", "foot"), ("wave", ""), ("jump", "")):
        with pytest.raises(ShowError, match="no action"):
            player.run_action(name, choice)
    assert playlist.played == ["right"]


def test_a_stopped_action_fails_at_once_and_the_next_step_plays(player: Player, playlist: Playlist):
    playlist.held.clear()
    player.run_action("endless")
    player.stop()
    playlist.held.set()
    player.wait(PATIENCE_S)
    progress = player.state.action
    assert progress is not None
    assert (progress.state, "stopped" in progress.reason) == ("failed", True)
    player.next()
    player.wait(PATIENCE_S)
    assert playlist.played == ["a"]


def test_a_reset_takes_a_fresh_script_and_folder_and_plays_the_first_chapter(
    player: Player, playlist: Playlist
):
    player.play_all()
    player.wait(PATIENCE_S)
    player.reset()
    player.wait(PATIENCE_S)
    assert (states(player), player.state.stage_number, playlist.scripts) == (["done", "not started"], 1, 2)
    assert playlist.played[-2:] == ["a", "b"]
    progress = player.state.action
    assert progress is not None
    assert progress.state == "done"


def test_another_show_comes_with_a_reset(player: Player):
    other = replace(ENGINES, title="Others", subjects=("other",))
    player.reset(other)
    player.wait(PATIENCE_S)
    assert (player.state.show.title, player.state.stage_number) == ("Others", 1)


def test_an_unexpected_error_in_a_step_is_reported_and_does_not_block_the_show(tmp_path: Path):
    def breaks() -> str:
        raise ZeroDivisionError("a bug")

    def script(_stage: Stage) -> Script:
        return Script([Chapter("One", "", [Step("a", breaks)])], [])

    broken: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, broken.append
    try:
        with Stage(tmp_path, ENGINES) as stage, Player(stage, script) as player:
            player.next()
            player.wait(PATIENCE_S)
            assert (player.state.running, states(player)) == ("", ["failed"])
    finally:
        threading.excepthook = before
    assert [each.exc_type for each in broken] == [ZeroDivisionError]


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_the_interactive_story_has_the_headless_steps_and_ends_with_running_nodes(tmp_path: Path, show: Show):
    from apps.demo.story.show import story_chapters

    with Stage(tmp_path, show) as stage, Player(stage) as player:
        progress = [(chapter.title, len(chapter.steps)) for chapter in story_chapters(stage)]
        shown = [(chapter.title, chapter.steps) for chapter in player.state.chapters]
    last, steps = progress[-1]
    assert shown == [*progress[:-1], (last, steps + 1)]

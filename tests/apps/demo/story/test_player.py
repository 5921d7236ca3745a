"""The player plays one thing at a time, in any order, and tells how far each chapter is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.demo.story.player import Player
from apps.demo.story.shows import ENGINES, SHOWS, Show
from apps.demo.story.story import Chapter, HandAct, Script, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage

WAIT_S = 10.0


class Playlist:
    """A script that writes down what was played, and can be held or made to fail at a step."""

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
                assert self.held.wait(WAIT_S)
                if name in self.failing:
                    raise ShowError(f"no {name} today")
                self.played.append(name)
                return f"{name} happened"

            return Step(name, act, ("sense",), f"/ui/{name}")

        def wait() -> str:
            assert self.held.wait(WAIT_S)
            return stage.wait(lambda: "", "what never comes", WAIT_S)

        def endless(_choice: str) -> Chapter:
            return Chapter("Endless", "", [Step("wait", wait)])

        story = [
            Chapter("One", "", [step("a"), step("b")]),
            Chapter("Two", "", [step("c"), step("d")]),
        ]
        by_hand = [
            HandAct(
                "wave", "Wave", "Hand", ("left", "right"), lambda hand: Chapter("Wave", "", [step(hand)])
            ),
            HandAct("endless", "Endless", "", (), endless),
        ]
        return Script(story, by_hand)


@pytest.fixture
def playlist() -> Playlist:
    return Playlist()


@pytest.fixture
def player(tmp_path: Path, playlist: Playlist) -> Iterator[Player]:
    with Stage(tmp_path, ENGINES) as stage, Player(stage, playlist) as player:
        yield player


def states(player: Player) -> list[str]:
    return [chapter.state for chapter in player.told.chapters]


def test_next_goes_step_by_step_and_play_goes_to_the_end(player: Player, playlist: Playlist):
    assert player.told.upcoming == "a"
    player.next()
    player.wait(WAIT_S)
    assert (states(player), player.told.upcoming, player.told.page) == (["paused", "not yet"], "b", "/ui/a")
    player.play()
    player.wait(WAIT_S)
    assert (states(player), player.told.upcoming) == (["done", "done"], "")
    assert playlist.played == ["a", "b", "c", "d"]
    assert [line.evidence for line in player.told.chapters[1].lines] == ["c happened", "d happened"]


def test_any_chapter_can_be_played_first_and_again(player: Player, playlist: Playlist):
    for number in (1, 0, 1):
        player.chapter(number)
        player.wait(WAIT_S)
    assert playlist.played == ["c", "d", "a", "b", "c", "d"]
    assert len(player.told.chapters[1].lines) == 2


def test_a_step_that_did_not_happen_ends_the_playing_and_next_tries_it_again(
    player: Player, playlist: Playlist
):
    playlist.failing = {"b"}
    player.play()
    player.wait(WAIT_S)
    told = player.told.chapters[0]
    assert (told.state, told.doing, told.reason) == ("failed", "b", "no b today")
    assert playlist.played == ["a"]
    playlist.failing = set()
    player.next()
    player.wait(WAIT_S)
    assert states(player) == ["done", "not yet"]
    assert playlist.played == ["a", "b"]


def test_two_acts_never_run_at_once(player: Player, playlist: Playlist):
    playlist.held.clear()
    player.chapter(1)
    assert player.told.busy == "Two"
    for act in (player.next, player.play, player.reset, lambda: player.by_hand("wave", "left")):
        with pytest.raises(ShowError, match="Two is running"):
            act()
    playlist.held.set()
    player.wait(WAIT_S)
    assert playlist.played == ["c", "d"]


def test_an_act_by_hand_takes_only_what_can_be_chosen(player: Player, playlist: Playlist):
    player.by_hand("wave", "right")
    player.wait(WAIT_S)
    told = player.told.by_hand
    assert told is not None
    assert (told.title, told.state) == ("Wave", "done")
    for name, choice in (("wave", "foot"), ("wave", ""), ("jump", "")):
        with pytest.raises(ShowError, match="no act"):
            player.by_hand(name, choice)
    assert playlist.played == ["right"]


def test_a_stopped_act_fails_at_once_and_the_next_one_plays(player: Player, playlist: Playlist):
    playlist.held.clear()
    player.by_hand("endless")
    player.stop()
    playlist.held.set()
    player.wait(WAIT_S)
    told = player.told.by_hand
    assert told is not None
    assert (told.state, "stopped" in told.reason) == ("failed", True)
    player.next()
    player.wait(WAIT_S)
    assert playlist.played == ["a"]


def test_a_reset_takes_a_fresh_script_and_folder_and_plays_the_first_chapter(
    player: Player, playlist: Playlist
):
    player.play()
    player.wait(WAIT_S)
    player.reset()
    player.wait(WAIT_S)
    assert (states(player), player.told.stage, playlist.scripts) == (["done", "not yet"], 1, 2)
    assert playlist.played[-2:] == ["a", "b"]
    told = player.told.by_hand
    assert told is not None
    assert told.state == "done"


def test_another_show_comes_with_a_reset(player: Player):
    other = replace(ENGINES, title="Others", subjects=("other",))
    player.reset(other)
    player.wait(WAIT_S)
    assert (player.told.show.title, player.told.stage) == ("Others", 1)


def test_a_step_that_breaks_is_told_and_does_not_block_the_show(tmp_path: Path):
    def breaks() -> str:
        raise ZeroDivisionError("a bug")

    def script(_stage: Stage) -> Script:
        return Script([Chapter("One", "", [Step("a", breaks)])], [])

    broken: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, broken.append
    try:
        with Stage(tmp_path, ENGINES) as stage, Player(stage, script) as player:
            player.next()
            player.wait(WAIT_S)
            assert (player.told.busy, states(player)) == ("", ["failed"])
    finally:
        threading.excepthook = before
    assert [each.exc_type for each in broken] == [ZeroDivisionError]


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_the_story_by_hand_has_the_steps_of_the_headless_one_and_ends_with_nodes_that_run(
    tmp_path: Path, show: Show
):
    from apps.demo.story.show import chapters_of

    with Stage(tmp_path, show) as stage, Player(stage) as player:
        told = [(chapter.title, len(chapter.steps)) for chapter in chapters_of(stage)]
        shown = [(chapter.title, chapter.steps) for chapter in player.told.chapters]
    last, steps = told[-1]
    assert shown == [*told[:-1], (last, steps + 1)]

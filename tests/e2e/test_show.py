"""The acts of the show on a real stage, in another order than the story's, and again after a reset.

Each test takes the stage as it finds it: no test needs another one, as no act needs another one.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from apps.demo.screenshots.browser import DESKTOP, find_chromium, open_browser
from apps.demo.story.player import Player, ToldChapter
from apps.demo.story.shows import ENGINES, PATIENTS
from apps.demo.world.processes import Child, Children, ShowError, edgeloop, tail, wait_until
from apps.demo.world.stage import Stage
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ACT_S = 150.0
RESET_S = 20.0


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    folder: Path = tmp_path_factory.mktemp("show")
    with Stage(folder, ENGINES) as stage, Player(stage) as player:
        yield player


def played(player: Player, act: Callable[..., None], *given: object) -> None:
    act(*given)
    player.wait(ACT_S)


def by_hand(player: Player, name: str, choice: str = "") -> ToldChapter:
    played(player, player.by_hand, name, choice)
    told = player.told.by_hand
    assert told is not None
    print(
        told.title, told.state, *(f"  {line.seconds:.1f} s {line.evidence}" for line in told.lines), sep="\n"
    )
    print(told.reason)
    return told


def chapter(player: Player, number: int) -> ToldChapter:
    played(player, player.chapter, number)
    told = player.told.chapters[number]
    print(told)
    return told


def test_a_bad_model_is_stopped_before_anything_was_ever_rolled_out(player: Player):
    told = by_hand(player, "bad-model", "wrong")
    assert told.state == "done", told.reason
    assert "is not in the registry" in told.lines[0].evidence


def test_any_node_is_unplugged_and_plugged_in_again_and_again(player: Player):
    for machine in (ENGINES.subjects[2], ENGINES.subjects[0]):
        assert by_hand(player, "unplug", machine).state == "done"
        assert player.told.unplugged == (machine,)
        told = by_hand(player, "plug-in", machine)
        assert told.state == "done", told.reason
        assert "0 missing, 0 doubled" in told.lines[-1].evidence


def test_the_loop_turns_by_hand_with_a_node_that_was_left_unplugged(player: Player):
    assert by_hand(player, "unplug", ENGINES.subjects[0]).state == "done"
    told = by_hand(player, "inject", "lpt")
    assert told.state == "done", told.reason
    assert not player.told.unplugged
    assert by_hand(player, "work-orders").state == "done"
    told = by_hand(player, "learn")
    assert told.state == "done", told.reason
    assert "passed" in told.lines[-1].evidence
    told = by_hand(player, "roll-out")
    assert told.state == "done", told.reason
    told = by_hand(player, "inject", "lpt")
    assert "has learnt lpt" in told.lines[-1].evidence


def test_the_count_leaves_nodes_that_go_on(player: Player):
    told = chapter(player, len(player.told.chapters) - 1)
    assert told.state == "done", told.reason
    assert "0 lost, 0 doubled" in told.lines[0].evidence
    assert chapter(player, 1).state == "done"


def test_a_reset_gives_a_fresh_stage_in_less_than_20_s_and_an_act_says_what_it_lacks(player: Player):
    assert by_hand(player, "unplug", ENGINES.subjects[1]).state == "done"
    began = time.monotonic()
    played(player, player.reset)
    seconds = time.monotonic() - began
    print(f"reset: {seconds:.1f} s")
    told = player.told
    assert seconds < RESET_S
    assert [each.state for each in told.chapters] == ["done"] + ["not yet"] * (len(told.chapters) - 1)
    assert not told.unplugged
    assert "let the cloud learn first" in by_hand(player, "roll-out").reason
    assert "no new fault" in by_hand(player, "learn").reason
    assert "unplug it first" in by_hand(player, "plug-in", ENGINES.subjects[2]).reason
    assert by_hand(player, "unplug", ENGINES.subjects[1]).state == "done"


def test_one_act_at_a_time_and_a_stopped_one_says_so(player: Player):
    player.by_hand("inject", "bearing")
    with pytest.raises(ShowError, match="Inject a fault is running"):
        player.next()
    player.stop()
    player.wait(PATIENCE_S)
    told = player.told.by_hand
    assert told is not None
    assert re.search("stopped", told.reason)
    wait_until(lambda: not player.told.busy, what="the presenter may choose again", timeout_s=PATIENCE_S)


# ------------------------------------------------------------------------------------------------ the panel


def address(show: Child) -> str:
    """The newest address that the show has printed."""

    def printed() -> list[str]:
        return re.findall(r"http://127\.0\.0\.1:\d+/enter/\S+", show.log.read_text())

    return wait_until(printed, what="the show prints its address", timeout_s=PATIENCE_S, failed=show.death)[
        -1
    ]


def test_the_panel_changes_the_show_plays_a_chapter_and_resets_beside_the_dashboard(
    children: Children, tmp_path: Path
):
    if find_chromium() is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    command = edgeloop("demo", "--no-browser", "--apps", "ecg,industrial", "--data", str(tmp_path / "show"))
    show = children.start("show", command)
    complaints: list[str] = []
    with open_browser() as browser:
        page = browser.new_page(viewport=DESKTOP)
        page.set_default_timeout(60_000)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        first = address(show)
        page.goto(first)
        dashboard = page.frame_locator("iframe")
        dashboard.get_by_role("heading", name="Fleet").wait_for()
        assert page.get_by_text("virtual", exact=True).is_visible()
        assert urllib3.request("GET", first, retries=False).status == 401
        chapters = page.locator(".chapter")
        chapters.nth(0).get_by_text("done", exact=True).wait_for()
        page.get_by_role("button", name="Play chapter 3").press("Enter")
        dashboard.get_by_role("heading", name=PATIENTS.subjects[1]).wait_for()
        chapters.nth(2).get_by_text("done", exact=True).wait_for()
        assert "0 missing, 0 doubled" in chapters.nth(2).inner_text()
        assert serious(page) == []
        page.get_by_role("button", name=ENGINES.title, exact=True).click()
        chapters.nth(0).get_by_text("three virtual engines").wait_for()
        dashboard.get_by_role("heading", name="Fleet").wait_for()
        chapters.nth(0).get_by_text("done", exact=True).wait_for()
        page.get_by_role("button", name="Reset stage").click()
        chapters.nth(0).get_by_text(re.compile("^running")).wait_for()
        chapters.nth(0).get_by_text("done", exact=True).wait_for()
        assert complaints == []
        os.kill(show.pid, signal.SIGINT)
        assert show.wait(40) == 0, tail(show.log)
    assert "every process of the show has ended" in show.log.read_text()


def serious(page: object) -> list[str]:
    """What axe-core finds on the panel; the dashboard has tests of its own."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"iframes": False}).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_the_show_ends_by_itself_after_its_minutes(children: Children, tmp_path: Path):
    show = children.start(
        "show", edgeloop("demo", "--no-browser", "--minutes", "0.02", "--data", str(tmp_path / "show"))
    )
    assert show.wait(PATIENCE_S) == 0, tail(show.log)

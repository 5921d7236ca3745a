"""Manual actions on a real stage, in another order than the story's, and the panel in a browser.

The tests share one stage and depend on no order, as the actions do.
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
from apps.demo.story.player import ChapterProgress, Player
from apps.demo.world.processes import Child, Children, ShowError, edgeloop, tail, wait_until
from apps.demo.world.shows import ENGINES, PATIENTS
from apps.demo.world.stage import Stage
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    folder: Path = tmp_path_factory.mktemp("show")
    with Stage(folder, ENGINES) as stage, Player(stage) as player:
        yield player


def play(player: Player, control: Callable[..., None], *arguments: object) -> None:
    control(*arguments)
    player.wait(PATIENCE_S)


def run_action(player: Player, name: str, choice: str = "") -> ChapterProgress:
    play(player, player.run_action, name, choice)
    progress = player.state.action
    assert progress is not None
    print(
        progress.title,
        progress.state,
        *(f"  {each.seconds:.1f} s {each.evidence}" for each in progress.results),
        sep="\n",
    )
    print(progress.reason)
    return progress


def chapter(player: Player, number: int) -> ChapterProgress:
    play(player, player.play_chapter, number)
    progress = player.state.chapters[number]
    print(progress)
    return progress


def test_a_bad_model_is_stopped_before_the_first_rollout(player: Player):
    progress = run_action(player, "bad-model", "wrong")
    assert progress.state == "done", progress.reason
    assert "was refused by the registry" in progress.results[0].evidence


def test_any_network_is_cut_and_restored_repeatedly(player: Player):
    for machine in (ENGINES.subjects[2], ENGINES.subjects[0]):
        assert run_action(player, "unplug", machine).state == "done"
        assert player.state.unplugged == (machine,)
        progress = run_action(player, "plug-in", machine)
        assert progress.state == "done", progress.reason
        assert "0 missing, 0 duplicated" in progress.results[-1].evidence


def test_a_manual_learning_round_restores_an_unplugged_node(player: Player):
    assert run_action(player, "unplug", ENGINES.subjects[0]).state == "done"
    progress = run_action(player, "inject", "lpt")
    assert progress.state == "done", progress.reason
    assert not player.state.unplugged
    assert run_action(player, "work-orders").state == "done"
    progress = run_action(player, "learn")
    assert progress.state == "done", progress.reason
    assert "passed" in progress.results[-1].evidence
    progress = run_action(player, "roll-out")
    assert progress.state == "done", progress.reason
    progress = run_action(player, "inject", "lpt")
    assert "has learnt lpt" in progress.results[-1].evidence


def test_the_count_leaves_running_nodes(player: Player):
    progress = chapter(player, len(player.state.chapters) - 1)
    assert progress.state == "done", progress.reason
    assert "0 lost, 0 duplicated" in progress.results[0].evidence
    assert chapter(player, 1).state == "done"


def test_a_reset_gives_a_new_stage_and_an_action_names_what_it_lacks(player: Player):
    assert run_action(player, "unplug", ENGINES.subjects[1]).state == "done"
    began = time.monotonic()
    play(player, player.reset)
    seconds = time.monotonic() - began
    print(f"reset: {seconds:.1f} s")
    state = player.state
    assert [each.state for each in state.chapters] == ["done"] + ["not started"] * (len(state.chapters) - 1)
    assert not state.unplugged
    assert "start learning first" in run_action(player, "roll-out").reason
    assert "no new fault" in run_action(player, "learn").reason
    assert "unplug it first" in run_action(player, "plug-in", ENGINES.subjects[2]).reason
    assert run_action(player, "unplug", ENGINES.subjects[1]).state == "done"


def test_one_action_at_a_time_and_a_stopped_one_fails(player: Player):
    player.run_action("inject", "bearing")
    with pytest.raises(ShowError, match="Inject a fault is running"):
        player.next()
    player.stop()
    player.wait(PATIENCE_S)
    progress = player.state.action
    assert progress is not None
    assert re.search("stopped", progress.reason)
    wait_until(lambda: not player.state.running, what="nothing runs", timeout_s=PATIENCE_S)


# ------------------------------------------------------------------------------------------------ the panel


def address(show: Child) -> str:
    """The newest address that the show has printed."""

    def printed() -> list[str]:
        return re.findall(r"http://127\.0\.0\.1:\d+/enter/\S+", show.log.read_text())

    return wait_until(
        printed, what="the show prints its address", timeout_s=PATIENCE_S, failed=show.exit_report
    )[-1]


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
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
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
        assert "0 missing, 0 duplicated" in chapters.nth(2).inner_text()
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
        assert show.wait(PATIENCE_S) == 0, tail(show.log)
    assert "every process of the show has ended" in show.log.read_text()


def serious(page: object) -> list[str]:
    """Findings of axe-core on the panel; the dashboard has tests of its own."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"iframes": False}).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_the_show_ends_by_itself_after_its_minutes(children: Children, tmp_path: Path):
    show = children.start(
        "show", edgeloop("demo", "--no-browser", "--minutes", "0.02", "--data", str(tmp_path / "show"))
    )
    assert show.wait(PATIENCE_S) == 0, tail(show.log)

"""An operator changes the app's settings on one node: applied between two readings, kept, and answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.app.edge import EdgeContext
from common.app.events import fields_of
from common.clock import anchored_clock
from common.config.node import NodeSettings
from common.edge.node_models import NodeModels
from common.edge.update.app_settings import KEPT, AppSettings
from common.edge.update.settings_changes import SETTINGS_TYPE
from common.errors import ReadingError
from common.messages import Event, Hint, SettingsChange, decode, encode
from tests.builders import SumsEdge, make_app
from tests.updates import APP, SOAK, NodeKit, UpdateSite, adopt


class Floor(msgspec.Struct, frozen=True):
    title: str
    level: int = 0


class Floors(msgspec.Struct, frozen=True):
    """Settings of which a change can name a part."""

    floors: dict[str, Floor] = {}


def send(node: NodeKit, version: int, **settings: Any) -> list[dict[str, Any]]:
    """Send a change and execute it; the node's answers."""
    node.update_client.requests.submit(Hint("settings", change=SettingsChange(version, settings)))
    node.update_client.requests.execute()
    return answers(node)


def answers(node: NodeKit) -> list[dict[str, Any]]:
    found = [each for each in node.feed(1) if isinstance(each, Event) and each.type == SETTINGS_TYPE]
    return [dict(fields_of(each)) for each in found]


def alarm_above(node: NodeKit) -> float:
    return node.adoption._pair.live.app._settings.alarm_above  # type: ignore[attr-defined]  of the app below


def count(node: NodeKit) -> int:
    """Readings that the app has counted: its state."""
    (event,) = [each for each in node.feed(1) if isinstance(each, Event) and each.type == "sums.value"]
    return int(fields_of(event)["count"])


def test_a_change_is_applied_answered_and_continues_the_state(node: NodeKit) -> None:
    before = count(node)
    (answer,) = send(node, 1, alarm_above=7.0)
    assert (answer["version"], answer["outcome"], answer["holds"]) == (1, "applied", 1)
    assert alarm_above(node) == 7.0
    assert count(node) == before + 2


def test_a_change_survives_a_restart(node: NodeKit) -> None:
    send(node, 3, alarm_above=7.0)
    again = node.restarted()
    assert (alarm_above(again), again.app_settings.version) == (7.0, 3)


def test_the_highest_version_wins_and_a_lower_one_is_refused(node: NodeKit) -> None:
    send(node, 5, alarm_above=7.0)
    (answer,) = send(node, 4, alarm_above=1.0)
    assert (answer["outcome"], answer["reason"], answer["holds"]) == ("refused", "rollback", 5)
    assert alarm_above(node) == 7.0


def test_a_change_that_comes_twice_is_answered_twice_and_applied_once(node: NodeKit) -> None:
    send(node, 5, alarm_above=7.0)
    switches = node.adoption.switches
    (answer,) = send(node, 5, alarm_above=7.0)
    assert (answer["outcome"], node.adoption.switches) == ("applied", switches)


def test_another_change_of_the_version_that_holds_is_not_taken_for_it(node: NodeKit) -> None:
    """Of a cloud that was restored from a backup."""
    send(node, 5, alarm_above=7.0)
    (answer,) = send(node, 5, alarm_above=8.0)
    assert (answer["outcome"], answer["reason"], answer["holds"]) == ("refused", "rollback", 5)
    assert "another change of version 5" in answer["detail"]
    assert alarm_above(node) == 7.0


def test_of_changes_that_wait_the_highest_version_counts(node: NodeKit) -> None:
    for version in (2, 4, 3):
        change = SettingsChange(version, {"alarm_above": float(version)})
        node.update_client.requests.submit(Hint("settings", change=change))
    node.update_client.requests.execute()
    assert [each["version"] for each in answers(node)] == [4]
    assert alarm_above(node) == 4.0


@pytest.mark.parametrize(
    ("settings", "reason", "detail"),
    [
        ({"alarm_abov": 1.0}, "settings", "did you mean alarm_above"),
        ({"alarm_above": "high"}, "settings", "alarm_above"),
        ({"sample_every": 1}, "own", "sample_every is decided on the node"),
        ({"sample_every": None}, "own", "sample_every"),
        ({"alarm_above": 1e301}, "settings", "too large a number"),
    ],
)
def test_a_wrong_change_is_refused_with_its_reason_and_nothing_changes(
    node: NodeKit, settings: dict[str, Any], reason: str, detail: str
) -> None:
    send(node, 1, alarm_above=7.0)
    (answer,) = send(node, 2, **settings)
    assert (answer["outcome"], answer["reason"], answer["holds"]) == ("refused", reason, 1)
    assert detail in answer["detail"]
    assert alarm_above(node) == 7.0
    assert node.restarted().app_settings.version == 1


def test_a_change_waits_for_the_end_of_a_trial(node: NodeKit, site: UpdateSite) -> None:
    adopt(node, site, "v2")
    (answer,) = send(node, 1, alarm_above=7.0)
    assert (answer["outcome"], answer["reason"]) == ("waiting", "trial")
    assert not node.update_client.requests.ready
    node.feed(SOAK + 5)
    assert node.update_client.requests.ready
    node.update_client.requests.execute()
    assert [each["outcome"] for each in answers(node)] == ["applied"]
    assert alarm_above(node) == 7.0


def test_a_change_that_holds_does_not_wait_for_a_trial(node: NodeKit, site: UpdateSite) -> None:
    send(node, 1, alarm_above=7.0)
    adopt(node, site, "v2")
    (answer,) = send(node, 1, alarm_above=7.0)
    assert answer["outcome"] == "applied"


def test_a_change_of_what_a_deployment_set_survives_a_restart(site: UpdateSite, tmp_path: Path) -> None:
    spec = replace(make_app(site.starter.path, APP), settings=Floors)
    deployed = {"floors": {"cellar": {"title": "Cellar"}}}
    settings = AppSettings(spec, {}, tmp_path, {})
    settings.propose(SettingsChange(3, {"floors": {"cellar": {"level": -1}}}), deployed)
    settings.accept()
    again = AppSettings(spec, {}, tmp_path, deployed)
    assert (again.problem, again.version) == ("", 3)
    assert again.settings(deployed).floors["cellar"] == Floor("Cellar", -1)


def test_a_request_for_the_previous_model_behind_a_change_is_not_lost(
    node: NodeKit, site: UpdateSite
) -> None:
    adopt(node, site, "v2")
    node.feed(SOAK + 5)
    requests = node.update_client.requests
    requests.submit(Hint("settings", change=SettingsChange(1, {"alarm_above": 7.0})))
    requests.execute()
    requests.submit(Hint("revert", "v2"))
    requests.execute()
    node.feed(1)
    assert requests.ready
    requests.execute()
    assert (node.version(), alarm_above(node)) == ("starter-1", 7.0)


def test_the_change_holds_under_the_next_model_and_above_the_deployment(
    node: NodeKit, site: UpdateSite
) -> None:
    send(node, 1, alarm_above=7.0)
    adopt(node, site, "v2", settings={"alarm_above": 50.0, "score": 0.7})
    node.feed(SOAK + 5)
    assert node.version() == "v2"
    assert alarm_above(node) == 7.0
    assert node.adoption._pair.live.app._settings.score == 0.7  # type: ignore[attr-defined]  of the app below


def test_no_deployment_sets_what_the_node_alone_decides(node: NodeKit, site: UpdateSite) -> None:
    adopt(node, site, "v2", settings={"sample_every": 1})
    assert node.version() == "starter-1"
    assert "sample_every is decided on the node" in node.reports("refused")[0]["detail"]


def test_an_app_that_cannot_continue_under_a_change_keeps_its_settings(
    node: NodeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Any, _state: Any) -> None:
        raise ReadingError("not with this state")

    node.feed(1)
    with monkeypatch.context() as patch:
        patch.setattr("tests.builders.SumsEdge.restore", refuse)
        (answer,) = send(node, 1, alarm_above=7.0)
    assert (answer["outcome"], answer["reason"]) == ("refused", "state")
    assert (alarm_above(node), node.app_settings.version) == (1.5, 0)


def test_a_damaged_kept_change_is_left_out_and_reported(node: NodeKit) -> None:
    send(node, 1, alarm_above=7.0)
    (node.folder / KEPT).write_bytes(b'{"version": 1, "settings": {"alarm_abov')
    again = node.restarted()
    assert (alarm_above(again), again.app_settings.version) == (1.5, 0)
    (answer,) = answers(again)
    assert (answer["outcome"], answer["version"]) == ("refused", 0)
    (answer,) = send(again, 2, alarm_above=8.0)
    assert answer["outcome"] == "applied"


class Strict(SumsEdge):
    """The app in another version, which does not start under some settings."""

    def __init__(self, context: EdgeContext) -> None:
        super().__init__(context)
        if context.settings.alarm_above > 5:
            raise ValueError("no alarm above 5")


def test_a_node_starts_without_a_kept_change_under_which_its_app_does_not(
    site: UpdateSite, tmp_path: Path
) -> None:
    (tmp_path / KEPT).write_bytes(msgspec.json.encode(SettingsChange(3, {"alarm_above": 7.0})))
    spec = replace(make_app(site.starter.path, APP), edge=f"{__name__}:Strict")
    models = NodeModels(NodeSettings(app=APP, profile="cpu"), spec, tmp_path, anchored_clock(), killed=False)
    assert models.version == "starter-1"
    assert models.app_settings.version == 0
    assert "no alarm above 5" in models.app_settings.problem


def test_the_hint_carries_the_change_whole() -> None:
    hint = Hint("settings", session="s", number=4, change=SettingsChange(2, {"cameras": {"door": None}}))
    assert decode(encode(hint), Hint) == hint

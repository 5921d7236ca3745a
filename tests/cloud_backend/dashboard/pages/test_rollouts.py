"""Rollouts: waves, the counts that decide, failed nodes, and the form that starts one."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.dashboard.pages import rollouts
from cloud_backend.dashboard.parts import dialogs, waves
from cloud_backend.ota.node_status import State

SECOND = 1_000_000_000
HOSTILE = "<b>now</b>"


def a_rollout(**changes: Any) -> dict[str, Any]:
    return {
        "id": "v2-1",
        "app": "industrial",
        "version": "v2",
        "previous_version": "v1",
        "state": "running",
        "wave": 0,
        "waves": [0.34, 1.0],
        "constraint": {},
        "soak_s": 12.0,
        "serial": 7,
        "reason": "",
        "created_ns": 10 * SECOND,
        "wave_started_ns": 10 * SECOND,
        "ended_ns": None,
        **changes,
    }


def a_node(**changes: Any) -> dict[str, Any]:
    return {
        "node": "engine-2",
        "site": "hall",
        "virtual": True,
        "version": "v1",
        "wave": 1,
        "state": "soaking",
        "outcome": "waiting",
        "step": "switched",
        "reason": "",
        "time_ns": 5,
        "problem": "",
        **changes,
    }


def progress(**changes: Any) -> dict[str, Any]:
    return {
        "state": "running",
        "waves": [
            {
                "number": 1,
                "share": 0.34,
                "state": "running",
                "nodes": 2,
                "states": {"confirmed": 1, "soaking": 1},
            },
            {"number": 2, "share": 1.0, "state": "waiting", "nodes": 4, "states": {"waiting": 4}},
        ],
        "states": {"confirmed": 1, "soaking": 1, "waiting": 4},
        "decision": {
            "nodes": 2,
            "adopted": 1,
            "failed": 0,
            "silent": 0,
            "waiting": 1,
            "pending": 0,
            "withdrawn": 0,
            "failures_to_revert": 1,
            "deadline_ns": 100 * SECOND,
        },
        "problems": {},
        "nodes_total": 6,
        "nodes": [a_node()],
        **changes,
    }


def test_every_state_of_a_node_has_a_colour() -> None:
    assert set(waves.STATES) == {str(state) for state in State}


def test_the_chart_has_a_bar_for_each_wave() -> None:
    options = waves.waves_chart(progress()["waves"])
    assert options["yAxis"]["data"] == ["Wave 1: to 34 %", "Wave 2: to 100 %"]
    series = {each["name"]: each["data"] for each in options["series"]}
    assert series == {"confirmed": [1, None], "soaking": [1, None], "waiting": [None, 4]}
    assert waves.waves_chart([])["series"] == []


def test_the_deciding_counts_are_in_the_tiles() -> None:
    confirmed, failed, silent, undecided = waves.tiles(progress(), now_ns=60 * SECOND)
    assert confirmed[0] == "1 of 2"
    assert failed[:2] == ("0", "reverts at 1 node failed or silent")
    assert silent[2] == ""
    assert undecided[:2] == ("1", "silent after 40 s")


def test_nodes_taken_back_by_an_operator_are_no_failures() -> None:
    decision = progress()["decision"] | {"adopted": 1, "withdrawn": 1, "waiting": 0}
    confirmed, failed, _, undecided = waves.tiles(progress(decision=decision), now_ns=0)
    assert confirmed[:2] == ("1 of 2", "nodes of the waves so far; 1 taken back by an operator")
    assert (failed[0], undecided[1]) == ("0", "all nodes of this wave have answered")
    decision |= {"adopted": 0, "withdrawn": 2}
    assert (
        waves.tiles(progress(decision=decision), now_ns=0)[3][1]
        == "all were taken back: halt or revert the rollout"
    )
    row = waves.node_row(a_node(state="withdrawn", reason="operator", outcome="withdrawn"))
    assert (row["state"], row["reason"]) == ("withdrawn", "by an operator")


def test_a_rollout_that_has_ended_decides_nothing() -> None:
    nodes = [a_node(state="waiting", outcome="silent")]
    ended = progress(state="reverted", decision=None, states={"confirmed": 1, "refused": 1}, nodes=nodes)
    confirmed, failed, silent, _ = waves.tiles(ended, now_ns=0)
    assert confirmed == ("1 of 6", "not reverted yet", "warn")
    assert (failed[0], failed[2], silent[0]) == ("1", "bad", "1")
    assert waves.tiles(progress(state="done", decision=None), now_ns=0)[0][1] == "nodes of all waves"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Wave 1 of 2 is running, started 5 s ago."),
        ({"state": "halted", "reason": "a look"}, "Halted in wave 1 of 2: a look."),
        ({"state": "reverted", "reason": HOSTILE}, f"Reverted to v1: {HOSTILE}."),
        (
            {"state": "reverted", "previous_version": "", "reason": "n1 failed"},
            "Reverted to the bundled model of each node: n1 failed.",
        ),
        ({"state": "done", "wave": 1}, "Done in 2 waves."),
    ],
)
def test_a_rollout_in_one_sentence(changes: dict[str, Any], text: str) -> None:
    assert waves.sentence(a_rollout(**changes), now_ns=15 * SECOND) == text


def test_waves_as_text() -> None:
    assert waves.counts(progress()) == (
        "Wave 1 (running): 1 confirmed, 1 soaking. Wave 2 (waiting): 4 waiting."
    )


def test_a_node_has_its_reason_and_is_marked_as_virtual() -> None:
    row = waves.node_row(a_node(state="refused", reason="golden", outcome="failed"))
    assert (row["state"], row["state_tone"], row["virtual"]) == ("refused", "bad", "virtual")
    assert row["reason"] == "golden cases failed or were too slow"
    silent = waves.node_row(a_node(outcome="silent", reason="unreachable", state="retrying"))
    assert silent["reason"] == "no answer in time; download failed"
    assert waves.node_row(a_node(reason=HOSTILE))["reason"] == HOSTILE


def test_history_has_the_outcome() -> None:
    row = waves.history_row(a_rollout(state="reverted", ended_ns=17 * SECOND, reason="n1 failed"))
    assert (row["waves"], row["took"], row["reason"]) == ("1 of 2", "7 s", "n1 failed")
    assert row["rollout_href"] == "/ui/rollouts/industrial/v2-1"
    assert waves.history_row(a_rollout())["took"] == ""


def test_details_name_the_nodes_of_a_rollout() -> None:
    assert rollouts.details_of(a_rollout())["Nodes"] == "all nodes of the app"
    bound = a_rollout(constraint={"sites": ["hall"], "nodes": ["n1", "n2"], "tags": []})
    assert rollouts.details_of(bound)["Nodes"] == "sites hall; nodes n1, n2"


def test_failed_steps_are_marked() -> None:
    step = {"node": "n1", "time_ns": 1, "step": "refused", "ok": False, "version": "v2", "from_version": ""}
    row = rollouts.step_row({**step, "reason": "golden"}, 0)
    assert (row["step_tone"], row["before"], row["reason"]) == ("bad", "–", "golden")


@pytest.mark.parametrize(
    ("text", "shares"),
    [("34, 100", [0.34, 1.0]), ("100", [1.0]), (" 10 %, 50%, 100 ", [0.1, 0.5, 1.0])],
)
def test_waves_are_growing_percentages(text: str, shares: list[float]) -> None:
    assert dialogs.parse_waves(text) == shares


@pytest.mark.parametrize(
    "text", ["", "50", "100, 50", "0, 100", "50, 50, 100", "half, 100", "nan, 100", "-1, 100"]
)
def test_invalid_waves_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid waves"):
        dialogs.parse_waves(text)


def test_the_request_of_a_rollout() -> None:
    assert dialogs.rollout_body("v2", "100", None, "", "") == {"version": "v2", "waves": [1.0]}
    assert dialogs.rollout_body("v2", "34, 100", 5, "hall, yard", "n1 n2") == {
        "version": "v2",
        "waves": [0.34, 1.0],
        "soak_s": 5.0,
        "constraint": {"sites": ["hall", "yard"], "nodes": ["n1", "n2"]},
    }
    for version, soak_s in (("", None), ("v2", 0), ("v2", -1)):
        with pytest.raises(ValueError, match=r"version|soak"):
            dialogs.rollout_body(version, "100", soak_s, "", "")


def test_only_deployable_versions_are_offered() -> None:
    listed = [
        {"version": version, "state": state, "created_ns": created_ns}
        for version, state, created_ns in [
            ("v4", "refused", 4),
            ("v3", "approved", 3),
            ("v2", "production", 2),
            ("v1", "retired", 1),
            ("starter", "retired", 0),
        ]
    ]
    assert dialogs.deployable_versions(listed) == ["v3", "v1"]


def test_nodes_that_cannot_check_for_updates_are_named_with_the_reason() -> None:
    assert waves.problems(progress()) == ""
    text = waves.problems(progress(problems={"rollback": 2}))
    assert text == "Nodes that cannot check for updates: 2 nodes: metadata older than the node's."
    row = waves.node_row(a_node(problem="rollback"))
    assert row["reason"] == "cannot check for updates: metadata older than the node's"


def test_pending_nodes_are_counted_as_undecided() -> None:
    decision = progress()["decision"] | {"waiting": 0, "pending": 1}
    _, failed, silent, undecided = waves.tiles(progress(decision=decision), now_ns=60 * SECOND)
    assert (failed[0], silent[0], undecided[0], undecided[2]) == ("0", "0", "1", "warn")
    assert "1 node pending" in undecided[1]

"""The pages' rows and words, from what the API gives."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from apps.industrial.pages.closed_work_orders import error_text, finding_text, order_row
from apps.industrial.pages.machine_text import (
    doubts_of,
    horizon_of,
    last_cycle_of,
    machine_href,
    sensor_rows,
    span_of,
    why,
)
from apps.industrial.pages.machines import machine_row
from common.pages import ApiClient, VirtualNodes


def machine(**more: Any) -> dict[str, Any]:
    return {
        "machine": "engine 1/a", "site": "plant", "node": "node-1", "run": 3, "cycle": 40, "rul_cycles": 37.2,
        "lower_cycles": 25.0, "upper_cycles": 43.4, "novelty": 0.241, "version": "v1", "due": True,
        "explanation": ["Ps30", "phi"], "horizon_cycles": 30.0, "withheld": "", "reason": "",
        "sensor_faults": {},
        "horizon_is_default": False, "time_ns": 5, "time_quality": "",
    } | more  # fmt: skip


def order(**more: Any) -> dict[str, Any]:
    return {
        "machine": "engine-1", "run": 3, "kind": "failure", "cycle": 100, "remaining_cycles": 0, "points": 90,
        "withheld": 0,
        "note": "fan\nblade 7", "rmse_cycles": 6.91, "bias_cycles": 2.06, "versions": ["v1", "v2"],
        "created_ns": 9,
    } | more  # fmt: skip


def test_a_machine_under_its_horizon_is_shown_so_with_its_interval() -> None:
    row = machine_row(machine(), {"node-1"})
    assert (row["left"], row["left_text"], row["left_tone"]) == (0.2, "37 (25–43)", "bad")
    assert (row["alarm"], row["virtual"], row["novelty"]) == ("due: Ps30, phi", "virtual", "0.24")
    assert row["machine_href"] == "/ui/apps/industrial/machines/engine%201%2Fa"


def test_an_unknown_life_and_a_faulty_sensor_are_shown_with_their_reasons() -> None:
    unknown = machine(
        rul_cycles=None, lower_cycles=None, upper_cycles=None, withheld="novel", reason="unlike anything",
        sensor_faults={"T24": "T24 reads 0"},
    )  # fmt: skip
    row = machine_row(unknown, set())
    assert row["left_text"] == "not known: unlike what the model knows"
    assert (row["left"], row["left_tone"], row["sensors"]) == (0.0, "", "T24")
    assert doubts_of(unknown) == [
        "The remaining life is withheld: unlike anything.",
        "The maintenance alarm stays open: an unknown remaining life does not clear it.",
        "Sensor fault: T24 reads 0. Its values are not used.",
    ]
    assert doubts_of(machine()) == []


def test_a_horizon_that_no_alarm_has_reported_is_called_the_default() -> None:
    assert horizon_of(machine()) == "horizon 30 cycles"
    assert (
        horizon_of(machine(horizon_is_default=True)) == "horizon 30 cycles, the default until its first alarm"
    )


def test_a_machine_that_is_well_has_no_alarm() -> None:
    row = machine_row(machine(due=False, explanation=[], lower_cycles=60.0, novelty=1.4), set())
    assert (row["alarm"], row["left_tone"], row["virtual"], row["novelty"]) == ("", "", "", "1.40 novel")


@pytest.mark.parametrize(
    ("bias", "leaning"),
    [(2.06, "2.1 too high"), (-3.0, "3.0 too low"), (0.2, "neither too high nor too low")],
)
def test_a_closed_run_shows_how_far_off_the_edge_was(bias: float, leaning: str) -> None:
    text = error_text(order(bias_cycles=bias))
    assert text.startswith("Over 90 cycles the edge was off by 6.9 cycles")
    assert leaning in text


def test_a_run_that_no_node_watched_has_nothing_to_compare_with() -> None:
    unwatched = order(points=0, rmse_cycles=None, bias_cycles=None)
    assert "No node had watched" in error_text(unwatched)
    unknown = unwatched | {"withheld": 90}
    assert error_text(unknown) == "In none of 90 cycles was the remaining life known."
    assert order_row(unknown)["error"] == "not known"
    assert error_text(order(withheld=7)).endswith("In 7 cycles it was not known.")
    assert (order_row(unwatched)["error"], order_row(unwatched)["bias"]) == ("not watched", "")


def test_a_work_order_is_a_row_with_the_first_line_of_its_note() -> None:
    row = order_row(order())
    assert (row["fault"], row["error"], row["bias"]) == ("fan", "6.9 cycles", "+2.1")
    assert row["run_href"] == f"{machine_href('engine-1')}?run=3"
    assert (
        finding_text(order(kind="inspection", remaining_cycles=12))
        == "inspection at cycle 100, 12 cycles left"
    )


def alarm(**more: Any) -> dict[str, Any]:
    ended = {"cleared_cycle": None, "reason": ""}
    return {"cycle": 80, "version": "v1", "horizon_cycles": 30.0, **ended} | more


def test_an_alarm_shows_its_begin_and_whether_it_stands() -> None:
    assert "no maintenance alarm" in why([])
    assert "Raised at cycle 80 by model v1" in why([alarm()])
    assert "It is open." in why([alarm()])
    ended = why([alarm(cleared_cycle=90, reason="recovered"), alarm(cycle=20)])
    assert "ended at cycle 90 (recovered)" in ended
    assert "newest of 2" in ended


def test_sensors_behind_an_alarm_are_measured_against_the_strongest() -> None:
    rows = sensor_rows({"Ps30": 8.0, "own": -4.0})
    assert [(row["sensor"], row["share"], row["share_text"]) for row in rows] == [
        ("Ps30 (psia)", 1.0, "8.0"), ("own", 0.5, "-4.0"),
    ]  # fmt: skip


def test_a_long_run_names_the_cycles_shown() -> None:
    run = {"first_cycle": 1, "last_cycle": 900}
    assert span_of(run, [{"cycle": 1}]) == "Cycles 1 to 900."
    assert span_of(run, [{"cycle": 401}] * 500) == "Cycles 1 to 900, of which the last 500 are shown."
    assert span_of(None, []) == ""


@pytest.mark.parametrize(
    ("fleet_virtual", "virtual", "expected"), [(3, {"a", "b"}, 1), (0, set[str](), 1), (1, {"b"}, 3)]
)
def test_nodes_are_requested_one_by_one_only_where_the_fleet_is_mixed(
    fleet_virtual: int, virtual: set[str], expected: int
) -> None:
    requests: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request.url.path)
        if request.url.path == "/v1/fleet":
            return httpx.Response(200, json={"nodes": 3, "virtual": fleet_virtual})
        return httpx.Response(200, json={"virtual": request.url.path.endswith("/b")})

    async def ask_twice() -> tuple[set[str], set[str]]:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://cloud")
        async with client:
            nodes = VirtualNodes(ApiClient(client, "token"))
            return await nodes.among(["a", "b"]), await nodes.among(["b", "a"])

    assert asyncio.run(ask_twice()) == (virtual, virtual)
    assert len(requests) == expected


def test_the_time_of_a_last_cycle_shows_the_doubts_about_it() -> None:
    doubtful = machine(time_quality="unknown")
    assert machine_row(doubtful, set())["time_note"] == "clock not set, time unknown"
    assert last_cycle_of(doubtful).endswith(" ago (clock not set, time unknown)")
    assert machine_row(machine(), set())["time_note"] == ""
    assert last_cycle_of(machine()).endswith(" ago")

"""Work orders: errors of the edge's estimates, known at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from apps.industrial.cloud.projection import IndustrialCloud
from apps.industrial.cloud.work_orders import WorkOrder, is_work_order, label_of, outcome_of
from common.app.training import Label
from tests.apps.industrial.received import rul

APP = IndustrialCloud()
GOOD: dict[str, Any] = {"machine": "engine-1", "run": 0, "kind": "failure", "cycle": 200}


def label(kind: str, **body: Any) -> Label:
    return Label("industrial", "engine-1", "engine-1/run-0", kind, body, "work-order", 1)


def test_a_failure_shows_how_wrong_the_edge_had_been(session: Session) -> None:
    APP.project(session, [rul(c, c, r) for c, r in ((1, 103), (2, 101), (3, 97))] + [rul(9, 1, 7, run=1)])
    found = outcome_of(session, label("failure", cycle=100))
    assert (found.points, found.end_cycle, found.versions) == (3, 100, ["v1"])
    assert found.rmse_cycles == pytest.approx(((4**2 + 3**2 + 0**2) / 3) ** 0.5)
    assert found.bias_cycles == pytest.approx((4 + 3 + 0) / 3)


def test_error_is_measured_against_the_capped_life(session: Session) -> None:
    APP.project(session, [rul(1, 1, 125), rul(2, 2, 125)])
    assert outcome_of(session, label("failure", cycle=300)).rmse_cycles == 0


def test_an_inspection_counts_with_what_was_left(session: Session) -> None:
    APP.project(session, [rul(1, 10, 50)])
    found = outcome_of(session, label("inspection", cycle=20, remaining_cycles=40))
    assert (found.end_cycle, found.rmse_cycles) == (60, 0)


def test_a_run_that_no_node_watched_has_no_error(session: Session) -> None:
    found = outcome_of(session, label("failure", cycle=20))
    assert (found.points, found.rmse_cycles, found.bias_cycles) == (0, None, None)


@pytest.mark.parametrize(
    "change", [{"machine": ""}, {"run": -1}, {"kind": "wish"}, {"cycle": 0}, {"remaining_cycles": -1}]
)
def test_a_work_order_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    WorkOrder(**GOOD)
    with pytest.raises(ValueError, match=next(iter(change))):
        WorkOrder(**GOOD | change)


def test_any_label_is_distinguished_from_one_that_ends_a_run() -> None:
    assert is_work_order(label_of(WorkOrder(**GOOD)))
    assert is_work_order(label("inspection", cycle=3))
    for other in (label("comment", cycle=3), label("failure"), label("failure", cycle="many")):
        assert not is_work_order(other)
    assert not is_work_order(Label("industrial", "m", "m", "failure", {"cycle": 3}, "person", 1))

"""Progress of a rollout in the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete
from sqlmodel import Session, col
from starlette.testclient import TestClient

from cloud_backend.api.schemas.rollout_progress import progress_of
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Adoption, Node, RolloutRow
from common.config.cloud import RolloutSettings
from tests.cloud_backend.learner import NAME

SECOND = 1_000_000_000
NOW_NS = 1_000 * SECOND
SETTINGS = RolloutSettings(silence_s=100.0, failure_share=0.1)


def rollout(**changes: Any) -> RolloutRow:
    known: dict[str, Any] = {
        "id": "r1",
        "app": NAME,
        "version": "v2",
        "previous_version": "v1",
        "state": "running",
        "waves": [0.5, 1.0],
        "soak_s": 10.0,
        "created_ns": NOW_NS - 20 * SECOND,
        "wave_started_ns": NOW_NS - 20 * SECOND,
    }
    return RolloutRow(**(known | changes))


def nodes(count: int, prefix: str = "n") -> list[Node]:
    return [
        Node(name=f"{prefix}{number}", site="s", app=NAME, version="v1", last_seen_ns=NOW_NS)
        for number in range(count)
    ]


def adoption(node: str, seq: int, step: str, *, reason: str = "", version: str = "v2") -> Adoption:
    return Adoption(
        stream_id=77,
        seq=seq,
        node=node,
        app=NAME,
        version=version,
        step=step,
        ok=not reason,
        reason=reason,
        rollout="r1",
        time_ns=NOW_NS,
        received_ns=NOW_NS + seq,
    )


def test_waves_states_and_what_decides_are_counted(engine: Engine) -> None:
    steps = [
        adoption("n0", 1, "offered"),
        adoption("n0", 2, "golden"),
        adoption("n1", 3, "offered"),
        adoption("n1", 4, "confirmed"),
        adoption("n1", 5, "offered", version="v1"),
        adoption("n2", 6, "refused", reason="latency"),
    ]
    strangers = [Node(name="other", site="s", app="another", last_seen_ns=NOW_NS)]
    with Session(engine) as session:
        session.add_all([rollout(wave=1), *nodes(20), *strangers, *steps])
        session.commit()
        row = session.get(RolloutRow, "r1")
        assert row is not None
        found = progress_of(session, row, SETTINGS, 0, NOW_NS)
    assert found.states == {"waiting": 17, "shadow": 1, "confirmed": 1, "refused": 1}
    assert [wave.state for wave in found.waves] == ["done", "running"]
    assert sum(wave.nodes for wave in found.waves) == found.nodes_total == 20
    assert [node.node for node in found.nodes][:2] == ["n2", "n0"]
    assert (found.nodes[0].reason, found.nodes[0].outcome) == ("latency", "failed")
    decision = found.decision
    assert decision is not None
    assert (decision.nodes, decision.adopted, decision.failed, decision.silent) == (20, 1, 1, 0)
    assert decision.failures_to_revert == 2
    assert decision.deadline_ns == row.wave_started_ns + 110 * SECOND


def test_a_rollout_that_has_ended_waits_for_nobody(engine: Engine) -> None:
    late = Node(name="late", site="s", app=NAME, last_seen_ns=NOW_NS, enrolled_ns=NOW_NS)
    with Session(engine) as session:
        session.add_all([rollout(state="done", wave=1, ended_ns=NOW_NS - 1), *nodes(3), late])
        session.commit()
        row = session.get(RolloutRow, "r1")
        assert row is not None
        found = progress_of(session, row, SETTINGS, 0, NOW_NS + 10**15)
    assert found.decision is None
    assert found.nodes_total == 3
    assert {wave.state for wave in found.waves} == {"done"}
    assert {node.outcome for node in found.nodes} == {"waiting"}


def test_only_nodes_that_the_rollout_means_are_counted(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([rollout(constraint={"nodes": ["n1", "n2"]}), *nodes(5)])
        session.add(Node(name="absent", site="s", app=NAME, last_seen_ns=0))
        session.commit()
        row = session.get(RolloutRow, "r1")
        assert row is not None
        found = progress_of(session, row, RolloutSettings(max_absence_s=10.0), 0, NOW_NS)
    assert sorted(node.node for node in found.nodes) == ["n1", "n2"]


@pytest.fixture
def crowd(cloud: Cloud) -> Iterator[int]:
    """A rollout of 260 nodes in the cloud behind the API."""
    with Session(cloud.engine) as session:
        session.add_all([rollout(), *nodes(260, "crowd-")])
        session.commit()
    yield 260
    with Session(cloud.engine) as session:
        session.execute(delete(RolloutRow).where(col(RolloutRow.id) == "r1"))
        session.execute(delete(Node).where(col(Node.name).like("crowd-%")))
        session.commit()


def test_all_nodes_are_counted_and_200_are_listed(admin: TestClient, crowd: int) -> None:
    answer = admin.get(f"/v1/apps/{NAME}/rollouts/r1/progress")
    assert answer.status_code == 200, answer.text
    progress = answer.json()
    assert progress["nodes_total"] == sum(wave["nodes"] for wave in progress["waves"]) == crowd
    assert len(progress["nodes"]) == 200
    assert progress["states"] == {"waiting": crowd}


def test_progress_of_what_is_not_there(admin: TestClient, node: TestClient, crowd: int) -> None:
    assert admin.get(f"/v1/apps/{NAME}/rollouts/absent/progress").status_code == 404
    assert admin.get("/v1/apps/industrial/rollouts/r1/progress").status_code == 404
    assert node.get(f"/v1/apps/{NAME}/rollouts/r1/progress").status_code == 403

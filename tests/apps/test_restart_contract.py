"""Restart contract of installed apps: killed at any point, an app continues as if it had not been.

Through the node's own deciding and keeping, where the state is a checkpoint and the readings behind it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from common.app.edge import Reading
from common.app.spec import AppSpec
from common.authoring.check import AppUnderCheck
from tests.apps.contract import installed, names
from tests.restarts import Decider, app_events

READINGS = 260
RESTARTS = 25


@pytest.fixture(scope="module", params=names())
def spec(request: pytest.FixtureRequest) -> AppSpec:
    return installed()[request.param]


@pytest.fixture(scope="module")
def readings(spec: AppSpec) -> list[Reading]:
    return AppUnderCheck(spec, Path()).virtual_readings(READINGS, seed="4")


def test_killed_at_any_point_its_events_are_those_without_a_kill(
    spec: AppSpec, readings: list[Reading], tmp_path: Path
) -> None:
    model = AppUnderCheck(spec, Path()).context.model
    whole = Decider(tmp_path / "whole", spec, model)
    whole.decide(readings)
    whole.commit()
    expected = list(app_events(whole.outbox, spec.name).values())
    assert expected

    chance = random.Random(11)
    killed = Decider(tmp_path / "killed", spec, model)
    replayed = 0
    for _restart in range(RESTARTS):
        for _ in range(chance.randrange(4)):
            rest = [r for r in readings if r.position > killed.position][: chance.randrange(1, 8)]
            killed.decide(rest)
            chance.choice([killed.commit, killed.commit, killed.commit, killed.checkpoint])()
        killed.decide([r for r in readings if r.position > killed.position][: chance.randrange(4)])
        killed.crash()
        replayed += bool(_journal(tmp_path / "killed"))
        killed = Decider(tmp_path / "killed", spec, model)
        assert not killed.processing.platform.problems.count("state")
    # Of frames, which are larger than the state, the state is written instead.
    assert replayed or readings[0].values.ndim == 3, "no restart had readings to decide on again"
    killed.decide([r for r in readings if r.position > killed.position])
    killed.commit()
    got = app_events(killed.outbox, spec.name)
    assert list(got.values()) == expected
    assert killed.position == readings[-1].position
    whole.crash()
    killed.crash()


def _journal(folder: Path) -> list[bytes]:
    from contextlib import closing

    from common.edge.delivery.outbox import Outbox

    with closing(Outbox(folder / "outbox.sqlite", "/s/n", 10**9, lambda: 1, stream="test:")) as outbox:
        return outbox.journal()

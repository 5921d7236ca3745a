"""The age limit of minutes: the sums stay, and late counts do not spoil them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from apps.retail.cloud.retention import MinuteRetention
from apps.retail.cloud.stores import Stores
from common.errors import ConfigError
from tests.apps.retail.cloud.serving import SetClock, client_of, context_of, project
from tests.apps.retail.received import local_ns, minute, zone_minute

SETTINGS: dict[str, Any] = {"stores": {"berlin": {"time_zone": "Europe/Berlin"}}}
OLD, NEW = local_ns("2026-06-01 09:00"), local_ns("2026-07-14 09:00")
MINUTE_NS = 60 * 10**9


def test_old_minutes_go_and_their_sums_stay(engine: Engine) -> None:
    clock = SetClock(local_ns("2026-07-15 09:00"))
    project(engine, [minute(1, OLD, 3), minute(2, NEW, 4), zone_minute(3, OLD)])
    retention = MinuteRetention(context_of(engine, SETTINGS, clock), 30)
    assert (retention.turn(), retention.turn()) == (2, 0)
    project(engine, [minute(9, OLD + MINUTE_NS, 100)])
    with client_of(engine, SETTINGS, clock) as client:

        def entered(day: str) -> int:
            return client.get(f"/stores/berlin/day?day={day}").json()["store"]["entered"]

        assert (entered("2026-06-01"), entered("2026-07-14")) == (3, 4)
        (zone,) = client.get("/stores/berlin/day?day=2026-06-01").json()["zones"]
        assert zone["visits"] == 2
        answer = client.get("/stores/berlin/minutes?camera=door&line=door&day=2026-06-01").json()
        assert answer["items"] == []
        assert OLD < answer["kept_from_ns"] < NEW


def test_counts_three_days_late_are_within_the_least_limit(engine: Engine) -> None:
    clock = SetClock(local_ns("2026-07-17 09:00"))
    MinuteRetention(context_of(engine, SETTINGS, clock), 14).turn()
    project(engine, [minute(1, NEW, 4)])
    with client_of(engine, SETTINGS, clock) as client:
        assert client.get("/stores/berlin/day?day=2026-07-14").json()["store"]["entered"] == 4


def test_a_limit_under_two_weeks_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 14"):
        Stores({"keep_minutes_days": 3})

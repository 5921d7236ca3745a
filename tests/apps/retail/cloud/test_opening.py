"""Opening hours: weekdays, single days, holidays, nights, and settings that cannot be."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from apps.retail.cloud.opening import Calendar, OpeningHours
from apps.retail.cloud.stores import Stores
from common.errors import ConfigError
from tests.apps.retail.received import local_ns

WEEK = OpeningHours(tue=["09:00-13:00", "14:00-20:00"], fri=["22:00-02:00"])
TUESDAY = "2026-07-14"


def is_open(text: str, **values: Any) -> bool:
    calendar = Calendar(WEEK, values.get("special", {}), values.get("holidays", frozenset()), "store")
    return calendar.is_open(datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("time", "expected"),
    [("08:59", False), ("09:00", True), ("12:59", True), ("13:00", False), ("14:00", True), ("20:00", False)],
)
def test_a_span_begins_and_ends(time: str, expected: bool) -> None:
    assert is_open(f"{TUESDAY} {time}") is expected


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    assert [is_open(f"2026-07-{text}") for text in ("17 23:00", "18 01:59", "18 02:00", "17 01:00")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_single_day_is_before_a_holiday_which_is_before_the_week() -> None:
    holidays = frozenset({date(2026, 7, 14)})
    assert not is_open(f"{TUESDAY} 10:00", holidays=holidays)
    assert is_open(f"{TUESDAY} 10:00", holidays=holidays, special={TUESDAY: ["10:00-12:00"]})
    assert not is_open(f"{TUESDAY} 15:00", special={TUESDAY: ["10:00-12:00"]})
    assert not is_open(f"{TUESDAY} 10:00", special={TUESDAY: []})


def test_without_opening_hours_a_store_is_always_open() -> None:
    stores = Stores({})
    assert stores.is_open("anywhere", local_ns("2026-07-14 03:00"))
    assert not stores.is_closed_on("anywhere", date(2026, 7, 14))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opening": {"mon": ["9-20"]}}, r"berlin\.opening\.mon.*'9-20'"),
        ({"opening": {"mon": ["09:10-20:00"]}}, "quarters of an hour"),
        ({"opening": {"mon": ["09:00-25:00"]}}, "25:00"),
        ({"opening": {"mon": ["09:00-13:00", "12:00-20:00"]}}, "overlap"),
        ({"opening": {}, "special_days": {"24.12.2026": []}}, "24.12.2026"),
        ({"special_days": {"2026-12-24": []}}, r"needs .*opening"),
        ({"reset_at": "night"}, r"reset_at.*'night'"),
        ({"entrances": ["door"]}, "entrances"),
        ({"openings": {}}, "opening"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Stores({"stores": {"berlin": settings}})


def test_holidays_without_the_library_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "holidays", None)
    with pytest.raises(ConfigError, match=r"edgeloop\[forecast\]"):
        Stores({"stores": {"berlin": {"holidays": "DE-BE"}}})


def test_public_holidays_of_a_region_are_closed() -> None:
    pytest.importorskip("holidays", reason="the extra forecast is not installed")
    week = {"opening": {"sat": ["09:00-20:00"]}}
    stores = Stores({"stores": {"a": week | {"holidays": "DE-BE"}, "b": week}})
    assert (stores.is_closed_on("a", date(2026, 10, 3)), stores.is_closed_on("b", date(2026, 10, 3))) == (
        True,
        False,
    )
    with pytest.raises(ConfigError, match="XX-YY"):
        Stores({"stores": {"a": {"holidays": "XX-YY"}}})

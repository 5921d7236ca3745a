"""The day picker: addresses of days, and none for one that is still being typed."""

from __future__ import annotations

from apps.retail.pages.day_picker import address, neighbours


def test_a_day_is_part_of_the_address_and_none_is_the_present_day() -> None:
    assert address("/s", "2026-07-14") == "/s?day=2026-07-14"
    assert address("/s", "") == "/s"


def test_a_day_that_is_still_typed_opens_nothing() -> None:
    assert [address("/s", text) for text in ("0002-07-14", "2026-02-30", "2026", "9999-12-31")] == [""] * 4


def test_neighbours_pass_the_end_of_a_year() -> None:
    assert neighbours("/s", "2026-12-31") == [
        ("Day before", "/s?day=2026-12-30"),
        ("Day after", "/s?day=2027-01-01"),
        ("Today", "/s"),
    ]
    assert [text for text, _ in neighbours("/s", "2000-01-01")] == ["Day after", "Today"]

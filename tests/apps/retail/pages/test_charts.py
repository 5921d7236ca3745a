"""Charts and rows of the retail pages, from what the API gives."""

from __future__ import annotations

from typing import Any

from apps.retail.pages import fleet, pictures, sales_form, trend_charts, trends
from apps.retail.pages.chain import store_row
from apps.retail.pages.charts import dwell, heat, hours
from apps.retail.pages.store import camera_row, line_row, visits_note, zone_row

HOUR: dict[str, Any] = {"local": "2026-10-25T09:00:00+01:00", "entered": 3, "left": 1, "complete_share": 1.0}


def test_hours_that_the_clock_passes_twice_have_their_offset() -> None:
    twice = [HOUR | {"local": f"2026-10-25T02:00:00+0{offset}:00"} for offset in (2, 1)]
    options = hours([*twice, HOUR])
    assert options["xAxis"]["data"] == ["02:00 +02:00", "02:00 +01:00", "09:00"]


def test_incomplete_hours_are_pale() -> None:
    bars = hours([HOUR, HOUR | {"complete_share": 0.5}, HOUR | {"complete_share": None}])["series"][0]["data"]
    assert [bar["itemStyle"]["opacity"] for bar in bars] == [1.0, 0.45, 1.0]


def test_a_store_over_its_limit_and_a_camera_in_trouble_stand_out() -> None:
    store: dict[str, Any] = {
        "site": "berlin/1", "title": "Berlin", "time_zone": "UTC", "day": "2026-07-14", "visits": 1200,
        "left": 900, "outside": 7,
        "complete_share": 0.5, "people": 21, "max_people": 20, "cameras": 4, "troubled": 1,
        "silent": 2, "last_ns": 1,
    }  # fmt: skip
    row = store_row(store)
    assert (row["visits"], row["people_tone"], row["cameras_tone"]) == ("1,200", "bad", "warn")
    assert row["cameras"] == "4: 1 in trouble, 2 silent"
    assert row["store_href"].endswith("/stores/berlin%2F1")
    camera: dict[str, Any] = {
        "camera": "door", "troubles": ["out_of_focus"], "problems": [], "layout": "1", "node": "n",
        "version": "v",
        "forgotten": False, "silent": False, "last_ns": 1, "time_quality": "",
    }  # fmt: skip
    assert camera_row("berlin/1", camera)["troubles"] == "out of focus"
    assert camera_row("berlin/1", camera)["camera_href"].endswith("/live/berlin%2F1?camera=door")
    assert camera_row("berlin", camera | {"silent": True})["troubles"] == "silent, out of focus"


def test_zones_without_an_observation_show_no_numbers() -> None:
    zone: dict[str, Any] = {
        "camera": "door", "zone": "till", "mean_people": None, "max_people": 0, "visits": 0,
        "mean_dwell_s": None,
        "dwell_classes": [], "mean_queue": None, "max_queue": 0, "waited": 0, "mean_wait_s": None,
        "longest_wait_s": 0.0,
    }  # fmt: skip
    row = zone_row(zone)
    assert (row["people"], row["dwell"], row["wait"]) == ("–", "–", "–")
    assert dwell([zone], (5.0, 10.0))["series"] == []
    line = {
        "camera": "a",
        "line": "b",
        "entrance": False,
        "entered": 1,
        "left": 2,
        "returned": 0,
        "groups": None,
        "minutes": 0,
        "complete": 0,
    }
    row = line_row(line)
    assert (row["complete"], row["groups"]) == (None, "–")


def test_a_stores_visits_are_noted_with_groups_where_they_are_counted_and_those_who_came_back() -> None:
    store: dict[str, Any] = {"day": "2026-07-14", "complete_share": 0.5, "groups": None, "returned": 0}
    assert visits_note(store) == "2026-07-14, 50% of the minutes complete"
    counted = visits_note(store | {"groups": 1200, "returned": 3})
    assert counted.endswith(", 1,200 groups, 3 more came back")


def test_a_heat_map_has_its_cells_with_somebody() -> None:
    options = heat({"camera": "door", "cell_m": 0.5, "seconds": [[0.0, 2.5], [1.0, 0.0]]})
    assert options["series"][0]["data"] == [[1, 0, 2.5], [0, 1, 1.0]]
    assert options["xAxis"]["data"] == ["0", "0.5"]
    assert heat(None)["series"] == []


def test_the_interval_of_a_forecast_is_a_band_and_unusual_days_stand_out() -> None:
    known = {
        "day": "2026-07-11",
        "expected": 286,
        "lower": 250,
        "upper": 320,
        "visits": 200,
        "complete_share": 1.0,
    }
    days = [known | {"unusual": True}, known | {"lower": None, "visits": None, "unusual": None}]
    lower, width, visits, expected = trend_charts.outlook(days)["series"]
    assert (lower["data"], width["data"], expected["data"]) == ([250, None], [70, None], [286, 286])
    assert ["color" in each["itemStyle"] for each in visits["data"]] == [True, False]


def test_sales_without_a_transaction_are_no_chart() -> None:
    hour = {"local": "2026-07-14T09:00:00+02:00", "transactions": None, "conversion": None}
    assert trend_charts.sales([hour]) == {"series": []}
    shown = trend_charts.sales([hour | {"transactions": 4, "conversion": 0.255}])["series"]
    assert [each["data"] for each in shown] == [[4], [25.5]]


def test_the_gaps_of_an_upload_are_shown_up_to_a_bound() -> None:
    gaps = [f"2026-07-14T{hour:02}:00:00+02:00" for hour in range(12)]
    text = sales_form.gaps_text({"gaps": gaps, "gap_periods": 40})
    assert text.startswith("Open periods without sales, 40: 2026-07-14 00:00, 2026-07-14 01:00")
    assert text.endswith("2026-07-14 09:00 and 30 more.")
    assert sales_form.gaps_text({"gaps": [], "gap_periods": 0}) == ""


def test_a_failed_report_and_missing_sales_are_told() -> None:
    report = {
        "name": "daily", "every": "day", "at": "06:00", "recipients": 2, "first_day": "2026-07-14",
        "last_day": "2026-07-14", "sent": False, "attempts": 3, "reason": "full", "time_ns": 5,
    }  # fmt: skip
    row = fleet.report_row(report)
    assert (row["state"], row["state_tone"], row["days"]) == ("attempt 3 failed", "bad", "2026-07-14")
    unknown = dict.fromkeys(
        ["transactions", "sales_share", "conversion", "group_conversion", "capture_rate", "passers_by"]
    )
    assert trends.sales_text(unknown).startswith("No sales are known")
    known = unknown | {"transactions": 10, "sales_share": 0.5, "conversion": 0.25}
    assert (
        trends.sales_text(known)
        == "10 transactions, known of 50% of the past opening hours, conversion 25.0%."
    )
    assert trends.sales_text(known | {"group_conversion": 0.5}).endswith("25.0% (50.0% by groups).")


def test_a_node_shows_which_pictures_its_own_settings_allow() -> None:
    account: dict[str, Any] = {
        "node": "box", "site": "berlin", "samples": 3, "sample_bytes": 82_100, "samples_refused": 0,
        "bytes_sent": 50, "bytes_raw": 1_000_000,
    }  # fmt: skip
    cameras = [{"node": "box", "pictures": ["stills"]}, {"node": "box", "pictures": []}]
    kinds = pictures.allowed_kinds([*cameras, {"node": "old", "pictures": None}])
    assert kinds == {"box": {"stills"}}
    shown = [pictures.node_row(account, each) for each in ({"stills"}, set[str](), None)]
    assert [row["allowed"] for row in shown] == ["stills", "no picture", "unknown"]
    assert [row["allowed_tone"] for row in shown] == ["warn", "good", ""]
    assert (shown[0]["size"], shown[0]["share_text"]) == ("82.1 kB", "0.0050% of 1.0 MB")

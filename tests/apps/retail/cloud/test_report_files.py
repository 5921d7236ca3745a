"""Files of reports: columns, types, days; and the days of a scheduled one."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from apps.retail.cloud.reports.files import COLUMNS, as_csv, as_parquet
from apps.retail.cloud.reports.rows import ReportRow
from apps.retail.cloud.reports.schedule import period_of
from tests.apps.retail.cloud.serving import SetClock, client_of, project
from tests.apps.retail.received import local_ns, minute

MINUTE_NS = 60 * 10**9
ROW = ReportRow(
    store="berlin", title="Berlin", day="2026-07-14", begin="2026-07-14T00:00:00+02:00", visits=1, entered=1,
    returned=0, groups=None, went_out=0,
    visits_outside_of_hours=0, observed_share=None, transactions=None, revenue=None, sales_share=None,
    conversion=None, group_conversion=None,
    passers_by=None, capture_rate=None, expected_visits=None, expected_lower=None,
    expected_upper=None, unusual=None,
)  # fmt: skip


def test_days_and_weeks_are_due_at_their_local_time() -> None:
    zone = ZoneInfo("Europe/Berlin")

    def period(every: str, text: str) -> tuple[str, str]:
        first, last = period_of(every, zone, 360, local_ns(text))
        return str(first), str(last)

    assert period("day", "2026-07-15 05:59") == ("2026-07-13", "2026-07-13")
    assert period("day", "2026-07-15 06:00") == ("2026-07-14", "2026-07-14")
    assert period("week", "2026-07-13 05:59") == ("2026-06-29", "2026-07-05")
    assert period("week", "2026-07-13 06:00") == ("2026-07-06", "2026-07-12")
    assert period("week", "2026-07-19 23:59") == ("2026-07-06", "2026-07-12")


def test_a_title_is_no_formula_in_a_spreadsheet() -> None:
    text = as_csv([replace(ROW, title="=HYPERLINK(1)")]).decode()
    assert "'=HYPERLINK(1)" in text


def test_parquet_has_the_same_rows_and_types(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra parquet is not installed")
    content = as_parquet([replace(ROW, conversion=0.25, unusual=True), replace(ROW, visits=3)])
    path = tmp_path / "report.parquet"
    path.write_bytes(content)
    relation = duckdb.read_parquet(str(path))
    assert tuple(relation.columns) == COLUMNS
    assert [found[COLUMNS.index("visits")] for found in relation.fetchall()] == [1, 3]


def test_files_of_any_days_can_be_loaded(engine: Engine) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(engine, [minute(1 + i, at_ns + i * MINUTE_NS, 2) for i in range(5)])
    settings = {"stores": {"berlin": {"time_zone": "Europe/Berlin"}}}
    with client_of(engine, settings, SetClock(local_ns("2026-07-15 06:00"))) as client:
        answer = client.get("/report.csv?first=2026-07-13&last=2026-07-14&by=hour&store=berlin")
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert (len(rows), sum(int(each["visits"]) for each in rows)) == (48, 10)
        assert client.get("/report.csv?first=2026-07-15&last=2026-07-14").status_code == 422
        assert client.get("/report.csv?first=2020-01-01&last=2026-07-14").status_code == 422
        assert client.get("/report.csv?first=2026-07-14&last=2026-07-14&store=x").status_code == 404

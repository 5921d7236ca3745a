"""A report as a file: CSV, and Parquet by DuckDB (extra ``parquet``)."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from apps.retail.cloud.reports.rows import ReportRow
from common.errors import ConfigError

COLUMNS = tuple(field.name for field in fields(ReportRow))
_SQL_TYPES = {"str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
MISSING = "Parquet needs the library duckdb: pip install 'edgeloop[parquet]'"


def as_csv(rows: Sequence[ReportRow]) -> bytes:
    """UTF-8 with a header; unknown values are empty. A text that would be a formula begins with ``'``."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in astuple(row)] for row in rows)
    return text.getvalue().encode("utf-8")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_parquet(rows: Sequence[ReportRow]) -> bytes:
    """The same columns, typed. Raises `ConfigError` without DuckDB."""
    try:
        import duckdb  # pyright: ignore[reportMissingImports]: extra parquet
    except ImportError as error:
        raise ConfigError(MISSING) from error
    columns = ", ".join(
        f'"{field.name}" {_SQL_TYPES[str(field.type).partition(" ")[0]]}' for field in fields(ReportRow)
    )
    with tempfile.TemporaryDirectory(prefix="edgeloop-report-") as folder, duckdb.connect() as connection:
        path = Path(folder) / "report.parquet"
        connection.execute(f"CREATE TABLE report ({columns})")
        if rows:
            places = ", ".join("?" * len(COLUMNS))
            connection.executemany(
                f"INSERT INTO report VALUES ({places})",  # noqa: S608  constants
                [astuple(row) for row in rows],
            )
        connection.table("report").write_parquet(str(path))
        return path.read_bytes()

"""How the commands print: tables for people, one object a line for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from common.cli import print_object

EMPTY = "–"


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, json: bool, title: str) -> None:
    """``rows`` as a table with ``columns``, or whole as JSON.

    The first column names the row and is never cut; columns that are empty in all rows are left out.
    """
    if json:
        for row in rows:
            print_object(row)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_edge=False)
    texts = [{column: text_of(column, row.get(column)) for column in columns} for row in rows]
    first = columns[0]
    shown = [column for column in columns if column == first or any(text[column] != EMPTY for text in texts)]
    for column in shown:
        table.add_column(column.removesuffix("_ns").replace("_", " "), no_wrap=column == first)
    for text in texts:
        table.add_row(*(text[column] for column in shown))
    Console().print(table)


def print_facts(facts: Mapping[str, Any], *, json: bool) -> None:
    """One thing, a line for each of its facts, or whole as JSON."""
    if json:
        print_object(facts)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, show_edge=False, box=None)
    for name, value in facts.items():
        table.add_row(name.removesuffix("_ns").replace("_", " "), text_of(name, value))
    Console().print(table)


def text_of(name: str, value: Any) -> str:
    """A value as people read it; times by the ``_ns`` in their name."""
    from rich.markup import escape

    if value is None or value == "":
        return EMPTY
    if name.endswith("_ns"):
        return datetime.fromtimestamp(value / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value else EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text_of(str(key), inner)}" for key, inner in value.items()) or EMPTY
    if isinstance(value, list):
        return ", ".join(text_of(name, inner) for inner in value) or EMPTY
    return escape(str(value))

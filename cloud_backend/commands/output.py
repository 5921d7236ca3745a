"""Output of the commands: tables for people, one JSON object a line for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from common.cli import print_object

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EMPTY = "–"


UNCUT = frozenset({"version", "previous_version", "parent", "id", "job"})
"""Columns that are printed whole on one line, as the first is: people copy them into the next command."""
MIN_WIDTH = 8
"""Smallest width of any other column; their text is folded."""
PADDING = 3
"""Width of a column's separator and spaces."""


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, json: bool, title: str) -> None:
    """``rows`` as a table with ``columns``, or whole as JSON.

    The table fits the terminal (80 columns without one). The first column and those of `UNCUT` are never cut;
    where that leaves too little room, each row is printed as a block of lines. Columns that are empty in all
    rows are left out.
    """
    if json:
        for row in rows:
            print_object(row)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    texts = [{column: text_of(column, row.get(column)) for column in columns} for row in rows]
    first = columns[0]
    shown = [column for column in columns if column == first or any(text[column] != EMPTY for text in texts)]
    whole = [column for column in shown if column == first or column in UNCUT]
    widths = [max(len(_heading(column)), *(len(text[column]) for text in texts), 0) for column in whole]
    if (
        sum(widths) + len(widths) * PADDING + (len(shown) - len(whole)) * (MIN_WIDTH + PADDING)
        > console.width
    ):
        _print_blocks(console, [{column: text[column] for column in shown} for text in texts], title)
        return
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in shown:
        table.add_column(_heading(column), no_wrap=column in whole, overflow="fold")
    for text in texts:
        table.add_row(*(text[column] for column in shown))
    console.print(table)


def print_facts(facts: Mapping[str, Any], *, json: bool) -> None:
    """One thing, a line for each of its facts, or whole as JSON."""
    if json:
        print_object(facts)
        return
    from rich.console import Console

    Console().print(_block({name: text_of(name, value) for name, value in facts.items()}))


def _print_blocks(console: Console, rows: list[dict[str, str]], title: str) -> None:
    console.print(title, style="italic")
    for row in rows:
        console.print(_block(row))
        console.print()


def _block(row: Mapping[str, str]) -> Table:
    from rich.table import Table

    table = Table(show_header=False, show_edge=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in row.items():
        table.add_row(_heading(name), text)
    return table


def _heading(column: str) -> str:
    return column.removesuffix("_ns").replace("_", " ")


def text_of(name: str, value: Any) -> str:
    """A value as text; times by the ``_ns`` in their name."""
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

"""The day of a store's page, which is part of the page's address."""

from __future__ import annotations

from datetime import date, timedelta

from nicegui import ui

from common.pages import Text, View

FIRST_YEAR, LAST_YEAR = 2000, 2199
ROOT = "/ui"
"""Root path of the dashboard, which NiceGUI puts before an address itself."""
DEBOUNCE_MS = 600
"""Time without a key before a typed day is opened."""


def day_picker(view: View, page: str, shown: str) -> ui.input:
    """A field with the ``shown`` day and links to its neighbours, in the head of ``page``."""
    with view.head:
        field = ui.input("Day", value=shown).props(f"type=date outlined dense debounce={DEBOUNCE_MS}")
        for text, href in neighbours(page, shown):
            Text("a", text).props["href"] = href

    def open_day() -> None:
        if field.value != shown and (href := address(page, field.value or "")):
            ui.navigate.to(href.removeprefix(ROOT))

    field.on_value_change(open_day)
    return field


def address(page: str, day: str) -> str:
    """The address of a day; of the present one for no day, and empty for one that is still being typed."""
    if not day:
        return page
    try:
        chosen = date.fromisoformat(day)
    except ValueError:
        return ""
    return f"{page}?day={chosen}" if FIRST_YEAR <= chosen.year <= LAST_YEAR else ""


def neighbours(page: str, day: str) -> list[tuple[str, str]]:
    """Texts and addresses of the days before and after a day, and of the present one."""
    chosen, step = date.fromisoformat(day), timedelta(days=1)
    found = [
        ("Day before", address(page, str(chosen - step))),
        ("Day after", address(page, str(chosen + step))),
    ]
    return [*((text, href) for text, href in found if href), ("Today", page)]

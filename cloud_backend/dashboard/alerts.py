"""The page *Alerts*."""

from __future__ import annotations

from common.pages import Site, View, empty


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("alerts", "Alerts")
    async def show(view: View) -> None:
        empty("Nothing here yet.", "Soon.")

"""The page *Models*."""

from __future__ import annotations

from common.pages import Site, View, empty


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("models", "Models")
    async def show(view: View) -> None:
        empty("Nothing here yet.", "Soon.")

"""Building blocks of dashboard pages, for the cloud's own pages and for those of apps.

An app's ``pages`` callable receives a `Site` and adds pages to it. A `View` is one visit of a page, which is
composed of blocks::

    def add_pages(site: Site) -> None:
        @site.page("", "Machines", icon="precision_manufacturing")
        async def machines(view: View) -> None:
            table = Table("Machines by horizon", [Column("machine", "Machine", kind="link"), ...])

            async def refresh() -> None:
                answer = await view.api.get("/v1/apps/industrial/machines", limit=100)
                table.show([...])

            await view.live(refresh)

A page uses the public API only. This package imports NiceGUI, so a node never imports it.
"""

from common.pages.api_client import ApiClient, ApiError
from common.pages.blocks import Badge, Chart, Column, Details, Table, Text, Tile, action, card, empty
from common.pages.pager import Pager
from common.pages.site import LabelForm, Site, View
from common.pages.virtual_nodes import VirtualNodes

__all__ = [
    "ApiClient",
    "ApiError",
    "Badge",
    "Chart",
    "Column",
    "Details",
    "LabelForm",
    "Pager",
    "Site",
    "Table",
    "Text",
    "Tile",
    "View",
    "VirtualNodes",
    "action",
    "card",
    "empty",
]

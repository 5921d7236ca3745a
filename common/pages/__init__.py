"""What the dashboard's pages are made of, for the frame and for the pages that apps bring.

`Site` is what an app's ``pages`` callable is given, `View` one visit of one page, and the blocks are what
a page is built from::

    def add_pages(site: Site) -> None:
        @site.page("", "Machines", icon="precision_manufacturing")
        async def machines(view: View) -> None:
            table = Table("Machines by horizon", [Column("machine", "Machine", kind="link"), ...])

            async def refresh() -> None:
                answer = await view.ask.get("/v1/apps/industrial/machines", limit=100)
                table.show([...])

            await view.live(refresh)

A page knows the public API and nothing else of the cloud. NiceGUI is imported here: a node never imports
this package.
"""

from common.pages.api_client import Ask, AskError
from common.pages.blocks import Badge, Chart, Column, Facts, Table, Text, Tile, action, card, empty, facts
from common.pages.pager import Turning
from common.pages.site import LabelForm, Site, View
from common.pages.virtual_nodes import VirtualNodes

__all__ = [
    "Ask",
    "AskError",
    "Badge",
    "Chart",
    "Column",
    "Facts",
    "LabelForm",
    "Site",
    "Table",
    "Text",
    "Tile",
    "Turning",
    "View",
    "VirtualNodes",
    "action",
    "card",
    "empty",
    "facts",
]

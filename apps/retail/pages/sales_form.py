"""Upload of sales on a store's page: a CSV file, what it changed, and its gaps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import events, ui

from common.pages import ApiError, Text, View

MAX_FILE_BYTES = 1_000_000
"""The API takes 1 MiB, the form around the file included."""
GAPS_SHOWN = 10
PERIODS = {"quarter": "Quarters of an hour", "hour": "Hours", "day": "Days"}
TOO_LARGE = f"The file has more than {MAX_FILE_BYTES:,} bytes: upload its days in several files."


class SalesForm:
    """A button that uploads a file, and the result below; ``uploaded`` runs after a file was taken."""

    def __init__(self, view: View, path: str, uploaded: Callable[[], Awaitable[None]]) -> None:
        self._view = view
        self._path = path
        self._uploaded = uploaded
        self._upload = ui.upload(
            on_upload=self._read,
            on_rejected=lambda: self._show(TOO_LARGE, failed=True),
            max_file_size=MAX_FILE_BYTES,
            auto_upload=True,
        )
        # By a style: NiceGUI refuses files of an invisible element.
        self._upload.props("accept=.csv,text/csv").style("display: none")
        with ui.element("div").classes("row-of"):
            self._by = ui.select(PERIODS, value="hour", label="Periods in the file").props("outlined dense")
            button = ui.button("Upload sales (CSV)", icon="upload_file")
            button.props("no-caps unelevated").classes("action plain")
            # In the browser, which opens a file chooser for a click only.
            button.on("click", js_handler=f"e => getElement({self._upload.id}).$refs.qRef.pickFiles(e)")
        Text("p", "Columns begin, transactions and perhaps revenue; begin in the store's time.").classes(
            "hint"
        )
        self._result = Text("p", "").props("role=status")
        self._gaps = Text("p", "").classes("hint")

    async def _read(self, event: events.UploadEventArguments) -> None:
        await self.send(await event.file.read())
        self._upload.reset()

    async def send(self, content: bytes) -> None:
        """Send a file, and show the result."""
        try:
            answer = await self._view.api.upload(
                f"{self._path}/sales.csv", content, "text/csv", by=self._by.value
            )
        except ApiError as error:
            self._show(f"The file was refused: {error}.", failed=True)
            return
        self._show(result_text(answer), gaps_text(answer))
        await self._uploaded()

    def _show(self, text: str, gaps: str = "", *, failed: bool = False) -> None:
        self._result.text, self._gaps.text = text, gaps
        self._result.classes(add="field-error" if failed else "", remove="" if failed else "field-error")


def result_text(answer: Mapping[str, Any]) -> str:
    """The changes of an upload in a line."""
    return (
        f"{answer['periods']:,} periods taken: {answer['new']:,} new, {answer['changed']:,} corrected, "
        f"{answer['unchanged']:,} known."
    )


def gaps_text(answer: Mapping[str, Any]) -> str:
    """The first open periods without sales in a line; empty without one."""
    total = answer["gap_periods"]
    if not total:
        return ""
    shown = ", ".join(each[:16].replace("T", " ") for each in answer["gaps"][:GAPS_SHOWN])
    more = f" and {total - GAPS_SHOWN:,} more" if total > GAPS_SHOWN else ""
    return f"Open periods without sales, {total:,}: {shown}{more}."

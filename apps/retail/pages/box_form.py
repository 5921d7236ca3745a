"""A picture with boxes to edit: proposals of the cloud's teachers, else of the node's own detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.events import MouseEventArguments

from apps.retail.pages.box_editor import Box, BoxEditor, svg_of
from apps.retail.pages.camera_picture import describe, jpeg_url
from common.pages import Column, Table, Text, View, action

SHOWN_SCORE = 0.35
"""Score from which a box of the node's detector is proposed as a person."""
PERSON = 0
STEP_PX = 2.0
KEYS_TEXT = (
    "Click on a box that is nobody to take it away, drag one of its corners to correct it, drag elsewhere to "
    "draw one. Keys: J and K select, arrows move, Shift with arrows resizes, X takes away, B adds a box, "
    "Z undoes."
)
ARROWS: Mapping[str, tuple[int, int]] = {
    "ArrowLeft": (-1, 0),
    "ArrowRight": (1, 0),
    "ArrowUp": (0, -1),
    "ArrowDown": (0, 1),
}
COLUMNS = (
    Column("number", "Box", kind="number"),
    Column("origin", "From"),
    Column("size", "Size", kind="number"),
    Column("state", "", kind="badge"),
    Column("toggle", "", kind="action"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with the proposals for its label, and who made these."""

    jpeg: bytes
    size_px: tuple[int, int]
    boxes: Sequence[Box]
    scores: Sequence[float]
    proposed_by: str


async def load_picture(view: View, sample: Mapping[str, Any]) -> Picture:
    """The picture of a sample. Raises `ApiError`, and `ValueError` for a sample that is none."""
    try:
        arrays = (await view.api.get(f"/v1/samples/{sample['id']}/content"))["arrays"]
        jpeg = bytes(arrays["jpeg"])
        boxes, scores = proposed_boxes(arrays)
        size_px = (int(sample["attributes"]["width_px"]), int(sample["attributes"]["height_px"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no picture with boxes: {error}") from error
    by = f"the node's detector {sample['attributes'].get('version', '')}".strip()
    taught = await view.api.get(f"/v1/apps/retail/proposals/{sample['id']}")
    if taught["teachers"]:
        boxes, scores = [tuple(box) for box in taught["boxes_xyxy_px"]], taught["scores"]
        by = " and ".join(taught["teachers"])
    return Picture(jpeg, size_px, boxes, scores, by)


def proposed_boxes(arrays: Mapping[str, Any]) -> tuple[list[Box], list[float]]:
    """The persons of the node's detector that are certain enough, with their scores."""
    rows = zip(arrays["boxes_xyxy_px"], arrays["scores"], arrays["classes"], strict=True)
    kept = [(box, float(score)) for box, score, kind in rows if kind == PERSON and score >= SHOWN_SCORE]
    boxes = [(float(box[0]), float(box[1]), float(box[2]), float(box[3])) for box, _ in kept]
    return boxes, [score for _, score in kept]


def label_of(sample: Mapping[str, Any], picture: Picture, editor: BoxEditor) -> dict[str, Any]:
    """The request that stores the boxes as the label of a sample."""
    return {
        "subject": sample["subject"],
        "group": sample["group"],
        "kind": "boxes",
        "body": {
            "boxes_xyxy_px": [list(box) for box in editor.boxes],
            "proposed_by": picture.proposed_by,
            "corrected": editor.corrected,
        },
    }


class BoxForm:
    """The picture, its tools and the list of boxes; ``changed`` is called after each edit."""

    def __init__(self, picture: Picture, changed: Callable[[], None] = lambda: None) -> None:
        self.picture = picture
        self.editor = BoxEditor(picture.size_px, picture.boxes, picture.scores)
        self._changed = changed
        Text("p", f"Proposed by {picture.proposed_by}. {KEYS_TEXT}").classes("hint")
        with ui.element("div").classes("row-of"):
            self._draw = action("Draw with two clicks", self._start_drawing, icon="highlight_alt")
            self._undo = action("Undo", self._take_back, icon="undo")
        self._image = ui.interactive_image(
            jpeg_url(picture.jpeg), on_mouse=self._on_mouse, events=["pointerdown", "pointerup"], cross=True
        ).style(f"width: 100%; max-width: {shown_width(picture.size_px)}")
        describe(self._image, "Picture with the boxes of people; the list below names each")
        self._table = Table("Boxes", COLUMNS, empty_text="Nobody is in this picture.")
        self._table.on_action(self._on_action)
        self.show()

    def show(self) -> None:
        """Show the boxes as they are."""
        editor = self.editor
        self._image.set_content(svg_of(editor, self.picture.size_px))
        self._undo.set_enabled(editor.can_undo)
        self._draw.text = "Click two corners" if editor.drawing else "Draw with two clicks"
        self._table.show([box_row(number, row, editor) for number, row in enumerate(editor.rows)])
        self._changed()

    def press_key(self, key: str, *, shift: bool = False) -> bool:
        """Edit by a key; False for one without a meaning."""
        editor, step_px = self.editor, STEP_PX * max(self.picture.size_px) / 640
        if key in ARROWS:
            across, down = ARROWS[key]
            editor.nudge(across * step_px, down * step_px, resize=shift)
        elif key.lower() == "x" and editor.selected is not None:
            editor.toggle(editor.selected)
        elif do := {
            "j": editor.select_next,
            "k": lambda: editor.select_next(-1),
            "b": editor.add,
            "z": editor.undo,
        }.get(key.lower()):
            do()
        else:
            return False
        self.show()
        return True

    async def _start_drawing(self) -> None:
        self.editor.draw()
        self.show()

    async def _take_back(self) -> None:
        self.editor.undo()
        self.show()

    def _on_mouse(self, event: MouseEventArguments) -> None:
        if event.type == "pointerdown":
            self.editor.press(event.image_x, event.image_y)
        else:
            self.editor.release(event.image_x, event.image_y)
            self.show()

    async def _on_action(self, id: str, _column: str) -> None:
        self.editor.toggle(int(id))
        self.show()


def shown_width(size_px: tuple[int, int]) -> str:
    """Greatest width of a picture on a page: that of the window's height, at most twice its own."""
    width, height = size_px
    return f"min({2 * width}px, calc(75vh * {width / height:.3f}))"


def box_row(number: int, row: Any, editor: BoxEditor) -> dict[str, Any]:
    """A box as a row of the list."""
    left, top, right, bottom = row.box
    return {
        "id": str(number),
        "about": f"box {number + 1}",
        "number": str(number + 1),
        "origin": "drawn" if row.score is None else f"proposed, score {row.score:.2f}",
        "size": f"{right - left:.0f} × {bottom - top:.0f} px",
        "state": "selected" if number == editor.selected else "" if row.holds else "taken away",
        "state_tone": "info" if number == editor.selected else "",
        "toggle": "Take away" if row.holds else "Bring back",
    }


async def labels_of(view: View, sample: Mapping[str, Any]) -> str:
    """Who labelled a sample last; empty for one without a label."""
    page = await view.api.get("/v1/apps/retail/labels", group=sample["group"], limit=1)
    return labelled_text(page["items"][0]) if page["items"] else ""


def labelled_text(label: Mapping[str, Any]) -> str:
    """A label in a line."""
    who = str(label["source"]).removeprefix("person:")
    boxes = label["body"].get("boxes_xyxy_px")
    count = f"{len(boxes)} × person" if isinstance(boxes, list) else label["kind"]
    how = ", corrected" if label["body"].get("corrected") else ""
    return f"Labelled by {who}: {count}{how}."

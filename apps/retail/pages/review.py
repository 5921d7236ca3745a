"""Review of hard examples: one picture after another, its proposed boxes accepted or corrected.

The newest pictures without a label, of all cameras or of one, the most informative first. Keys beside those
of `apps.retail.pages.box_form`: A accepts and goes on, N and P go to the next and the previous picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui
from nicegui.events import KeyEventArguments, ValueChangeEventArguments

from apps.retail.pages.box_form import BoxForm, label_of, labels_of, load_picture
from apps.retail.pages.camera_picture import is_still
from apps.retail.pages.pictures import reason_text
from common.pages import ApiError, Text, Tile, View, action, card, empty

LIMIT = 500
ALL = ""
CHOICES = {"false": "Waiting for a label", "true": "Labelled"}
HINT = "Heads were blurred on the node. Keys: A accepts, N and P go to the next and the previous picture."
Json = Mapping[str, Any]


async def show_review(view: View, camera: str) -> None:
    """Build the page; ``camera`` is ``node/camera``, empty for all."""
    page = ReviewPage(view, camera)
    await page.load()
    page.build()
    await page.show()


class ReviewPage:
    """One visit of the page."""

    def __init__(self, view: View, camera: str) -> None:
        self._view = view
        self._camera = camera
        self._labelled = "false"
        self._all: Sequence[Json] = ()
        self._older = False
        """Whether there are pictures beyond those of the list."""
        self._at = 0
        self._form: BoxForm | None = None
        self._done = 0

    async def load(self) -> None:
        """Fetch the list of pictures, the newest `LIMIT`; a page of the API may hold few, and go on."""
        found, cursor = list[Json](), None
        while True:
            page = await self._view.api.get(
                "/v1/samples",
                app="retail",
                order="newest",
                labelled=self._labelled,
                limit=LIMIT,
                cursor=cursor,
            )
            found += (each for each in page["items"] if not is_still(each))
            cursor = page["next"]
            if cursor is None or len(found) >= LIMIT:
                break
        self._all, self._older, self._at = hardest_first(found), cursor is not None, 0

    @property
    def samples(self) -> Sequence[Json]:
        """The pictures of the chosen camera."""
        return [each for each in self._all if self._camera in (ALL, camera_key(each))]

    def build(self) -> None:
        """Add the page's blocks."""
        with ui.element("div").classes("tiles"):
            self._left, self._place, self._made = (
                Tile(name) for name in ("Pictures", "Shown", "Labelled now")
            )
        with ui.element("div").classes("row-of"):
            self._cameras = ui.select(
                {ALL: "All cameras"}, value=ALL, label="Camera", on_change=self._choose
            ).props("outlined dense")
            states = ui.select(CHOICES, value=self._labelled, label="Show", on_change=self._choose_state)
            states.props("outlined dense")
        with card("Picture", HINT, wide=True):
            with ui.element("div").classes("row-of"):
                self._accept = action("Accept and next", self._store, tone="main", icon="check")
                action("Previous", self._go_back, icon="chevron_left")
                action("Next", self._go_on, icon="chevron_right")
            self._status = Text("p", "").props("role=status")
            self._box = ui.element("div").classes("stack")
        ui.keyboard(on_key=self._on_key)

    async def show(self) -> None:
        """Show the present picture."""
        samples = self.samples
        self._show_cameras()
        self._at = min(self._at, max(0, len(samples) - 1))
        older = "; there are older ones" if self._older else ""
        self._left.show(f"{len(samples):,}", CHOICES[self._labelled].lower() + older)
        self._place.show(f"{self._at + 1} of {len(samples)}" if samples else "none")
        self._made.show(str(self._done), "by you, on this visit")
        self._form = None
        self._accept.set_enabled(False)
        self._box.clear()
        with self._box:
            if not samples:
                self._status.text = ""
                empty(
                    "No picture waits for a label."
                    if self._labelled == "false"
                    else "No picture is labelled.",
                    "Nodes offer uncertain pictures where their own settings file has samples = true; heads "
                    "are blurred first.",
                )
                return
            await self._show_picture(samples[self._at])

    async def _show_picture(self, sample: Json) -> None:
        try:
            picture = await load_picture(self._view, sample)
            label = await labels_of(self._view, sample)
        except (ApiError, ValueError) as error:
            self._status.text = f"This picture cannot be shown: {error}"
            return
        self._status.text = " ".join(filter(None, (described(sample), label)))
        self._form = BoxForm(picture, self._name_button)
        self._accept.set_enabled(True)
        self._name_button()

    def _name_button(self) -> None:
        corrected = self._form is not None and self._form.editor.corrected
        self._accept.text = "Save the correction and next" if corrected else "Accept and next"

    def _show_cameras(self) -> None:
        counts = Counter(camera_key(each) for each in self._all)
        options = {ALL: f"All cameras ({len(self._all)})"}
        options |= {key: f"{key} ({count})" for key, count in sorted(counts.items())}
        if self._camera not in options:
            options[self._camera] = f"{self._camera} (0)"
        if self._cameras.options != options or self._cameras.value != self._camera:
            self._cameras.set_options(options, value=self._camera)

    # ------------------------------------------------------------------------------------------ actions

    async def _store(self) -> None:
        form = self._form
        if form is None:
            return
        sample = self.samples[self._at]
        label = label_of(sample, form.picture, form.editor)
        if await self._view.act(self._view.api.post("/v1/apps/retail/labels", label), "Labelled."):
            self._done += 1
            if self._labelled == "false":
                self._all = [each for each in self._all if each["id"] != sample["id"]]
            else:
                self._at += 1
            await self.show()

    async def _go_on(self) -> None:
        await self._go(1)

    async def _go_back(self) -> None:
        await self._go(-1)

    async def _go(self, step: int) -> None:
        count = len(self.samples)
        self._at = (self._at + step) % count if count else 0
        await self.show()

    async def _choose(self, event: ValueChangeEventArguments[str]) -> None:
        if event.value != self._camera:
            self._camera, self._at = event.value or ALL, 0
            await self.show()

    async def _choose_state(self, event: ValueChangeEventArguments[str]) -> None:
        self._labelled = event.value
        await self.load()
        await self.show()

    async def _on_key(self, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta:
            return
        key = event.key.name
        if self._form is not None and self._form.press_key(key, shift=event.modifiers.shift):
            return
        if event.action.repeat:
            return
        do = {"a": self._store, "n": self._go_on, "p": self._go_back}.get(key.lower())
        if do is not None:
            await do()


def camera_key(sample: Json) -> str:
    """Node and camera of a sample: cameras of two nodes may have one name."""
    return f"{sample['node']}/{sample['subject']}"


def hardest_first(samples: Any) -> list[Json]:
    """Samples by the score of their strongest reason; those of one score in their order."""
    return sorted(samples, key=lambda each: -max(map(float, each["reasons"].values()), default=0.0))


def described(sample: Json) -> str:
    """Camera and reasons of a sample in a line."""
    why = reason_text(sample["reasons"])
    return f"{camera_key(sample)}: {why}." if why else f"{camera_key(sample)}."

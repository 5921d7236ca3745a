"""The form that labels a picture on the page *Learning*: the boxes of all people in it."""

from __future__ import annotations

from typing import Any

from apps.retail.pages.box_form import BoxForm, label_of, load_picture
from common.pages import ApiError, Text, View, action
from common.pages.site import Refresh


async def label_form(view: View, sample: dict[str, Any], stored: Refresh) -> None:
    """Show the picture of one sample with its boxes, and take which are people."""
    try:
        picture = await load_picture(view, sample)
    except (ApiError, ValueError) as error:
        Text("p", f"This picture cannot be shown: {error}").classes("hint")
        return
    form = BoxForm(picture)

    async def save() -> None:
        label = label_of(sample, picture, form.editor)
        if await view.act(view.api.post("/v1/apps/retail/labels", label), "Labelled."):
            await stored()

    action("Save the boxes", save, tone="main", icon="check")

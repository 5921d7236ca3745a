"""The labelling part of *Learning*: the queue of samples with their reasons, and the label form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import delete
from common.pages import ApiClient, ApiError, Column, Details, LabelForm, Table, Text, View, action
from common.pages.blocks import Tone
from common.pages.site import Refresh

SHOWN = 12
LIMIT = 500
PAGES = 4
"""Maximum number of pages read for one list; with a filter a page may hold few samples."""
COUNTED = 100
ATTRIBUTES_SHOWN = 6
LABELS_SHOWN = 20
CHOICES = {"no": "Waiting for a label", "yes": "Labelled", "all": "All"}
_FILTERS: Mapping[str, str | None] = {"no": "false", "yes": "true", "all": None}
COLUMNS = (
    Column("group", "Group", hint="Samples of a group stay on one side of a split"),
    Column("why", "Reason", kind="bar", hint="Score of the strongest reason, from 0 to 1"),
    Column("node", "Node", kind="link"),
    Column("virtual", "", kind="badge"),
    Column("captured", "Captured", kind="ago"),
    Column("size", "Size", kind="number"),
    Column("state", "Label", kind="badge"),
    Column("label", "", kind="action"),
)
MIN_SCORE = 0.005
"""A reason that would be shown as 0.00 is omitted."""
REASON_COLUMNS = (Column("reason", "Reason"), Column("bar", "Score from 0 to 1", kind="bar"))
LABEL_COLUMNS = (
    Column("kind", "Label"),
    Column("summary", "Content"),
    Column("source", "From"),
    Column("at", "When", kind="ago"),
)
EMPTY = {
    "no": (
        "No sample waits for a label.",
        "Nodes send novel and uncertain readings; choose Labelled to see labelled samples.",
    ),
    "yes": ("No labelled samples yet.", "Choose a sample that waits for a label."),
    "all": ("No samples yet.", "Nodes send novel and uncertain readings, within their budget."),
}


class SampleQueue:
    """The newest samples of one app, and the dialog that labels one."""

    def __init__(self, view: View, app: str, form: LabelForm | None) -> None:
        self._view = view
        self._app = app
        self._form = form
        self._shown = SHOWN
        self._samples: dict[str, Mapping[str, Any]] = {}
        self._waiting = (formatting.NONE, "")
        self._refreshed = False
        self._virtual: dict[str, bool] = {}
        self._choice = ui.select(CHOICES, label="Show", value="no", on_change=self._chosen)
        self._choice.props("outlined dense").style("max-width: 260px")
        self._table = Table("Samples", COLUMNS, empty_text=EMPTY["no"][0], empty_hint=EMPTY["no"][1])
        self._table.on_action(self._label)
        with ui.element("div").classes("row-of"):
            self._more = action("More", self._show_more)
        self._more.set_visibility(False)

    async def refresh(self) -> None:
        """Update the queue."""
        choice = str(self._choice.value)
        samples, more = await newest(self._view.api, self._app, self._shown, _FILTERS[choice])
        if choice != "no":
            await self._count_waiting()
        elif samples or self._refreshed:
            self._waiting = waiting(len(samples), more)
        else:  # the first refresh shows all samples if none waits
            self._waiting = waiting(0, more)
            choice = self._choice.value = "all"
            samples, more = await newest(self._view.api, self._app, self._shown, None)
        self._refreshed = True
        await self._look_up_nodes({sample["node"] for sample in samples})
        if choice != self._choice.value:
            return  # another filter was chosen meanwhile, with its own refresh
        self._samples = {sample["id"]: sample for sample in samples}
        empty_text, empty_hint = EMPTY[choice]
        if self._table.props["empty_text"] != empty_text:
            self._table.props["empty_text"], self._table.props["empty_hint"] = empty_text, empty_hint
            self._table.update()
        self._table.show([sample_row(s, self._virtual.get(s["node"], False)) for s in samples])
        self._more.set_visibility(more and self._shown < LIMIT)

    def waiting_tile(self) -> tuple[str, str, Tone]:
        """Number of samples without a label, among the newest."""
        value, note = self._waiting
        return value, note, ""

    async def _count_waiting(self) -> None:
        page = await self._view.api.get(
            "/v1/samples", app=self._app, order="newest", labelled="false", limit=COUNTED
        )
        self._waiting = waiting(len(page["items"]), page["next"] is not None)

    async def _look_up_nodes(self, names: set[str]) -> None:
        """Look up which nodes are virtual, each once per visit."""

        async def look_up(name: str) -> None:
            try:
                node = await self._view.api.get(f"/v1/nodes/{quote(name, safe='')}")
            except ApiError:
                return  # retried by the next refresh
            self._virtual[name] = node["virtual"]

        await asyncio.gather(*(look_up(name) for name in sorted(names - set(self._virtual))[:SHOWN]))

    async def _chosen(self) -> None:
        self._shown = SHOWN
        await self._refresh_quietly()

    async def _show_more(self) -> None:
        self._shown = min(LIMIT, self._shown * 3)
        await self._refresh_quietly()

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except ApiError as error:
            ui.notify(str(error), type="negative")

    async def _label(self, id: str, _column: str) -> None:
        sample = self._samples.get(id)
        if sample is None:
            return
        try:
            known = await self._view.api.get(
                f"/v1/apps/{quote(self._app, safe='')}/labels", group=sample["group"], limit=LABELS_SHOWN
            )
        except ApiError as error:
            ui.notify(str(error), type="negative")
            return
        with ui.dialog() as dialog, ui.element("div").classes("card"):
            dialog.props["aria-label"] = f"Label {sample['group']}"

            async def stored() -> None:
                dialog.submit(True)

            async def leave() -> None:
                dialog.submit(False)

            Text("h2", f"Label {sample['group']}")
            Details(
                details_of(sample, self._virtual.get(sample["node"], False), attributes=self._form is None)
            )
            Table("Reasons", REASON_COLUMNS).show(reason_rows(sample))
            if known["items"]:
                Table("Its labels", LABEL_COLUMNS).show([label_row(each) for each in known["items"]])
            await (self._form or plain_form)(self._view, dict(sample), stored)
            with ui.element("div").classes("row-of"):
                action("Close", leave)
        await dialog
        delete(dialog)
        await self._refresh_quietly()


async def plain_form(view: View, sample: dict[str, Any], stored: Refresh) -> None:
    """The form for samples of an app without its own: a kind, and the body as JSON."""
    kind = ui.input("Kind of the label, such as outcome").props("outlined dense")
    body = ui.textarea('Content as JSON, such as {"class": "ok"}').props("outlined dense")
    wrong = Text("p", "").props("role=alert").classes("field-error")

    async def store() -> None:
        try:
            label = label_body(sample, kind.value, body.value)
        except ValueError as error:
            wrong.text = str(error)
            return
        wrong.text = ""
        request = view.api.post(f"/v1/apps/{quote(sample['app'], safe='')}/labels", label)
        if await view.act(request, f"{sample['group']} is labelled."):
            await stored()

    action("Store the label", store, tone="main")


async def newest(
    api: ApiClient, app: str, limit: int, labelled: str | None
) -> tuple[list[Mapping[str, Any]], bool]:
    """The newest ``limit`` samples of an app, and whether there may be more."""
    found: list[Mapping[str, Any]] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await api.get(
            "/v1/samples",
            app=app,
            order="newest",
            labelled=labelled,
            limit=limit - len(found),
            cursor=cursor,
        )
        found += page["items"]
        cursor = page["next"]
        if cursor is None or len(found) >= limit:
            break
    return found, cursor is not None


def waiting(count: int, more: bool) -> tuple[str, str]:
    """Value and note of the tile with the number of samples without a label."""
    return f"{count}{'+' if more else ''}", "among the newest" if more else ""


def label_body(sample: Mapping[str, Any], kind: Any, body: Any) -> dict[str, Any]:
    """The request that stores a label. Raises ``ValueError`` naming the invalid field."""
    name = str(kind or "").strip()
    if not name:
        raise ValueError("The label needs a kind.")
    try:
        values = json.loads(str(body or "").strip() or "{}")
    except ValueError as error:
        raise ValueError(f"The content is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError('The content must be a JSON object, such as {"class": "ok"}.')
    return {"subject": sample["subject"], "group": sample["group"], "kind": name, "body": values}


def sample_row(sample: Mapping[str, Any], virtual: bool) -> dict[str, Any]:
    """A row of the queue."""
    reasons = by_score(sample["reasons"])
    labels = sample.get("labels", 0)
    return {
        "id": sample["id"],
        "about": sample["group"],
        "group": sample["group"],
        "why": reasons[0][1] if reasons else None,
        "why_text": ", ".join(
            f"{name.replace('_', ' ')} {score:.2f}" for name, score in reasons if score >= MIN_SCORE
        ),
        "node": sample["node"],
        "node_href": f"/ui/nodes/{quote(sample['node'], safe='')}",
        "virtual": "virtual" if virtual else "",
        "virtual_tone": "info",
        "captured": sample["captured_ns"],
        "size": formatting.size(sample["size"]),
        "state": formatting.plural(labels, "label") if labels else "waiting",
        "state_tone": "good" if labels else "",
        "label": "Label again" if labels else "Label",
    }


def reason_rows(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row with a bar for each reason, the strongest first."""
    return [
        {"id": name, "reason": name.replace("_", " "), "bar": score, "bar_text": f"{score:.2f}"}
        for name, score in by_score(sample["reasons"])
    ]


def by_score(reasons: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Reasons with a score, the strongest first."""
    scored = [(name, score) for name in reasons if (score := formatting.number(reasons, name)) is not None]
    return sorted(scored, key=lambda each: (-each[1], each[0]))


def label_row(label: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the labels of a group."""
    return {
        "id": str(label["id"]),
        "kind": label["kind"],
        "summary": formatting.summary("", label["body"]),
        "source": label["source"],
        "at": label["created_ns"],
    }


def details_of(sample: Mapping[str, Any], virtual: bool, *, attributes: bool) -> dict[str, str]:
    """Details of a sample; ``attributes`` is False for an app whose own form shows them."""
    plain: Sequence[tuple[str, Any]] = [
        (name, value)
        for name, value in sample["attributes"].items()
        if attributes and isinstance(value, str | int | float) and not isinstance(value, bool)
    ][:ATTRIBUTES_SHOWN]
    return {
        "Subject": sample["subject"],
        "Node": f"{sample['node']}, virtual" if virtual else sample["node"],
        **{name.replace("_", " "): formatting.summary("", value) for name, value in plain},
    }

"""Comparison panel of a version's page: its figures beside those of another version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import comparison
from common.pages import ApiClient, ApiError, Column, Table, Text

VERSIONS_LIMIT = 100
"""Maximum number of versions to choose from."""


class ComparisonPanel:
    """Compares a version with a chosen one; initially with the production model or the parent."""

    def __init__(
        self,
        api: ApiClient,
        path: str,
        found: Mapping[str, Any],
        job: Mapping[str, Any] | None,
        gauge: comparison.Gauge,
    ) -> None:
        self._api, self._path, self._found, self._job, self._gauge = api, path, found, job, gauge
        self._choice = ui.select([], label="Compare with", on_change=self._show).props("outlined dense")
        self._basis = Text("p", "").classes("hint")
        self._box = ui.element("div").classes("stack")

    async def fill(self) -> None:
        """Fill the list of versions and show the first comparison."""
        models = (await self._api.get(f"{self._path}/models", limit=VERSIONS_LIMIT))["items"]
        own = self._found["version"]
        others = {m["version"]: f"{m['version']} ({m['state']})" for m in models if m["version"] != own}
        if not others:
            self._choice.set_visibility(False)
            self._basis.text = "This app has no other version."
            return
        self._choice.set_options(others, value=first_other(self._found, models))

    async def _show(self) -> None:
        version = self._choice.value
        if not version:
            return
        try:
            other = await self._api.get(f"{self._path}/models/{quote(version, safe='')}")
            other_job = await job_of(self._api, other)
        except ApiError as error:
            self._basis.text = f"The comparison failed: {error}"
            return
        if self._choice.value != version:
            return  # another version was chosen meanwhile
        both = comparison.pair(self._found, other, self._job, other_job)
        self._basis.text = both.basis
        self._box.clear()
        with self._box:
            _compare_table("Figure", self._found, other, both.figures, both.other_figures, self._gauge)
            if both.slices or both.other_slices:
                _compare_table("Slice", self._found, other, both.slices, both.other_slices, self._gauge)


def _compare_table(
    what: str,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    own: Mapping[str, float],
    others: Mapping[str, float],
    gauge: comparison.Gauge,
) -> None:
    if what == "Figure":
        rows = comparison.rows(own, others, {name: gauge.direction(name) for name in [*own, *others]})
    else:
        rows = comparison.rows(own, others, gauge.higher_is_better)
    Table(
        f"{what}s of {one['version']} and {other['version']}",
        (
            Column("name", what),
            Column("own", one["version"], kind="number"),
            Column("other", other["version"], kind="number"),
            Column("change", "This one is", kind="badge"),
        ),
        empty_text="Neither version has figures.",
    ).show(rows)


def first_other(found: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """The version of the first comparison: the production model, else the parent, else the newest other."""
    others = [each for each in models if each["version"] != found["version"]]
    for each in others:
        if each["state"] == "production":
            return each["version"]
    names = [each["version"] for each in others]
    return found["parent"] if found["parent"] in names else names[0]


async def job_of(api: ApiClient, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The job that trained a version; None if this cloud has none."""
    if not found["job"]:
        return None
    try:
        return await api.get(f"/v1/apps/{quote(found['app'], safe='')}/jobs/{quote(found['job'], safe='')}")
    except ApiError as error:
        if error.status not in (404, 422):
            raise
        return None

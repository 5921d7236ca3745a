"""Models: rows, a version's details, and its lineage as a drawing and as text."""

from __future__ import annotations

from typing import Any

from cloud_backend.dashboard.pages import model, models
from cloud_backend.dashboard.parts import comparison_panel, lineage, manifest
from cloud_backend.dashboard.parts.comparison import Gauge

HOSTILE = "<img src=x onerror=alert(1)>"


def a_model(**changes: Any) -> dict[str, Any]:
    return {
        "app": "industrial",
        "version": "v2",
        "state": "approved",
        "parent": "v1",
        "job": "job-1",
        "approved_by": "gate",
        "created_ns": 5,
        "manifest_digest": "d" * 64,
        "figures": {"other": 1.0, "rmse": 7.5646},
        "slices": {"fan": 8.0, "hpc": 6.4},
        "manifest": {
            "task": "remaining life",
            "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 12], "columns": [*"abcdefghijkl"]}],
            "outputs": [{"name": "rul", "dtype": "float32", "shape": [], "unit": "cycles"}],
            "precision": "fp32",
            "licence": "Apache-2.0",
            "limits": {"latency_ms": 5.0},
            "drift": {"output": "novelty", "threshold": 1.0, "rate": 0.01},
            "lineage": {"trained_at": "2026-11-24T15:42:26Z"},
        },
        **changes,
    }


def a_link(version: str, parent: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "version": version,
        "known": True,
        "state": "retired",
        "parent": parent,
        "job": f"job-{version}",
        "approved_by": "gate",
        "data": {"fd001": "a" * 64, "samples": f"{version:0>64}"},
        "code": "0.1.0",
        "seed": 1,
        "trained_at": "today",
        **changes,
    }


def boxes(drawn: lineage.Drawing) -> list[dict[str, Any]]:
    return [node for node in drawn.options["series"][0]["data"] if node["name"]]


def test_a_row_offers_what_can_be_done_with_a_version() -> None:
    gauge = Gauge("rmse", False)
    assert models.model_row(a_model(), gauge)["next"] == "Roll out"
    assert models.model_row(a_model(state="retired"), gauge)["next"] == "Roll out"
    assert models.model_row(a_model(state="refused"), gauge)["next"] == "Approve"
    assert models.model_row(a_model(state="production"), gauge)["next"] == ""
    starter = models.model_row(a_model(state="retired", created_ns=0, job="", parent=""), gauge)
    assert (starter["next"], starter["origin"], starter["parent"]) == ("", "bundled with the app", "–")


def test_a_row_has_the_gates_figure_and_the_range_of_slices() -> None:
    row = models.model_row(a_model(), Gauge("rmse", False))
    assert (row["figure"], row["slices"]) == ("7.565", "2, from 6.4 to 8")
    assert models.model_row(a_model(), Gauge())["figure"] == "other 1"
    assert models.model_row(a_model(figures={}), Gauge("rmse"))["figure"] == "–"


def test_links_stay_below_the_dashboard_whatever_the_names() -> None:
    row = models.model_row(a_model(app="a/b", version="../x", parent=HOSTILE, job="j?k"), Gauge())
    assert row["version_href"] == "/ui/models/a%2Fb/..%2Fx"
    assert row["parent_href"] == "/ui/models/a%2Fb/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E"
    assert row["origin_href"] == "/ui/learning/a%2Fb/jobs/j%3Fk"


def test_production_is_shown_with_its_figure() -> None:
    listed = [a_model(), a_model(version="v1", state="production")]
    text = models.production_sentence(listed, Gauge("rmse", False))
    assert text == "v1, rmse 7.565 when it was made"
    assert models.production_sentence([a_model()], Gauge("rmse")) == ""


def test_details_of_a_manifest() -> None:
    details = manifest.details_of(a_model())
    assert details["Latency limit"] == "5.0 ms a run"
    assert details["Drift detection"] == "novelty over 1, as in 1.0 % of the training data"
    assert "Origin" not in details
    bare = a_model(job="", manifest={"licence": HOSTILE})
    assert manifest.details_of(bare)["Origin"] == "added by an operator"
    assert manifest.details_of(bare)["Licence"] == HOSTILE
    assert manifest.details_of(bare)["Latency limit"] == "none"


def test_tensors_in_rows() -> None:
    features, rul = manifest.tensor_rows(a_model()["manifest"])
    assert (features["shape"], features["content"]) == ("float32, any × 12", "12 columns")
    assert (rul["shape"], rul["unit"], rul["way"]) == ("float32, one value", "cycles", "output")


def test_a_refused_version_has_its_reason() -> None:
    refused = a_model(state="refused")
    job = {"gate": {"reasons": ["slice fan: worse by 30%"]}}
    assert model.state_sentence(refused, job, []) == "Refused by the gate: slice fan: worse by 30%."
    reverted = {"id": "r1", "state": "reverted", "reason": "n1 failed"}
    assert "rollout r1 was reverted: n1 failed" in model.state_sentence(refused, job, [reverted])
    assert model.state_sentence(refused, None, []) == "Refused."


def test_the_first_comparison_is_with_production() -> None:
    own = a_model()
    listed = [a_model(version="v3"), own, a_model(version="v1", state="production")]
    assert comparison_panel.first_other(own, listed) == "v1"
    assert comparison_panel.first_other(own, [a_model(version="v3"), a_model(version="v1")]) == "v1"
    assert comparison_panel.first_other(a_model(parent=""), [own, a_model(version="v3")]) == "v3"


def test_ancestors_stand_left_to_right_with_what_they_were_made_from() -> None:
    drawn = lineage.drawing([a_link("v2", "v1"), a_link("v1")])
    places = {node["name"].partition("\n")[0]: node["x"] for node in boxes(drawn)}
    assert places["v1"] < places["v2"]
    texts = [node["name"] for node in boxes(drawn)]
    assert texts.count("fd001\nunchanged") == 1
    assert "samples\nunchanged" not in texts
    assert f"samples\n{'0' * 12}" in texts
    parents = [edge for edge in drawn.options["series"][0]["links"] if "label" in edge]
    assert [(edge["source"], edge["target"]) for edge in parents] == [("0 right", "1 left")]


def test_boxes_of_a_lineage_do_not_overlap_and_stay_inside() -> None:
    drawn = lineage.drawing([a_link("v3", "v2"), a_link("v2", "v1"), a_link("v1")])
    width, height = lineage._BOX_PX
    found = boxes(drawn)
    for number, box in enumerate(found):
        assert box["x"] - width / 2 >= 0
        assert box["x"] + width / 2 <= drawn.width_px
        assert box["y"] - height / 2 >= 0
        assert box["y"] + height / 2 <= drawn.height_px
        for other in found[number + 1 :]:
            assert abs(box["x"] - other["x"]) >= width or abs(box["y"] - other["y"]) >= height


def test_edges_of_a_lineage_name_its_nodes() -> None:
    series = lineage.drawing([a_link("v2", "v1"), {"version": "v1", "known": False}]).options["series"][0]
    ids = [node["id"] for node in series["data"]]
    assert len(ids) == len(set(ids))
    assert {edge[end] for edge in series["links"] for end in ("source", "target")} <= set(ids)


def test_a_long_lineage_is_cut_in_the_drawing_and_whole_in_the_text() -> None:
    chain = [a_link(f"v{number}", f"v{number - 1}") for number in range(30, 0, -1)]
    assert lineage.drawing(chain).width_px < 1500
    assert {row["version"] for row in lineage.text_rows("a", chain)} == {link["version"] for link in chain}


def test_text_of_a_lineage_has_whole_digests_once() -> None:
    rows = lineage.text_rows("a", [a_link("v2", "v1"), {"version": "v1", "known": False}])
    assert len({row["id"] for row in rows}) == len(rows)
    assert [row["detail"] for row in rows if row["name"] == "fd001"] == ["a" * 64]
    assert rows[-1]["detail"] == "not in the registry"


def test_a_lineage_in_one_sentence() -> None:
    assert lineage.sentence([a_link("v2", "v1"), a_link("v1")]) == (
        "v1 → v2, trained from v1 and 2 data sets."
    )
    assert lineage.sentence([a_link("v1")]) == "v1 has no parent; trained from 2 data sets."
    assert lineage.sentence([]) == "Unknown origin."

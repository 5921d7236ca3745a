"""Learning: reasons of samples, forms, rows and texts of jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from cloud_backend.dashboard.pages import jobs, learning
from cloud_backend.dashboard.parts import sample_queue, training_panel
from common.pages import ApiClient

HOSTILE = "<script>alert(1)</script>"


def a_sample(**changes: Any) -> dict[str, Any]:
    return {
        "id": "d" * 64,
        "app": "industrial",
        "node": "engine-1",
        "subject": "engine-1",
        "group": "engine-1/run-4",
        "captured_ns": 3,
        "reasons": {"drift": 0.75, "low_margin": 0.9},
        "attributes": {"run": 4, "channels": ["T2"], "version": "1.0.0", "flag": True},
        "size": 7627,
        "received_ns": 4,
        "labels": 0,
        **changes,
    }


def a_job(**changes: Any) -> dict[str, Any]:
    return {
        "id": "job-1",
        "app": "industrial",
        "state": "running",
        "progress": 0.456,
        "message": "fitting",
        "seed": 3,
        "parameters": {},
        "version": "v2",
        "parent": "v1",
        "attempts": 1,
        "gate": {},
        "created_ns": 1_000_000_000,
        "started_ns": 2_000_000_000,
        "ended_ns": None,
        **changes,
    }


GATE = {"figure": "rmse", "candidate": 7.5, "production": 30.0, "gain": 0.75, "training_samples": 36}


def test_a_sample_has_its_reasons_and_its_labels() -> None:
    row = sample_queue.sample_row(a_sample(), virtual=True)
    assert (row["why"], row["why_text"]) == (0.9, "low margin 0.90, drift 0.75")
    assert (row["virtual"], row["state"], row["label"]) == ("virtual", "waiting", "Label")
    labelled = sample_queue.sample_row(a_sample(labels=2, reasons={}), virtual=False)
    assert (labelled["why"], labelled["virtual"], labelled["state"]) == (None, "", "2 labels")
    assert labelled["label"] == "Label again"


def test_reasons_are_bars_the_strongest_first() -> None:
    rows = sample_queue.reason_rows(a_sample(reasons={"drift": 0.2, HOSTILE: 0.4, "broken": None}))
    assert [(row["reason"], row["bar"]) for row in rows] == [(HOSTILE, 0.4), ("drift", 0.2)]


def test_attributes_are_left_to_an_apps_own_form() -> None:
    assert set(sample_queue.details_of(a_sample(), True, attributes=False)) == {"Subject", "Node"}
    plain = sample_queue.details_of(a_sample(), True, attributes=True)
    assert plain == {"Subject": "engine-1", "Node": "engine-1, virtual", "run": "4", "version": "1.0.0"}


def test_a_label_of_the_plain_form() -> None:
    assert sample_queue.label_body(a_sample(), " outcome ", '{"class": "ok"}') == {
        "subject": "engine-1",
        "group": "engine-1/run-4",
        "kind": "outcome",
        "body": {"class": "ok"},
    }
    assert sample_queue.label_body(a_sample(), "seen", "")["body"] == {}
    for kind, body in (("", "{}"), ("outcome", "{"), ("outcome", "[1]")):
        with pytest.raises(ValueError, match=r"kind|JSON"):
            sample_queue.label_body(a_sample(), kind, body)


def test_a_count_with_more_pages_is_marked() -> None:
    assert sample_queue.waiting(3, more=False) == ("3", "")
    assert sample_queue.waiting(100, more=True) == ("100+", "among the newest")


def newest(pages: list[list[int]], wanted: int) -> tuple[list[Any], bool, int]:
    """Result of `samples.newest` on an API with these pages, and the number of pages read."""
    requested: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", 0))
        requested.append(number)
        following = str(number + 1) if number + 1 < len(pages) else None
        items = pages[number][: int(request.url.params["limit"])]
        return httpx.Response(200, json={"items": items, "next": following})

    async def find() -> tuple[list[Any], bool]:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return await sample_queue.newest(ApiClient(client, "token"), "industrial", wanted, "false")

    return *asyncio.run(find()), len(requested)


def test_a_filtered_list_reads_on_if_a_page_holds_few() -> None:
    assert newest([[1], [], [2, 3]], wanted=2) == ([1, 2], False, 3)
    assert newest([[1, 2], [3]], wanted=2) == ([1, 2], True, 1)


def test_a_filtered_list_reads_a_bounded_number_of_pages() -> None:
    assert newest([[]] * 50, wanted=5) == ([], True, sample_queue.PAGES)


@pytest.mark.parametrize(
    ("seed", "parameters", "body"),
    [
        (3.0, "", {"seed": 3}),
        (None, None, {"seed": 0}),
        (0, '{"trees": 200}', {"seed": 0, "parameters": {"trees": 200}}),
    ],
)
def test_the_request_of_a_job(seed: Any, parameters: Any, body: dict[str, Any]) -> None:
    assert training_panel.job_body(seed, parameters) == body


@pytest.mark.parametrize(("seed", "parameters"), [(-1, ""), (2**31, ""), (0, "{"), (0, "[1]")])
def test_an_invalid_job_is_refused(seed: int, parameters: str) -> None:
    with pytest.raises(ValueError, match=r"seed|parameters"):
        training_panel.job_body(seed, parameters)


def test_the_job_that_runs_is_shown_before_newer_ones() -> None:
    queued, running = a_job(id="job-2", state="queued"), a_job()
    assert training_panel.current_job([queued, running]) == running
    assert training_panel.current_job([queued, a_job(state="done")]) == queued
    assert training_panel.current_job([]) is None


def test_a_row_of_a_job() -> None:
    row = jobs.job_row(a_job())
    assert (row["progress"], row["progress_text"], row["message"]) == (0.456, "46 %", "fitting")
    assert (row["cancel"], row["took"], row["version_href"]) == ("Cancel", "–", "")
    done = jobs.job_row(a_job(state="done", message="approved", gate=GATE, ended_ns=49_000_000_000))
    assert (done["state"], done["message"]) == ("approved", "rmse better by 75 %")
    assert (done["cancel"], done["took"]) == ("", "47 s")
    assert done["version_href"] == "/ui/models/industrial/v2"
    assert jobs.job_row(a_job(state="cancelled", message="cancelled"))["message"] == ""


def test_details_of_a_job_before_and_after_the_gate() -> None:
    assert jobs.details_of(a_job(state="queued", parent=""))["From"] == "known when it starts"
    assert jobs.details_of(a_job())["Trained on"] == "known after the gate"
    assert jobs.details_of(a_job(state="failed"))["Trained on"] == "–"
    details = jobs.details_of(a_job(state="done", gate=GATE, parameters={"trees": 200}))
    assert (details["Trained on"], details["Parameters"]) == ("36 samples", "trees 200")


def test_links_of_a_job_lead_to_its_candidate_once_there_is_one() -> None:
    assert jobs.links_of(a_job(), named=False) == []
    assert [name for name, _ in jobs.links_of(a_job(gate=GATE), named=True)] == ["job-1", "Candidate v2"]


def test_the_tail_of_a_log_starts_with_a_whole_line() -> None:
    assert jobs.log_tail("") == "(empty)"
    assert jobs.log_tail("a\nb\n") == "a\nb"
    long = jobs.log_tail("half" + "x" * jobs.LOG_BYTES + "\nwhole\n")
    assert long == "whole"
    assert len(jobs.log_tail("line\n" * 5000).splitlines()) == jobs.LOG_LINES


def test_the_app_with_the_most_nodes_is_shown_first() -> None:
    assert learning.first_app({"b": {"nodes": 1}, "a": {"nodes": 1}, "c": {"nodes": 0}}) == "a"
    assert learning.first_app({}) == ""

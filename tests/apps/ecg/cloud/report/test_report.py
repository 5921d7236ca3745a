"""The PDF report: its content, drawings at true size, and text from nodes as text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient

from apps.ecg.cloud import formatting, queries
from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.report.report import LINE_S, Report, ReportStrip, render
from apps.ecg.cloud.report.route import report_of
from apps.ecg.cloud.report.tables import alarms, hours, summary
from cloud_backend.store.engine import open_store, sqlite_url
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, DAY, a_day, alarm, at, rates, rhythm, strip

MM = 72 / 25.4
MARKUP = "<b>&amp; <img src=x>"
PATH = f"/patients/{ANN}/days/{DAY}/report.pdf"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The queries run on both databases elsewhere; what is drawn of them does not differ."""
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    SQLModel.metadata.create_all(
        engine, tables=[SQLModel.metadata.tables[str(each.__tablename__)] for each in EcgCloud().tables()]
    )
    yield engine
    engine.dispose()


@contextmanager
def opened(content: bytes) -> Iterator[pypdfium2.PdfDocument]:
    document = pypdfium2.PdfDocument(content)
    try:
        yield document
    finally:
        document.close()


def text_of(content: bytes) -> str:
    with opened(content) as document:
        pages = [page.get_textpage().get_text_bounded() for page in document]
    return " ".join(" ".join(pages).split())


def report(engine: Engine, patient: str = ANN) -> Report:
    with Session(engine) as session:
        return report_of(session, patient, queries.day_of(at(0)), made_ns=at(90_000), made_by="Dr Ada")


def test_the_report_of_a_day_has_findings_and_their_model(client: TestClient, project: Project) -> None:
    project(a_day())
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert f'filename="ecg-{ANN}-{DAY}.pdf"' in answer.headers["content-disposition"]
    text = text_of(answer.content)
    for phrase in (
        f"ECG report, {DAY}", f"Patient {ANN}", "Site ward, node bed-1", "Model v1", "for Dr Ada",
        formatting.DISCLAIMER, "AF burden 8.3 %", "1, longest 10 min", "SDNN (5 min) 42 ms",
        "PR, QRS 160 ms, 90 ms",
        "Minimum 60 bpm", "Maximum 66 bpm", "00:10:40 Atrial fibrillation medium ended 9 min 30 s",
        "a gap of 3 s",
        "beats by the edge: 9 N, 1 V", "25 mm/s, 10 mm/mV", "Page 1 of",
    ):  # fmt: skip
        assert phrase in text, phrase
    assert "virtual" not in text


def test_a_virtual_signal_is_called_so(engine: Engine, project: Project) -> None:
    project([rates(0, virtual=True)])
    assert "The signal is virtual." in text_of(render(report(engine)))


def test_a_second_of_a_strip_is_25_mm_of_paper_and_nothing_is_a_picture(
    engine: Engine, project: Project
) -> None:
    project([rates(630), strip(635, leads=["II"])])
    with opened(render(report(engine))) as document:
        objects: list[Any] = [found for page in document for found in page.get_objects(max_depth=5)]
        kinds = {found.type for found in objects}
        widths = [
            (right - left) / MM
            for left, _, right, _ in (f.get_bounds() for f in objects if f.type == pdfium.FPDF_PAGEOBJ_PATH)
        ]
    assert pdfium.FPDF_PAGEOBJ_IMAGE not in kinds
    trace_mm = 25 * (2500 - 1 - 8) / 250  # after the sample that is missing
    assert any(math.isclose(width, trace_mm, abs_tol=1.0) for width in widths)


def test_a_clinicians_review_stands_over_the_strip(
    client: TestClient, project: Project, engine: Engine
) -> None:
    project(a_day())
    review = {"verdict": "corrected", "beats": [{"at_ms": 500, "kind": "S"}], "rhythm": "sinus"}
    assert client.post(f"/strips/{ANN}.{at(635)}/review", json=review).status_code == 201
    text = text_of(render(report(engine)))
    assert "corrected by Dr Ada, rhythm Sinus rhythm, letters by the clinician" in text


def test_text_from_a_node_stays_text(engine: Engine, project: Project) -> None:
    project([rates(0, version=MARKUP), alarm(5, name="pause", text=MARKUP), rhythm(0, 5)])
    project([alarm(6, name="pause", text=MARKUP)])
    project([strip(0, name=MARKUP, leads=[MARKUP], rhythm=MARKUP)])
    assert text_of(render(report(engine))).count(MARKUP) >= 6


def test_long_lists_are_cut_with_a_note(engine: Engine, project: Project) -> None:
    project(
        [rates(0), *(alarm(10.0 * n, name="pause") for n in range(60)), *(strip(20.0 * n) for n in range(30))]
    )
    whole = report(engine)
    assert (len(whole.strips), whole.more_strips) == (24, 6)
    began = [each.strip.began_ns for each in whole.strips]
    assert began == sorted(began)
    text = text_of(render(replace(whole, strips=whole.strips[:1])))
    assert "20 more rows are on the patient's page." in text
    assert "6 more strips of this day" in text


def test_a_long_strip_of_many_leads_takes_more_paper(engine: Engine, project: Project) -> None:
    names = [f"L{number}" for number in range(8)]
    project([rates(630), strip(635, leads=names)])
    whole = report(engine)
    found = whole.strips[0]
    short = ReportStrip(found.strip, found.values_mv[: round((LINE_S + 1) * found.strip.rate_hz)])
    longer = ReportStrip(found.strip, np.vstack([found.values_mv, short.values_mv[:250]]))
    pages = []
    for strips in ([short], [longer]):
        with opened(render(replace(whole, strips=strips))) as document:
            pages.append(len(document))
            text = " ".join(page.get_textpage().get_text_bounded() for page in document).split()
            assert {name: text.count(name) for name in names} == dict.fromkeys(names, len(pages))
    assert pages[0] < pages[1]


def test_a_day_of_which_nothing_is_known_has_no_report(client: TestClient, project: Project) -> None:
    project([rates(0)])
    assert client.get(PATH).status_code == 200
    assert client.get(f"/patients/{BOB}/days/{DAY}/report.pdf").status_code == 404
    assert client.get(f"/patients/{ANN}/days/2026-11-15/report.pdf").status_code == 404
    assert client.get(f"/patients/{ANN}/days/1500-01-01/report.pdf").status_code == 422


def test_a_day_of_bad_signal_has_dashes_and_no_guess(engine: Engine, project: Project) -> None:
    nothing = {"N": 0}
    project([rates(10.0 * n, None, rhythm="unknown", beats=nothing, good=0.0) for n in range(5)])
    day = report(engine).day
    values = dict(pair for _, pairs in summary(day) for pair in pairs)
    assert values["Mean"] == values["AF burden"] == values["SDNN (5 min)"] == formatting.NONE
    assert values["Withheld"] == "100 %: bad signal"
    assert values["Ventricular, V"] == f"0 ({formatting.NONE})"
    assert len(alarms(day)) == 1
    assert hours(day)[1][2:5] == [formatting.NONE] * 3
    assert render(report(engine)).startswith(b"%PDF")

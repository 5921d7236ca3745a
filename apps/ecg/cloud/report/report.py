"""A report of one patient and day as PDF: summary, trend, tables, and the strips of its alarms on ECG paper.

Landscape A4, all drawings as vectors, fonts embedded. Text from nodes and persons is escaped. Omitted rows
and strips are counted on the page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

from apps.ecg.cloud import formatting
from apps.ecg.cloud.ecg_paper import Paper, lay_out
from apps.ecg.cloud.report.drawing import BOLD, FONT, INK, LINE, SOFT, Mark, StripDrawing, TrendDrawing
from apps.ecg.cloud.report.tables import alarms, episodes, hours, signal, summary
from apps.ecg.cloud.schemas import Day, PatientPublic, StripPublic, Trend
from common.time_notes import time_statement

PAGE = landscape(A4)
MARGIN = 15 * mm
WIDTH = PAGE[0] - 2 * MARGIN
_PADDING = 6
"""Of ReportLab's frames, in points."""
ROWS = 40
"""Limit of rows of a table."""
STRIPS = 24
LINE_S = 10.0
"""Limit of a strip's length on one line of paper: 260 mm, which fit the page."""
ROOM_MM = 140.0
"""Height of a strip's leads on one paper; further leads follow on a separate one."""
_WARNING = HexColor("#fdf0d5")


@dataclass(frozen=True, slots=True)
class ReportStrip:
    """A strip with its samples ``(samples, leads)`` in mV."""

    strip: StripPublic
    values_mv: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Report:
    """Content of a report. ``strips`` are in order of time, ``more_strips`` is the number left out."""

    patient: PatientPublic
    day: Day
    trend: Trend
    strips: Sequence[ReportStrip]
    more_strips: int
    made_ns: int
    made_by: str


def render(report: Report) -> bytes:
    """The report as PDF."""
    _register_fonts()
    day = report.day
    story: list[Flowable] = [_head(report), Spacer(0, 3 * mm), _summary(report), Spacer(0, 4 * mm)]
    if report.trend.points:
        title = "Heart rate: mean and range over episodes of rhythm; grey: findings withheld (UTC)"
        trend = TrendDrawing(report.trend.points, report.trend.bucket_s, day.episodes, WIDTH)
        story.append(KeepTogether([_title(title), trend]))
    for title, rows, widths in (
        ("Alarms", alarms(day), (22, 50, 20, 40, 24, 18, 93)),
        ("Episodes of rhythm", episodes(day), (22, 60, 30, 30, 30, 95)),
        ("By the hour", hours(day), (18, 24, 20, 32, 24, 20, 20, 22, 20, 22, 22, 23)),
        ("Signal", signal(day), (22, 30, 45, 170)),
    ):
        if len(rows) > 1:
            story += _table(title, rows, widths)
    for strip in report.strips:
        story += _strip(strip)
    if report.more_strips:
        story.append(_text(f"{report.more_strips} more strips of this day are on the patient's page."))
    out = io.BytesIO()
    name = f"ECG report, {day.patient}, {day.day}"
    document = SimpleDocTemplate(
        out,
        pagesize=PAGE,
        leftMargin=MARGIN - _PADDING,
        rightMargin=MARGIN - _PADDING,
        topMargin=14 * mm,
        bottomMargin=16 * mm,
        title=name,
        author="edgeloop",
        subject=formatting.DISCLAIMER,
        lang="en",
    )
    document.build(story, canvasmaker=partial(_NumberedCanvas, footer=f"{formatting.DISCLAIMER}. {name}"))
    return out.getvalue()


# --------------------------------------------------------------------------------------------- parts


def _head(report: Report) -> Flowable:
    patient, day = report.patient, report.day
    origin = f"Site {patient.site}, node {patient.node}"
    models = ", ".join(day.versions) or formatting.NONE
    left = [
        Paragraph(f"ECG report, {escape(day.day)} (UTC)", _style("h1", 15, BOLD)),
        _text(f"Patient {day.patient} (pseudonym made on the device). {origin}. Model {models}."),
        _text(f"Made {formatting.stamp(report.made_ns)} for {report.made_by}."),
    ]
    if statement := time_statement(day.totals.time_quality):
        left.append(_text(statement))
    warning = formatting.DISCLAIMER + (". The signal is virtual." if patient.virtual else ".")
    right = Paragraph(escape(warning), _style("warning", 9, BOLD, alignment=TA_RIGHT))
    table = Table([[left, right]], colWidths=[WIDTH - 80 * mm, 80 * mm])
    table.setStyle(
        [("VALIGN", (0, 0), (-1, -1), "TOP"), ("BACKGROUND", (1, 0), (1, 0), _WARNING), *_NO_PADDING]
    )
    return table


def _summary(report: Report) -> Flowable:
    columns = []
    for title, pairs in summary(report.day):
        rows = [[_title(title), ""]] + [[_text(name, colour=SOFT), _text(value)] for name, value in pairs]
        part = Table(rows, colWidths=[29 * mm, 34 * mm])
        part.setStyle([("SPAN", (0, 0), (1, 0)), ("VALIGN", (0, 0), (-1, -1), "TOP"), *_TIGHT])
        columns.append(part)
    table = Table([columns], colWidths=[WIDTH / len(columns)] * len(columns))
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("BOX", (0, 0), (-1, -1), 0.5, LINE), *_TIGHT])
    return table


def _table(title: str, rows: Sequence[Sequence[str]], widths_mm: Sequence[float]) -> list[Flowable]:
    head, *body = rows
    cells: list[list[Any]] = [[_text(name, colour=SOFT) for name in head]]
    cells += [[_text(value) for value in row] for row in body[:ROWS]]
    table = Table(cells, colWidths=[width * mm for width in widths_mm], repeatRows=1)
    table.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.3, LINE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *_TIGHT,
        ]
    )
    parts: list[Flowable] = [Spacer(0, 4 * mm), _title(title), table]
    if len(body) > ROWS:
        parts.append(_text(f"{len(body) - ROWS} more rows are on the patient's page."))
    return [KeepTogether(parts)] if len(body) <= 10 else parts


def _strip(found: ReportStrip) -> list[Flowable]:
    strip = found.strip
    title = f"{formatting.alarm(strip.alarm)}, {formatting.clock(strip.began_ns)} UTC"
    title = formatting.marked(title, strip.time_quality)
    details = [
        f"{strip.priority} priority",
        f"rhythm by the edge: {formatting.rhythm(strip.rhythm)}",
        f"beats by the edge: {formatting.beat_counts([beat['kind'] for beat in strip.beats])}",
        f"model {strip.version}",
    ]
    if strip.reviewed_ns is not None:
        truth = f", rhythm {formatting.rhythm(strip.true_rhythm)}" if strip.true_rhythm else ""
        details.append(
            f"{formatting.VERDICTS.get(strip.verdict, strip.verdict)} by {strip.reviewed_by}{truth}"
        )
    beats = [(beat["at_ms"], beat["kind"]) for beat in strip.beats]
    if strip.true_beats is not None:
        beats = [(beat.at_ms, beat.kind) for beat in strip.true_beats]
        details.append("letters by the clinician")
    details.append("25 mm/s, 10 mm/mV")
    drawings = _drawings(found, beats)
    head = [Spacer(0, 4 * mm), _title(title), _text(", ".join(details) + ".", colour=SOFT)]
    return [KeepTogether([*head, drawings[0]]), *drawings[1:]]


def _drawings(found: ReportStrip, beats: Sequence[tuple[float, str]]) -> list[StripDrawing]:
    """The strip on one or more papers, by its length and number of leads."""
    strip = found.strip
    size = max(1, round(LINE_S * strip.rate_hz))
    drawings = []
    for leads in _groups(lay_out(found.values_mv, strip.leads, strip.rate_hz)):
        for first in range(0, len(found.values_mv), size):
            piece = found.values_mv[first : first + size, leads]
            began_ms = 1000 * first / strip.rate_hz
            ended_ms = began_ms + 1000 * len(piece) / strip.rate_hz
            marks = [Mark(at_ms - began_ms, kind) for at_ms, kind in beats if began_ms <= at_ms < ended_ms]
            drawings.append(StripDrawing(lay_out(piece, strip.leads[leads], strip.rate_hz), marks))
    return drawings


def _groups(paper: Paper) -> list[slice]:
    """Leads that fit on one page, in order."""
    groups: list[slice] = []
    first, top_mm = 0, paper.rows[0].top_mm
    for number, row in enumerate(paper.rows):
        if number > first and row.bottom_mm - top_mm > ROOM_MM:
            groups.append(slice(first, number))
            first, top_mm = number, row.top_mm
    return [*groups, slice(first, len(paper.rows))]


# ---------------------------------------------------------------------------------------------- look

_TIGHT = [
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
]
_NO_PADDING = [("LEFTPADDING", (0, 0), (0, -1), 0)]


@cache
def _register_fonts() -> None:
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))


@cache
def _style(name: str, size: float, font: str = FONT, colour: Any = INK, **more: Any) -> ParagraphStyle:
    return ParagraphStyle(name, fontName=font, fontSize=size, leading=1.35 * size, textColor=colour, **more)


def _title(text: str) -> Paragraph:
    return Paragraph(escape(text), _style("title", 9, BOLD, spaceAfter=2))


def _text(text: str, *, colour: Any = INK) -> Paragraph:
    return Paragraph(escape(text), _style(f"text-{colour}", 8, FONT, colour, splitLongWords=1))


class _NumberedCanvas(Canvas):
    """Writes the footer at the end, when the number of pages is known."""

    def __init__(self, *arguments: Any, footer: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._footer = footer
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]  # internal to ReportLab, as in its recipe for page numbers

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self.setFont(FONT, 7)
            self.setFillColor(SOFT)
            self.drawString(MARGIN, 9 * mm, self._footer)
            self.drawRightString(PAGE[0] - MARGIN, 9 * mm, f"Page {number} of {len(self._pages)}")
            super().showPage()
        super().save()

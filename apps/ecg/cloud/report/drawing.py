"""Vector drawings for the report: strips on ECG paper at their true size, and a day's trend.

They are ReportLab flowables; printed at 100 %, a strip has 25 mm/s and 10 mm/mV.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable

from apps.ecg.cloud.ecg_paper import HEAD_MM, LARGE_MM, SMALL_MM, Paper, x_of
from apps.ecg.cloud.formatting import clock
from apps.ecg.cloud.schemas import EpisodePublic, TrendPoint

FONT, BOLD = "Vera", "VeraBd"
INK, SOFT, LINE = HexColor("#17212b"), HexColor("#52606d"), HexColor("#d5dce3")
_SMALL, _LARGE = HexColor("#f6d3d8"), HexColor("#e5a0ab")
_RATE, _WITHHELD = HexColor("#0f766e"), Color(0.48, 0.53, 0.58, 0.3)
BANDS = {
    "AF": HexColor("#4f46e5"),
    "VT": HexColor("#be123c"),
    "tachycardia": HexColor("#b45309"),
    "bradycardia": HexColor("#0369a1"),
    "pause": HexColor("#7e22ce"),
}
_BAND_OPACITY = 0.2
_MIN_BAND = 0.4 * mm
_BAD_SHARE = 0.5
_TREND_HEIGHT = 52 * mm
_TICKS_NS = tuple(minutes * 60 * 10**9 for minutes in (1, 5, 10, 30, 60, 120, 240))


@dataclass(frozen=True, slots=True)
class Mark:
    """A beat's letter over a strip."""

    at_ms: float
    kind: str


class StripDrawing(Flowable):
    """A strip with the classes of its beats above it."""

    def __init__(self, paper: Paper, beats: Iterable[Mark]) -> None:
        super().__init__()
        self._paper = paper
        self._beats = tuple(beats)
        self.width, self.height = paper.width_mm * mm, paper.height_mm * mm

    def wrap(self, aW: float, aH: float) -> tuple[float, float]:  # noqa: ARG002
        return self.width, self.height

    def draw(self) -> None:
        canvas, paper = self.canv, self._paper
        canvas.saveState()
        canvas.translate(0, self.height)
        canvas.scale(mm, -mm)  # millimetres from the left and from the top, as in the layout
        _grid(canvas, paper, SMALL_MM, _SMALL, 0.08)
        _grid(canvas, paper, LARGE_MM, _LARGE, 0.16)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(0.25)
        canvas.setLineJoin(1)
        for row in paper.rows:
            for line in (row.pulse, *(piece.tolist() for piece in row.trace)):
                path = canvas.beginPath()
                path.moveTo(*line[0])
                for point in line[1:]:
                    path.lineTo(*point)
                canvas.drawPath(path)
            _text(canvas, 1, row.baseline_mm - 11.2, row.lead, BOLD, 3)
        for beat in self._beats:
            at_mm = x_of(beat.at_ms / 1000)
            if at_mm <= paper.width_mm:
                _text(canvas, at_mm, HEAD_MM - 3.5, beat.kind, BOLD if beat.kind != "N" else FONT, 3.4, True)
        for second in range(int(paper.seconds) + 1):
            if x_of(second) < paper.width_mm - LARGE_MM:
                _text(canvas, x_of(second), paper.height_mm - 1.5, f"{second} s", FONT, 2.3, True)
        canvas.restoreState()


class TrendDrawing(Flowable):
    """Heart rate with its range over a day, with episodes of rhythm behind it; gaps are not bridged."""

    def __init__(
        self, points: Sequence[TrendPoint], bucket_s: int, episodes: Sequence[EpisodePublic], width: float
    ) -> None:
        super().__init__()
        self._points = tuple(points)
        self._bucket_ns = bucket_s * 10**9
        self._episodes = tuple(episodes)
        self.width, self.height = width, _TREND_HEIGHT
        self._first_ns = points[0].at_ns
        self._last_ns = points[-1].at_ns + self._bucket_ns
        highest = max((point.max_bpm for point in points if point.max_bpm is not None), default=100.0)
        self._top_bpm = 20.0 * (int(max(highest, 100.0) / 20) + 1)

    def wrap(self, aW: float, aH: float) -> tuple[float, float]:  # noqa: ARG002
        return self.width, self.height

    def draw(self) -> None:
        canvas = self.canv
        canvas.saveState()
        self._draw_bands(canvas)
        self._draw_axes(canvas)
        self._draw_rate(canvas)
        canvas.restoreState()

    def _x(self, at_ns: int) -> float:
        left = 12 * mm
        share = (at_ns - self._first_ns) / (self._last_ns - self._first_ns)
        return left + min(1.0, max(0.0, share)) * (self.width - left - 2 * mm)

    def _y(self, bpm: float) -> float:
        low = 8 * mm
        share = (bpm - 20.0) / (self._top_bpm - 20.0)
        return low + min(1.0, max(0.0, share)) * (self.height - low - 6 * mm)

    def _draw_bands(self, canvas: Canvas) -> None:
        base, top = self._y(20.0), self._y(self._top_bpm)
        canvas.setFillColor(_WITHHELD)
        bad = [point.good_share < _BAD_SHARE for point in self._points]
        for run in self._runs(bad):
            left = self._x(run[0].at_ns)
            canvas.rect(left, base, self._x(run[-1].at_ns + self._bucket_ns) - left, top - base, 0, 1)
        label_end = 0.0
        for episode in self._episodes:
            ended_ns = self._last_ns if episode.ended_ns is None else episode.ended_ns
            if ended_ns < self._first_ns or episode.began_ns > self._last_ns:
                continue
            left = self._x(episode.began_ns)
            width = max(self._x(ended_ns) - left, _MIN_BAND)
            colour = BANDS.get(episode.label, SOFT)
            canvas.setFillColor(colour, alpha=_BAND_OPACITY)
            canvas.rect(left, base, width, top - base, 0, 1)
            if left > label_end:
                canvas.setFillColor(colour)
                canvas.setFont(FONT, 6.5)
                canvas.drawString(left, top + 1.5 * mm, episode.label)
                label_end = left + canvas.stringWidth(episode.label, FONT, 6.5) + mm

    def _draw_axes(self, canvas: Canvas) -> None:
        canvas.setFont(FONT, 6.5)
        canvas.setLineWidth(0.3)
        canvas.setFillColor(SOFT)
        step = 20 if self._top_bpm <= 160 else 40
        for bpm in range(20, int(self._top_bpm) + 1, step):
            canvas.setStrokeColor(LINE)
            canvas.line(self._x(self._first_ns), self._y(bpm), self._x(self._last_ns), self._y(bpm))
            canvas.drawRightString(self._x(self._first_ns) - 1.5 * mm, self._y(bpm) - 2, str(bpm))
        canvas.drawString(0, self._y(self._top_bpm) + 1.5 * mm, "bpm")
        span_ns = self._last_ns - self._first_ns
        tick_ns = next((each for each in _TICKS_NS if span_ns <= 12 * each), _TICKS_NS[-1])
        for at_ns in range(-(-self._first_ns // tick_ns) * tick_ns, self._last_ns + 1, tick_ns):
            canvas.setStrokeColor(SOFT)
            canvas.line(self._x(at_ns), self._y(20), self._x(at_ns), self._y(20) - mm)
            canvas.drawCentredString(self._x(at_ns), self._y(20) - 4 * mm, clock(at_ns)[:5])

    def _draw_rate(self, canvas: Canvas) -> None:
        for run in self._runs([point.heart_rate_bpm is not None for point in self._points]):
            canvas.setFillColor(_RATE, alpha=0.18)
            path = canvas.beginPath()
            path.moveTo(self._x(run[0].at_ns), self._y(run[0].min_bpm or 0.0))
            for point in run:
                path.lineTo(self._x(point.at_ns), self._y(point.max_bpm or 0.0))
            for point in reversed(run):
                path.lineTo(self._x(point.at_ns), self._y(point.min_bpm or 0.0))
            canvas.drawPath(path, stroke=0, fill=1)
            canvas.setStrokeColor(_RATE)
            canvas.setLineWidth(0.8)
            line = canvas.beginPath()
            line.moveTo(self._x(run[0].at_ns), self._y(run[0].heart_rate_bpm or 0.0))
            for point in run[1:]:
                line.lineTo(self._x(point.at_ns), self._y(point.heart_rate_bpm or 0.0))
            canvas.drawPath(line)

    def _runs(self, wanted: Sequence[bool]) -> list[list[TrendPoint]]:
        """Runs of wanted points, split at other points and missing buckets."""
        runs: list[list[TrendPoint]] = []
        for point, is_wanted in zip(self._points, wanted, strict=True):
            if not is_wanted:
                continue
            if runs and point.at_ns - runs[-1][-1].at_ns <= 1.5 * self._bucket_ns:
                runs[-1].append(point)
            else:
                runs.append([point])
        return runs


def _grid(canvas: Canvas, paper: Paper, step_mm: float, colour: Color, width_mm: float) -> None:
    canvas.setStrokeColor(colour)
    canvas.setLineWidth(width_mm)
    upright = [(x, 0, x, paper.height_mm) for x in _steps(paper.width_mm, step_mm)]
    level = [(0, y, paper.width_mm, y) for y in _steps(paper.height_mm, step_mm)]
    canvas.lines([*upright, *level])


def _steps(size_mm: float, step_mm: float) -> list[float]:
    return [number * step_mm for number in range(int(size_mm / step_mm) + 1)]


def _text(
    canvas: Canvas, x_mm: float, y_mm: float, text: str, font: str, size_mm: float, centred: bool = False
) -> None:
    """Text on a canvas whose y goes down."""
    canvas.saveState()
    canvas.translate(x_mm, y_mm)
    canvas.scale(1, -1)
    canvas.setFillColor(INK)
    canvas.setFont(font, size_mm)
    (canvas.drawCentredString if centred else canvas.drawString)(0, 0, text)
    canvas.restoreState()

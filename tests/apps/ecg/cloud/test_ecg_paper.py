"""Strips on ECG paper: the scale, gaps, what a lead without signal looks like, and text that stays text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from apps.ecg.cloud.ecg_paper import HEAD_MM, MARGIN_MM, MAX_MV, lay_out, svg, x_of

RATE_HZ = 250.0


def sine(seconds: float = 4.0, leads: int = 1, size_mv: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.column_stack([size_mv * np.sin(2 * np.pi * time_s) for _ in range(leads)])


def test_a_second_is_25_mm_and_a_millivolt_10() -> None:
    values = np.zeros((1001, 1))
    values[500] = 1.0
    (piece,) = lay_out(values, ["II"], RATE_HZ).rows[0].trace
    baseline_mm = piece[0, 1]
    assert piece[500, 0] - piece[250, 0] == pytest.approx(25.0)
    assert baseline_mm - piece[500, 1] == pytest.approx(10.0)
    assert piece[500, 0] == x_of(2.0)


def test_rows_follow_each_other_on_whole_squares_and_hold_their_signal() -> None:
    paper = lay_out(sine(leads=3, size_mv=1.4), ["I", "II", "V5"], RATE_HZ)
    assert paper.rows[0].top_mm == HEAD_MM
    for row, following in zip(paper.rows, paper.rows[1:], strict=False):
        assert row.bottom_mm == following.top_mm
    for row in paper.rows:
        assert row.baseline_mm % 5 == row.bottom_mm % 5 == 0
        heights = np.concatenate(row.trace)[:, 1]
        assert row.top_mm <= heights.min()
        assert heights.max() <= row.bottom_mm
        assert min(y for _, y in row.pulse) > row.top_mm
    assert (paper.width_mm % 5, paper.height_mm % 5) == (0, 0)
    assert paper.width_mm >= MARGIN_MM + 4 * 25


def test_a_level_that_the_electrodes_add_does_not_move_the_signal() -> None:
    rows = [lay_out(sine() + level, ["II"], RATE_HZ).rows[0] for level in (0.0, 40.0)]
    np.testing.assert_allclose(rows[0].trace[0], rows[1].trace[0], atol=1e-9)


def test_missing_samples_break_the_line() -> None:
    values = sine()
    values[100:300] = np.nan
    before, after = lay_out(values, ["II"], RATE_HZ).rows[0].trace
    assert (len(before), len(after)) == (100, len(values) - 300)


def test_a_lead_that_is_off_has_an_empty_row_and_a_wild_one_stays_in_its_own() -> None:
    values = np.column_stack([np.full(1000, np.nan), sine(size_mv=90.0)[:, 0]])
    off, wild = lay_out(values, ["II", "V5"], RATE_HZ).rows
    assert off.trace == ()
    assert off.bottom_mm > off.baseline_mm > off.top_mm
    assert np.ptp(np.concatenate(wild.trace)[:, 1]) == pytest.approx(2 * MAX_MV * 10)


def test_the_drawing_is_well_formed_and_a_leads_name_stays_text() -> None:
    name = '"><script>x</script>&'
    root = ElementTree.fromstring(svg(lay_out(sine(), [name], RATE_HZ), f"lead {name}"))
    of_svg = "{http://www.w3.org/2000/svg}"
    assert root.get("aria-label") == f"lead {name}"
    assert next(each.text for each in root.iter(f"{of_svg}text")) == name
    assert root.find(f".//{of_svg}script") is None
    seconds = [each.text for each in root.iter(f"{of_svg}text") if each.get("class") == "seconds"]
    assert seconds == ["0 s", "1 s", "2 s", "3 s"]
    assert {each.get("width") for each in root.iter(f"{of_svg}pattern")} == {"1", "5"}
    trace = root.findall(f"{of_svg}path")[0].get("d")
    assert trace is not None
    assert len(re.findall(r"[\d.]+,[\d.]+", trace)) == 1000

"""The charts: where things lie, and that nothing is told by color alone."""

from __future__ import annotations

import math
import re

import pytest

from tasks.drawing.axes import Axis
from tasks.drawing.charts import COLORS, DASHES, Series, Whisker, forest, plot


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis("", 0.48, 0.93), [0.5, 0.6, 0.7, 0.8, 0.9]),
        (Axis("", 0, 1_638_400), [0, 500_000, 1_000_000, 1_500_000]),
        (Axis("", 9, 240, log=True), [10, 20, 50, 100, 200]),
        (Axis("", 5, 60_000, log=True), [10, 100, 1000, 10_000]),
        (Axis("", 3, 3), [3]),
    ],
)
def test_ticks_are_round_and_inside(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_a_higher_value_lies_higher_and_to_the_right() -> None:
    drawing = plot(
        [Series("one", [(0, 0), (1, 1)])], Axis("x", 0, 1), Axis("y", 0, 1), description="words"
    )
    path = re.search(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawing)
    assert path
    left, low, right, high = map(float, path.groups())
    assert left < right
    assert high < low, "SVG counts downwards"


def test_variants_differ_by_dash_and_by_shape() -> None:
    assert len(set(DASHES)) == len(COLORS)
    rows = [Whisker(str(style), 0.6, 0.5, 0.7, style) for style in range(4)]
    drawing = forest(rows, Axis("x", 0.4, 1), description="words", reference=0.5)
    marks = re.findall(r'class="mark" fill="[^"]*" d="M[-\d.]+ [-\d.]+([^"]*)"', drawing)
    assert len(set(marks)) == 4


def test_a_withheld_interval_draws_no_line() -> None:
    whole = Whisker("a", 0.6, 0.5, 0.7)
    withheld = Whisker("a", 0.6, math.nan, math.nan)
    lines = [
        forest([row], Axis("x", 0.4, 1), description="words", reference=0.5).count("stroke=")
        for row in (whole, withheld)
    ]
    assert lines == [1, 0]


def test_text_is_escaped() -> None:
    drawing = forest(
        [Whisker("<b>", 0.6, 0.5, 0.7)], Axis("a & b", 0, 1), description='say "x"', reference=0.5
    )
    assert "<b>" not in drawing
    assert "a &amp; b" in drawing
    assert "say &quot;x&quot;" in drawing


def test_a_mark_has_its_interval_and_a_withheld_one_has_none() -> None:
    spans = [(0.5, 0.7), (math.nan, math.nan)]
    series = Series("one", [(0.2, 0.6), (0.4, 0.6)], marks=True, spans=spans)
    drawing = plot([series], Axis("x", 0, 1), Axis("y", 0, 1), description="words")
    (lines,) = re.findall(r'<path stroke="#0072b2"[^>]* d="([^"]*)"', drawing)
    (span,) = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", lines)
    low, high = map(float, span)
    assert high < low, "SVG counts downwards"


def test_thousands_of_marks_are_one_path() -> None:
    points = [(index / 7000, 0.5) for index in range(7000)]
    drawing = plot(
        [Series("one", points, marks=True)], Axis("x", 0, 1), Axis("y", 0, 1), description="words"
    )
    assert drawing.count('class="mark"') == 1
    assert drawing.count("M") > 7000
    assert len(drawing) < 500_000


def test_categories_stand_below_their_places() -> None:
    x = Axis("band", -0.5, 1.5, names=("rare & few", "many"))
    drawing = plot([Series("one", [(0, 0.5)])], x, Axis("y", 0, 1), description="words")
    assert drawing.index("rare &amp; few") < drawing.index("many")


def test_a_long_name_is_cut_and_its_alternative_is_not() -> None:
    name = "HISPANIC/LATINO - SOME LONG NAME OF A GROUP"
    drawing = forest([Whisker(name, 0.6, 0.5, 0.7)], Axis("x", 0, 1), description=name)
    (shown,) = re.findall(r'<text x="0"[^>]*>([^<]*)</text>', drawing)
    assert shown.endswith("\u2026")
    assert name.startswith(shown[:-1])
    assert f'aria-label="{name}"' in drawing

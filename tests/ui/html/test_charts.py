"""Charts as SVG: lines, gaps, areas, ticks, and no markup from names."""

from __future__ import annotations

import re

import pytest

from altub.ui.html.charts import Area, Line, empty_chart, line_chart, nice_ticks, thin_out
from tests.ui.train.conftest import polylines


def test_a_line_falls_where_values_fall() -> None:
    (line,) = polylines(line_chart("t", [Line("a", "red", [(1, 3.0), (2, 2.0), (3, 1.0)])]))
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # SVG counts downwards
    assert all(0 <= y <= 1000 for y in ys)


def test_a_missing_value_leaves_a_gap() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 1.0), (2, 2.0), (3, None), (4, 3.0), (5, 4.0)])])
    assert [len(line) for line in polylines(html)] == [2, 2]


def test_not_a_number_is_no_point() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 1.0), (2, float("nan")), (3, float("inf"))])])
    assert polylines(html) == []
    assert "nan" not in html and "inf" not in html


def test_a_chart_without_values_says_so() -> None:
    html = line_chart("Losses", [Line("a", "red", [(1, None)])])
    assert "first epoch" in html
    assert "<svg" not in html


def test_the_legend_shows_the_latest_value() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 9.0), (2, 1.2345), (3, None)])], digits=2)
    assert "<b>1.23</b>" in html.split("plot")[0]


def test_names_cannot_bring_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = line_chart(evil, [Line(evil, "red", [(1, 1.0), (2, 2.0)])], note=evil, span_name=evil, spans=[1])
    assert evil not in html
    assert evil not in empty_chart(evil, evil)


def test_an_area_lies_between_its_values() -> None:
    html = line_chart(
        "t", [Line("m", "red", [(1, 2.0), (2, 2.0)])], areas=[Area("q", "red", [(1, 1.0, 3.0), (2, 1.0, 3.0)])]
    )
    (line,) = polylines(html)
    corners = [tuple(map(float, p.split(","))) for p in re.search(r'<polygon points="([^"]*)"', html)[1].split()]
    assert max(y for _, y in corners) > line[0][1] > min(y for _, y in corners)


def test_a_robust_axis_lets_the_first_epochs_run_out_of_the_picture() -> None:
    points = [(1, 100.0), *((k, 1.0 - k / 100) for k in range(2, 40))]
    plain, robust = (polylines(line_chart("t", [Line("a", "red", points)], robust=r))[0] for r in (False, True))
    spread = [max(y for _, y in line[5:]) - min(y for _, y in line[5:]) for line in (plain, robust)]
    assert spread[1] > 20 * spread[0]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 0.4), (0.9701, 0.9772), (120, 9000)])
def test_ticks_are_few_ascending_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    assert low <= ticks[0] and ticks[-1] <= high


def test_thinning_keeps_both_ends() -> None:
    points = [(k, float(k)) for k in range(5003)]
    kept = thin_out(points, 400)
    assert len(kept) <= 401
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert thin_out(points[:5], 400) == points[:5]

"""Zoomed and logarithmic charts, and the map of all channels."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from altub.errors import ConfigError
from altub.ui.html.charts import Line, line_chart, log_ticks
from altub.ui.html.value_map import value_map
from altub.ui.html.zoom import dragged_range, parse_range, range_text
from tests.ui.train.conftest import polylines


def test_a_zoomed_chart_has_the_range_alone_and_its_own_scale() -> None:
    points = [(k, 100.0 if k < 5 else float(k % 2)) for k in range(20)]
    html = line_chart("t", [Line("a", "red", points)], x_range=(10, 13))
    (line,) = polylines(html)
    assert len(line) == 4 and max(y for _, y in line) - min(y for _, y in line) > 800
    assert 'data-left="9.5" data-right="13.5"' in html
    assert "no values in this range" in line_chart("t", [Line("a", "red", points)], x_range=(50, 60))


def test_equal_factors_are_equal_distances_on_a_logarithmic_axis() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 1.0), (2, 10.0), (3, 100.0), (4, 1000.0)])], log=True)
    heights = [y for _, y in polylines(html)[0]]
    steps = np.diff(heights)
    assert np.allclose(steps, steps[0], atol=0.3) and steps[0] < 0
    assert all(f">{label}<" in html for label in ("1", "10", "100", "1000")) and "logarithmic" in html


def test_values_on_both_sides_of_zero_keep_their_order() -> None:
    html = line_chart("t", [Line("a", "red", [(1, -50.0), (2, -1.0), (3, 0.0), (4, 2.0), (5, 3e6)])], log=True)
    heights = [y for _, y in polylines(html)[0]]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 5
    assert ">0<" in html


@pytest.mark.parametrize(("low", "high"), [(1, 1e6), (-5, 3e6), (0.4, 0.9), (2, 3), (0, 0)])
def test_logarithmic_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 1 <= len(ticks) <= 7 and ticks == sorted(set(ticks))
    assert low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9


def test_ranges_as_dragged_and_as_typed() -> None:
    assert dragged_range({"left": 2.2, "right": 6.9}) == (3, 6)
    for nothing in (
        None,
        {},
        {"left": "x", "right": 2},
        {"left": 3.1, "right": 3.9},
        {"left": 0, "right": float("nan")},
    ):
        assert dragged_range(nothing) is None
    assert parse_range(" 3 - 12 ") == (3, 12) and parse_range("") is None and range_text((3, 12)) == "3-12"
    for wrong in ("12-3", "x", "1,5", "-3"):
        with pytest.raises(ConfigError, match="such as 10-40"):
            parse_range(wrong)


def test_a_map_has_a_pixel_a_value_with_sign_and_size() -> None:
    values = np.array([[0.0, 0.0, 0.0], [0.5, -1.0, 0.0], [0.5, -1.0, 0.25]])
    html = value_map("Mean", values, [1, 2, 3], marked=[False, True, False], mark_name="base epoch")
    picture = Image.open(BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    assert picture.size == (3, 3)
    assert 'data-rows="0,2,1"' in html and 'data-epochs="1,2,3"' in html  # the largest last value on top
    pixels = np.asarray(picture).astype(int)
    red, blue, opacity = pixels[..., 0], pixels[..., 2], pixels[..., 3]
    assert (opacity[:, 0] == 0).all() and opacity[2, 2] == 255
    assert abs(opacity[0, 1] - 2 * opacity[1, 2]) <= 2 and red[0, 1] > blue[0, 1] and red[2, 1] < blue[2, 1]
    assert html.count('<i style="left:33.33%') == 1
    assert 'alt="Mean: 3 rows, from -1 to 0.5 after epoch 3"' in html


def test_a_map_of_many_epochs_and_channels_stays_small() -> None:
    rng = np.random.default_rng(0)
    html = value_map("t", rng.normal(size=(3000, 1536)), list(range(1, 3001)))
    picture = Image.open(BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    assert picture.size[0] <= 401 and picture.size[1] <= 512
    assert "data-epochs" in html and ',3000"' in html  # the newest epoch is always there

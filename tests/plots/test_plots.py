from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from altub import plots
from altub.errors import ConfigError
from altub.inference.regions import Region

REPO = Path(__file__).resolve().parents[2]


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3)).astype(np.uint8)


def blob(height: int = 60, width: int = 80, peak: float = 1.0) -> np.ndarray:
    """A smooth bump in the middle, 0 at the border."""
    y, x = np.mgrid[:height, :width]
    distance = (y - height / 2) ** 2 + (x - width / 2) ** 2
    return (peak * np.exp(-distance / (2 * (height / 8) ** 2))).astype(np.float32)


def opaque(image: Image.Image, dark: bool) -> np.ndarray:
    """As the page shows it, on its background."""
    ground = Image.new("RGBA", image.size, "#0B0F19" if dark else "white")
    ground.alpha_composite(image)
    return np.asarray(ground.convert("RGB")).astype(int)


def has_colour(pixels: np.ndarray, colour: str, tolerance: int = 6) -> int:
    """Number of pixels of a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels - wanted).max(axis=-1) <= tolerance).sum())


# Heatmaps and overlays.


@pytest.mark.parametrize("name", plots.COLOUR_MAPS)
def test_a_value_has_one_colour_whatever_else_is_in_the_map(name: str) -> None:
    calm, wild = np.full((4, 5), 0.3, np.float32), np.full((4, 5), 900.0, np.float32)
    wild[2, 3] = 0.3
    a, b = plots.colourise(calm, 0.0, 2.0, name), plots.colourise(wild, 0.0, 2.0, name)
    assert a.shape == (4, 5, 3) and a.dtype == np.uint8
    assert np.array_equal(a[0, 0], b[2, 3])
    expected = colormaps[name](int(0.3 / 2 * 255 + 0.5), bytes=True)[:3]
    assert tuple(a[0, 0]) == tuple(expected)


def test_values_outside_the_range_take_the_end_colours() -> None:
    heat = plots.colourise(np.array([[-1e9, 1.0, 3.0, 1e9]], dtype=np.float32), 1.0, 3.0)
    assert np.array_equal(heat[0, 0], heat[0, 1]) and np.array_equal(heat[0, 2], heat[0, 3])
    assert heat[0, 0].sum() < 20 < heat[0, 3].sum()


def test_unknown_colour_map_and_empty_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="jet"):
        plots.colourise(blob(), 0, 1, "jet")
    with pytest.raises(ConfigError, match="opacity"):
        plots.overlay(photo(), blob(), 0, 1, opacity=1.5)
    with pytest.raises(ValueError, match="empty"):
        plots.colourise(blob(), 1, 1)
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        plots.overlay(photo(), blob()[None], 0, 1)


def test_opacity_zero_leaves_the_photo_untouched() -> None:
    image = photo()
    shown = plots.overlay(image, blob(), 0, 1, opacity=0, threshold=0.5, contour=False)
    assert shown.mode == "RGB" and shown.size == (80, 60)
    assert np.array_equal(np.asarray(shown), image)
    assert not np.array_equal(np.asarray(plots.overlay(image, blob(), 0, 1, opacity=0, threshold=0.5)), image)


def test_overlay_does_not_change_its_inputs() -> None:
    image, values = Image.fromarray(photo()), blob()
    before, values_before = image.tobytes(), values.copy()
    plots.overlay(image, values, 0, 1, threshold=0.5)
    assert image.tobytes() == before
    assert np.array_equal(values, values_before)


def test_normal_regions_keep_the_photos_look_and_defects_show_the_heat() -> None:
    image, values = photo(), blob()
    shown = np.asarray(plots.overlay(image, values, 0, 1, opacity=0.5)).astype(float)
    calm, high = values < 0.15, values > 0.6
    assert np.array_equal(shown[calm], image[calm])
    heat = plots.colourise(values, 0, 1).astype(float)
    assert np.abs(shown[high] - (0.5 * image[high] + 0.5 * heat[high])).max() <= 2
    full = np.asarray(plots.overlay(image, values, 0, 1, opacity=1.0))
    assert np.array_equal(full[high], plots.colourise(values, 0, 1)[high])


@pytest.mark.parametrize("size", [(60, 80), (700, 900)])
def test_contour_lies_on_the_threshold(size: tuple[int, int]) -> None:
    image, values = np.full((*size, 3), 128, np.uint8), blob(*size)
    shown = np.asarray(plots.overlay(image, values, 0, 1, opacity=0, threshold=0.5)).astype(int)
    drawn = np.abs(shown - 128).max(axis=-1) > 30
    assert drawn.any()
    # Along a row through the middle the line crosses where the bump falls to 0.5, and is nowhere else.
    row = drawn[size[0] // 2]
    crossing = np.flatnonzero(np.diff(values[size[0] // 2] > 0.5))
    assert len(crossing) == 2
    reach = 4 + size[0] // 200
    near = np.zeros_like(row)
    for column in crossing:
        near[column - reach : column + reach + 2] = True
        assert row[column - 1 : column + 3].any()
    assert not (row & ~near).any()
    assert shown.max() > 190 and shown.min() < 100  # a bright line and its dark halo


def test_no_contour_where_the_threshold_is_not_crossed() -> None:
    image = photo()
    for threshold in (1.5, None):
        assert np.array_equal(np.asarray(plots.overlay(image, blob(), 0, 1, opacity=0, threshold=threshold)), image)


def test_limits_of_regions_are_dashes_along_their_outlines() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    box = Region(kind="ignore", points=[(0.1, 0.2), (0.6, 0.2), (0.6, 0.7), (0.1, 0.7)])
    shown = np.asarray(plots.overlay(image, np.zeros((8, 8)), 0, 1, regions=[box])).astype(int)
    changed = (shown != 128).any(axis=-1)
    outline = np.zeros((200, 300), bool)
    outline[39:41, 29:181] = outline[138:141, 29:181] = outline[39:141, 29:31] = outline[39:141, 178:181] = True
    assert (changed & outline).sum() > 400 and not (changed & ~outline).any()
    top = shown[changed.argmax(axis=0)[100], 30:180, 0]
    assert {70, 200} <= set(top) and np.count_nonzero(np.diff(top)) > 20  # light dashes, dark gaps


def test_single_pixel_and_noise_get_contours_without_trouble() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)
    speck = np.zeros((40, 40), np.float32)
    speck[20, 10] = 1
    shown = np.asarray(plots.overlay(image, speck, 0, 1, opacity=0, threshold=0.5)).astype(int)
    assert (shown[17:24, 7:14] != 128).any()
    shown[15:26, 5:16] = 128
    assert (shown == 128).all()
    noise = np.random.default_rng(0).random((300, 300), dtype=np.float32)
    assert plots.overlay(np.zeros((300, 300, 3), np.uint8), noise, 0, 1, threshold=0.5).size == (300, 300)
    assert plots.overlay(np.zeros((1, 5, 3), np.uint8), np.ones((1, 5)), 0, 2, threshold=0.5).size == (5, 1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_overlay_takes_any_photo_and_scales_the_map(mode: str) -> None:
    image = Image.fromarray(photo(90, 120)).convert(mode)
    shown = plots.overlay(image, blob(30, 40), 0, 1, opacity=1.0)
    assert shown.mode == "RGB" and shown.size == (120, 90)
    hot = np.asarray(shown)[45, 60].astype(int)
    assert np.abs(hot - plots.colourise(np.ones((1, 1)), 0, 1)[0, 0]).max() < 60
    assert np.array_equal(np.asarray(shown)[0, 0], np.asarray(image.convert("RGB"))[0, 0])


# Figures.


def test_colours_have_one_meaning_each() -> None:
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)
    assert plots.COLOURS["defect"] == plots.DEFECT and plots.COLOURS["flow"] == plots.FLOW_PHASE


def _drift(epochs: int = 12, channels: int = 30) -> np.ndarray:
    final = np.random.default_rng(0).permutation(np.linspace(-1, 1, channels))
    return np.linspace(0, 1, epochs)[:, None] * final


def test_drift_is_white_at_the_start_and_sorted_at_the_end() -> None:
    pixels = opaque(plots.channel_drift_image(_drift(), "mean"), False)
    reds = pixels[..., 0] - pixels[..., 2] > 100
    blues = pixels[..., 2] - pixels[..., 0] > 100
    # The colour bar stands to the right of the picture, about the last sixth.
    picture = slice(0, int(pixels.shape[1] * 0.8))
    rows_red, columns_red = np.nonzero(reds[:, picture])
    rows_blue, _ = np.nonzero(blues[:, picture])
    assert len(rows_red) > 1000 and len(rows_blue) > 1000
    assert rows_red.mean() < rows_blue.mean()  # the highest channel is on top
    assert columns_red.mean() > pixels.shape[1] * 0.5  # the colour grows to the right


def test_drift_colours_do_not_depend_on_the_order_of_channels() -> None:
    history = _drift()
    shuffled = history[:, np.random.default_rng(1).permutation(history.shape[1])]
    a, b = (plots.channel_drift_image(h, "log_std") for h in (history, shuffled))
    assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("with_start", [False, True])
def test_drift_marks_base_epochs(with_start: bool) -> None:
    trained = [epoch % 5 == 0 for epoch in range(1, 13)]
    history = _drift(13 if with_start else 12)
    marked = opaque(plots.channel_drift_image(history, "mean", trained), False)
    without = opaque(plots.channel_drift_image(history, "mean", [False] * 12), False)
    assert has_colour(marked, plots.BASE_PHASE) > 100 > 0 == has_colour(without, plots.BASE_PHASE)
    columns = np.flatnonzero(
        (np.abs(marked - [0xE6, 0x9F, 0x00]).max(axis=-1) <= 6)[marked.shape[0] // 2 :].any(axis=0)
    )
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 3) + 1)
    assert len(groups) == 2  # epochs 5 and 10


def test_drift_of_unusual_histories() -> None:
    assert plots.channel_drift_image(np.empty((0, 4)), "mean").mode == "RGBA"
    assert plots.channel_drift_image(np.zeros((1, 1)), "mean", [False]).mode == "RGBA"
    assert plots.channel_drift_image(_drift(5, 1024), "log_std", [False] * 4, dark=True).mode == "RGBA"
    with pytest.raises(ValueError, match="kind"):
        plots.channel_drift_image(_drift(), "sigma")
    with pytest.raises(ValueError, match="do not fit"):
        plots.channel_drift_image(_drift(), "mean", [False] * 3)


def _curves(n: int = 20, test: bool = True) -> dict:
    """As arguments of `training_curves`: epoch 5 has no training loss, and every second epoch was evaluated."""
    evaluated = range(2, n + 1, 2) if test else ()
    return {
        "training": [(e, 1 / e) for e in range(1, n + 1) if e != 5],
        "held_out": [(e, 1.1 / e) for e in range(1, n + 1)],
        "metrics": {
            "image AUROC": [(e, 0.9) for e in evaluated],
            "pixel AUROC": [(e, 1 - 0.2 / e) for e in evaluated],
            "AUPRO": [],
        },
        "base_epochs": list(range(5, n + 1, 5)),
    }


def test_training_curves_draw_what_they_are_given() -> None:
    figure = plots.training_curves(**_curves())
    assert isinstance(figure, Figure)
    losses, tests = figure.axes
    lines = {line.get_label(): line for line in losses.lines + tests.lines}
    assert set(lines) == {"training", "held-out", "image AUROC", "pixel AUROC"}
    assert 5 not in lines["training"].get_xdata() and 5 in lines["held-out"].get_xdata()
    assert list(lines["pixel AUROC"].get_xdata()) == list(range(2, 21, 2))
    assert lines["pixel AUROC"].get_ydata()[0] == pytest.approx(0.9)
    assert lines["training"].get_color() == plots.FLOW_PHASE
    shaded = sorted(patch.get_x() for patch in losses.patches)
    assert shaded == [4.5, 9.5, 14.5, 19.5]


def test_training_curves_without_test_metrics_or_epochs() -> None:
    assert len(plots.training_curves(**_curves(test=False)).axes) == 1
    assert plots.figure_to_image(plots.training_curves([], [], {}, dark=True)).mode == "RGBA"


def test_training_curves_do_not_let_the_first_epochs_hide_the_rest() -> None:
    curves = _curves(40, test=False)
    curves["training"][0] = (1, 1e6)
    assert plots.training_curves(**curves).axes[0].get_ylim()[1] < 5


@pytest.mark.parametrize("size", [(640, 300), (120, 90)])
def test_placeholder_has_its_size_and_shows_a_text(size: tuple[int, int]) -> None:
    image = plots.placeholder("Nothing here yet: drop an image on the left", size)
    empty = plots.placeholder("", size)
    assert image.size == size and image.mode == "RGBA"
    assert not np.array_equal(np.asarray(image), np.asarray(empty))
    assert image.getpixel((0, 0))[3] == 0  # rounded corner


def test_no_pyplot_and_no_matplotlib_at_import() -> None:
    code = """
import sys
import numpy as np
import altub.plots as plots
assert "matplotlib" not in sys.modules, "imported too early"
values = np.random.default_rng(0).random((20, 20))
plots.overlay(np.zeros((20, 20, 3), np.uint8), values, 0, 1, threshold=0.5)
plots.channel_drift_image(values, "mean")
plots.figure_to_image(plots.training_curves([], [], {}))
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules, "pyplot keeps global state"
"""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr

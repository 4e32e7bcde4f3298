"""Pictures for the page, the command line and the model card: pure functions from arrays to images and
figures.

Heatmaps take their colour range from the model's calibration, never from the picture itself, so that a colour
means the same on every image. Every other colour has one meaning throughout (``COLOURS``), from the palette
of Okabe and Ito, which stays apart under the common kinds of colour blindness ("Color Universal Design",
2008, https://jfly.uni-koeln.de/color/).

matplotlib is imported inside the functions, and only its object interface is used: no global figure, no
global style, safe to call from the worker threads of a server.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from altub.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BASE_PHASE",
    "COLOURS",
    "COLOUR_MAPS",
    "DEFECT",
    "FLOW_PHASE",
    "GOOD",
    "HELD_OUT",
    "channel_drift_image",
    "colourise",
    "defect_mask",
    "figure_to_image",
    "overlay",
    "placeholder",
    "scale_maps_strip",
    "score_histogram",
    "training_curves",
]

FLOW_PHASE = "#0072B2"  # blue: the flow trains; also the training loss
BASE_PHASE = "#E69F00"  # orange: the base N(mu, Sigma) trains
GOOD = "#009E73"  # bluish green: good images, verdict good
DEFECT = "#D55E00"  # vermilion: defects, verdict anomalous
HELD_OUT = "#56B4E9"  # sky blue: good images that were never trained on
COLOURS = {"flow": FLOW_PHASE, "base": BASE_PHASE, "good": GOOD, "defect": DEFECT, "held_out": HELD_OUT}

COLOUR_MAPS = ("inferno", "viridis", "magma", "cividis")  # perceptually uniform; the first is the default

# The photo shows through where the map is near its normal value. Between these shares of the colour range the
# heat fades in: normal texture lies below the first, the default threshold (0.5) within the full opacity.
_FADE_START, _FADE_END = 0.15, 0.55
_MAX_CONTOURS = 300


def colourise(anomaly_map: np.ndarray, low: float, high: float, colour_map: str = "inferno") -> np.ndarray:
    """Heatmap uint8 (H, W, 3) of an anomaly map (H, W); values outside ``low`` to ``high`` take the end
    colours.

    Raises:
        ConfigError: the colour map is none of ``COLOUR_MAPS``.
    """
    return _lookup(colour_map)[_levels(anomaly_map, low, high)]


def overlay(
    image: Image.Image | np.ndarray,
    anomaly_map: np.ndarray,
    low: float,
    high: float,
    *,
    opacity: float = 0.5,
    colour_map: str = "inferno",
    threshold: float | None = None,
    contour: bool = True,
) -> Image.Image:
    """The photo with the heatmap over it, and a line around what lies above the threshold.

    Args:
        image: photo, PIL or uint8 (H, W, 3) or (H, W).
        anomaly_map: (h, w); scaled to the photo's size if it has another one.
        low, high: the fixed colour range of the model.
        opacity: 0 leaves the photo as it is, 1 hides it where the map is high.
        threshold: map value of the contour; None draws none.
        contour: False draws none.

    Raises:
        ConfigError: the opacity is outside [0, 1] or the colour map is unknown.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"The opacity is {opacity:g}: it must lie between 0 and 1.")
    photo = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    values = _fit(anomaly_map, photo.size)

    levels = _levels(values, low, high)
    heat = Image.fromarray(levels).convert("P")
    heat.putpalette(_lookup(colour_map).tobytes())
    share = np.clip((np.arange(256) / 255 - _FADE_START) / (_FADE_END - _FADE_START), 0, 1)
    alpha = np.round(255 * opacity * share**2 * (3 - 2 * share)).astype(np.uint8)
    # Pillow blends by an 8-bit mask in C: several times faster than the same in floating point arrays.
    result = Image.composite(heat.convert("RGB"), photo, Image.fromarray(alpha[levels]))
    if contour and threshold is not None:
        _draw_contours(result, values, threshold)
    return result


def defect_mask(anomaly_map: np.ndarray, threshold: float) -> np.ndarray:
    """Bool (H, W): True where the map is strictly above the threshold, as for image scores."""
    return np.asarray(anomaly_map) > threshold


def score_histogram(
    calibration_scores: np.ndarray,
    score: float | None = None,
    threshold: float | None = None,
    *,
    dark: bool = False,
    size: tuple[int, int] = (720, 300),
) -> Image.Image:
    """Histogram of held-out good scores with the threshold and one image's score marked, RGBA on transparent
    ground.

    A score far beyond all others is marked at the right edge with an arrow instead of squeezing the
    histogram.
    """
    scores = np.asarray(calibration_scores, dtype=np.float64).ravel()
    if scores.size == 0:
        return placeholder("No held-out scores yet", size)
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(size, dark)
    ink, _ = _inks(dark)
    lowest, highest = float(scores.min()), float(scores.max())
    if threshold is not None:
        lowest, highest = min(lowest, threshold), max(highest, threshold)
    spread = (highest - lowest) or max(abs(highest), 1.0) * 0.1
    left, right = lowest - 0.15 * spread, highest + 0.35 * spread
    beyond = score is not None and score > highest + 3 * spread
    if score is not None:
        left, right = (
            min(left, score - 0.1 * spread),
            max(right, highest + 3 * spread if beyond else score + 0.3 * spread),
        )

    if np.ptp(scores) > 0:
        edges = np.linspace(scores.min(), scores.max(), int(np.clip(np.ceil(2 * np.sqrt(scores.size)), 5, 40)) + 1)
    else:  # one value: a narrow bar around it
        edges = scores[0] + np.array([-0.02, 0.02]) * spread
    counts, _, _ = axes.hist(scores, bins=edges, color=HELD_OUT, alpha=0.75, edgecolor="none")
    top = float(np.max(counts))
    rug = {"marker": "|", "linestyle": "none", "markersize": 7, "markeredgewidth": 0.9, "alpha": 0.6}
    axes.plot(scores, np.full(scores.size, -0.05 * top), color=ink, **rug)
    axes.set_xlim(left, right)
    axes.set_ylim(-0.1 * top, 1.5 * top)
    axes.set_yticks([tick for tick in MaxNLocator(4, integer=True).tick_values(0, top) if 0 <= tick <= 1.02 * top])

    label = {"textcoords": "offset points", "va": "center"}
    if threshold is not None:
        axes.axvspan(threshold, right, color=DEFECT, alpha=0.14 if dark else 0.08, linewidth=0)
        axes.plot([threshold] * 2, [0, 1.34 * top], color=ink, linewidth=1.3, linestyle=(0, (4, 3)))
        far_left = threshold < left + 0.25 * (right - left)
        place = {"xytext": (6 if far_left else -6, 0), "ha": "left" if far_left else "right"}
        axes.annotate(f"threshold {threshold:.4g}", (threshold, 1.36 * top), color=ink, fontsize=9, **place, **label)
    if score is not None:
        anomalous = threshold is not None and score > threshold
        colour = DEFECT if anomalous else GOOD
        at = right - 0.02 * (right - left) if beyond else score
        axes.plot([at] * 2, [0, 1.12 * top], color=colour, linewidth=2.2)
        axes.plot([at], [1.12 * top], marker=">" if beyond else "v", color=colour, markersize=9)
        on_right = at > left + (0.75 if anomalous else 0.3) * (right - left)
        axes.annotate(
            f"this image {score:.4g}" + ("  →" if beyond else ""),
            (at, 1.14 * top),
            (-9 if on_right else 9, 0),
            ha="right" if on_right else "left",
            color=_readable(colour, dark),
            fontsize=10,
            fontweight="bold",
            **label,
        )
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("held-out good images" if size[1] >= 280 else "held out")
    return figure_to_image(figure)


def scale_maps_strip(
    maps: Sequence[np.ndarray],
    titles: Sequence[str],
    low: float | Sequence[float],
    high: float | Sequence[float],
    *,
    colour_map: str = "inferno",
    dark: bool = False,
    tile: int = 240,
) -> Image.Image:
    """Maps (h_k, w_k) of the feature scales side by side, each with its title and colour range, RGBA.

    Args:
        low, high: one value for all maps or one per map.
        tile: height of a map in the picture, in pixels.
    """
    if not maps:
        return placeholder("No maps", (tile, tile))
    lows, highs = np.broadcast_to(low, len(maps)), np.broadcast_to(high, len(maps))
    ink, faint = _inks(dark)
    gap, head, bar, foot = 18, 30, 8, 24
    widths = [max(1, round(tile * np.shape(m)[1] / np.shape(m)[0])) for m in maps]
    strip = Image.new("RGBA", (sum(widths) + gap * (len(maps) - 1), head + tile + 6 + bar + foot))
    draw = ImageDraw.Draw(strip)
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (bar, 1))
    x = 0
    for values, title, width, lo, hi in zip(maps, titles, widths, lows, highs, strict=True):
        heat = Image.fromarray(colourise(_fit(values, (width, tile)), lo, hi, colour_map))
        strip.paste(_rounded(heat, 8), (x, head))
        draw.text((x + 1, 2), title, font=_font(15), fill=ink)
        legend = Image.fromarray(colourise(ramp, 0, 1, colour_map)).resize((width, bar))
        strip.paste(_rounded(legend, 3), (x, head + tile + 6))
        y = head + tile + bar + 10
        draw.text((x + 1, y), f"{lo:.3g}", font=_font(12), fill=faint)
        draw.text((x + width - 1, y), f"{hi:.3g}", font=_font(12), fill=faint, anchor="ra")
        x += width + gap
    return strip


def channel_drift_image(
    history: np.ndarray,
    kind: Literal["mean", "log_std"],
    phases: Sequence[str] | None = None,
    *,
    dark: bool = False,
    size: tuple[int, int] = (720, 380),
) -> Image.Image:
    """How every channel of one learned base moved away from N(0, I), RGBA on transparent ground.

    Rows are channels, sorted by their last value; columns are epochs; the colour is the value of mu or log
    sigma, white at the 0 of N(0, I), with a symmetric range to the 99th percentile of the absolute values.

    Args:
        history: (E, C), one row per epoch, or (E + 1, C) with the values before training first, as a run keeps it.
        kind: what the values are.
        phases: E values, "flow" or "base"; epochs that trained the base get a mark below the picture.
    """
    if kind not in ("mean", "log_std"):
        raise ValueError(f"kind is 'mean' or 'log_std', got {kind!r}")
    history = np.asarray(history, dtype=np.float64)
    if history.ndim != 2 or history.size == 0:
        return placeholder("The learned base appears here after the first epoch", size)
    from matplotlib.ticker import MaxNLocator

    columns, channels = history.shape
    first = len(phases) + 1 - columns if phases is not None else 1
    if first not in (0, 1):
        raise ValueError(
            f"{len(phases)} phases do not fit {columns} rows: one for each epoch, with or without the start"
        )
    limit = max(float(np.percentile(np.abs(history), 99)), 0.01)
    figure, axes = _figure(size, dark)
    ink, _ = _inks(dark)
    picture = axes.imshow(
        history[:, np.argsort(-history[-1], kind="stable")].T,
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(first - 0.5, first + columns - 0.5, channels, 0),
        interpolation="nearest" if channels < size[1] // 2 else "antialiased",
    )
    symbol, name = ("μ", "mean μ") if kind == "mean" else ("log σ", "log σ")
    bar = figure.colorbar(picture, ax=axes, fraction=0.045, pad=0.02, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=ink, labelsize=9, length=0)
    bar.set_label(f"{name} of the base", color=ink, fontsize=10)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_yticks([0, channels], ["highest", "lowest"])
    axes.set_ylabel(f"{channels} channels by last {symbol}")
    axes.set_xlabel("epoch (0: before training)" if first == 0 else "epoch")
    base = [epoch for epoch, phase in enumerate(phases or (), 1) if phase == "base"]
    if base:
        marks = {"marker": "^", "linestyle": "none", "color": BASE_PHASE, "clip_on": False, "markersize": 6}
        # In axes heights, so that the marks touch the picture from below whatever the number of channels.
        axes.plot(base, [-0.022] * len(base), transform=axes.get_xaxis_transform(), label="base trained", **marks)
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "frameon": False, "handletextpad": 0.2}
        axes.legend(labelcolor=ink, fontsize=9, **place)
        axes.tick_params(axis="x", pad=9)
        axes.set_xlim(first - 0.5, first + columns - 0.5)
    return figure_to_image(figure)


def training_curves(rows: Sequence[Mapping[str, Any]], *, dark: bool = False) -> Figure:
    """Losses over the epochs with the base phases shaded; below them the test metrics, where there are any.

    Args:
        rows: the events of a run, one per epoch in order. Read are ``epoch``, ``phase``, ``loss``, ``held_out`` and, of
            ``test``, the two AUROCs and the AUPRO. What is missing or None is left out.
    """
    from matplotlib.ticker import MaxNLocator

    ink, faint = _inks(dark)
    losses = {"loss": ("training", FLOW_PHASE, "-"), "held_out": ("held-out", HELD_OUT, (0, (5, 2)))}
    tests = {
        "image_auroc": ("image AUROC", ink, "-"),
        "pixel_auroc": ("pixel AUROC", faint, "-"),
        "aupro": ("AUPRO", faint, (0, (2, 1.5))),
    }
    measured = any(_series(rows, key)[0] for key in tests)
    panels = [("loss per dimension (nats)", losses)] + ([("test set", tests)] if measured else [])
    figure, axes = _figure((760, 540 if measured else 320), dark, rows=len(panels))
    base = [row.get("epoch", n) for n, row in enumerate(rows, 1) if row.get("phase") == "base"]
    for panel, (title, lines) in zip(np.atleast_1d(axes), panels, strict=True):
        for key, (label, colour, style) in lines.items():
            x, y = _series(rows, key)
            if x:
                marker = "o" if len(x) < 3 else ""
                panel.plot(x, y, color=colour, linestyle=style, linewidth=1.8, label=label, marker=marker, markersize=4)
        for i, epoch in enumerate(base):
            label = "base trained" if i == 0 and lines is losses else ""
            panel.axvspan(epoch - 0.5, epoch + 0.5, color=BASE_PHASE, alpha=0.18, linewidth=0, label=label)
        panel.grid(axis="y", color=faint, alpha=0.25, linewidth=0.7)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.set_ylabel(title)
        if panel.get_legend_handles_labels()[0]:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "frameon": False, "borderpad": 0}
            panel.legend(labelcolor=ink, fontsize=9, **place)
        if lines is losses:
            _robust_top(panel, [value for key in losses for value in _series(rows, key)[1]])
    panel.set_xlabel("epoch")
    return figure


def placeholder(text: str, size: tuple[int, int]) -> Image.Image:
    """An empty state: a short text in the middle of a quiet panel, RGBA, readable on light and dark
    ground."""
    width, height = size
    panel = Image.new("RGBA", (2 * width, 2 * height))
    draw = ImageDraw.Draw(panel)
    draw.rounded_rectangle(
        (2, 2, 2 * width - 3, 2 * height - 3), radius=28, fill=(128, 128, 128, 22), outline=(128, 128, 128, 90), width=2
    )
    points = int(np.clip(min(width / 22, height / 9), 10, 18))
    lines = textwrap.fill(text, max(8, int(width * 0.86 / (0.56 * points))))
    panel = panel.resize(size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(panel).multiline_text(
        (width / 2, height / 2),
        lines,
        font=_font(points),
        fill=(128, 128, 128, 255),
        anchor="mm",
        align="center",
        spacing=6,
    )
    return panel


def figure_to_image(figure: Figure) -> Image.Image:
    """RGBA picture of a figure at its own size and resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.array(canvas.buffer_rgba()))


def _levels(anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    if not low < high:
        raise ValueError(f"the colour range {low} to {high} is empty")
    share = (np.asarray(anomaly_map, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(share + np.float32(0.5), 0, 255).astype(np.uint8)


@lru_cache(maxsize=len(COLOUR_MAPS))
def _lookup(name: str) -> np.ndarray:
    """The 256 colours of a map, uint8 (256, 3)."""
    if name not in COLOUR_MAPS:
        raise ConfigError(f"There is no colour map {name!r}. Choose one of {', '.join(COLOUR_MAPS)}.")
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3].copy()


def _fit(anomaly_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 map at a size (width, height), bilinear if it is not there yet."""
    values = np.asarray(anomaly_map, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"an anomaly map is an array (H, W), got one of shape {values.shape}")
    if values.shape[::-1] == tuple(size):
        return values
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _draw_contours(image: Image.Image, values: np.ndarray, threshold: float) -> None:
    """White line with a dark halo along the level set, in place; drawn at a multiple of the size and scaled
    down."""
    if not (values > threshold).any() or min(values.shape) < 2:
        return
    from contourpy import contour_generator

    # A map that is all specks has thousands of level sets: the longest tell where, the others only cover the photo.
    lines = sorted(contour_generator(z=values).lines(threshold), key=len, reverse=True)[:_MAX_CONTOURS]
    width, height = image.size
    # About 2 px on a picture of 1000 px: a page shows larger ones scaled down.
    stroke = max(1.2, 2.0 * min(width, height) / 1000)
    scale = 3 if width * height < 500_000 else 2 if width * height < 6_000_000 else 1
    for grow, colour in ((2.4, (0, 0, 0, 150)), (1.0, (255, 255, 255, 255))):
        mask = Image.new("L", (width * scale, height * scale))
        draw = ImageDraw.Draw(mask)
        for line in lines:
            points = ((line + 0.5) * scale).ravel().tolist()
            draw.line(points, fill=colour[3], width=max(1, round(stroke * grow * scale)), joint="curve")
        image.paste(colour[:3], mask=mask.reduce(scale) if scale > 1 else mask)


def _rounded(image: Image.Image, radius: int) -> Image.Image:
    mask = Image.new("L", (4 * image.width, 4 * image.height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 4 * radius, fill=255)
    image = image.convert("RGBA")
    image.putalpha(mask.reduce(4))
    return image


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # its font has the Greek letters that Pillow's own lacks

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _inks(dark: bool) -> tuple[str, str]:
    """Colours of text and of secondary lines."""
    return ("#E5E7EB", "#9CA3AF") if dark else ("#1F2937", "#6B7280")


def _readable(colour: str, dark: bool) -> str:
    """The colour, moved towards the text's ink so that small letters keep their contrast."""
    from matplotlib.colors import to_hex, to_rgb

    return to_hex(0.7 * np.array(to_rgb(colour)) + 0.3 * np.array(to_rgb("white" if dark else "black")))


def _figure(size: tuple[int, int], dark: bool, rows: int = 1) -> tuple[Figure, Any]:
    """Transparent figure of a size in pixels (drawn at twice that, for sharp text) with quiet axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=200, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, 1, sharex=True)
    for panel in np.atleast_1d(axes):
        _quiet(panel, dark)
    return figure, axes


def _quiet(axes: Axes, dark: bool) -> None:
    ink, faint = _inks(dark)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(faint)
    axes.tick_params(colors=ink, labelsize=9, length=0, pad=5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=ink, fontsize=10)


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [
        (row.get("epoch", n), value)
        for n, row in enumerate(rows, 1)
        if (value := row.get(key, (row.get("test") or {}).get(key))) is not None and np.isfinite(value)
    ]
    return [x for x, _ in points], [y for _, y in points]


def _robust_top(axes: Axes, values: list[float]) -> None:
    """Start of training or not, the axis shows the bulk: the first epochs' loss may be far above the rest."""
    if len(values) >= 8:
        low, high = min(values), float(np.percentile(values, 92))
        if max(values) > high + 2 * (high - low):
            axes.set_ylim(low - 0.08 * (high - low), high + 0.4 * (high - low))

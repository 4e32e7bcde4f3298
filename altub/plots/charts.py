"""Charts of a training: pure functions from numbers to images and figures.

matplotlib is imported inside the functions, and only its object interface is used: no global figure, no global style,
safe to call from the worker threads of a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from altub.plots.overlays import placeholder
from altub.plots.palette import BASE_PHASE, FLOW_PHASE, HELD_OUT, inks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]  # (epoch, value)

__all__ = ["channel_drift_image", "figure_to_image", "plain_figure", "training_curves"]


def channel_drift_image(
    history: np.ndarray,
    kind: Literal["mean", "log_std"],
    base_trained: Sequence[bool] | None = None,
    *,
    dark: bool = False,
    size: tuple[int, int] = (720, 380),
) -> Image.Image:
    """How every channel of one learned base moved away from N(0, I), RGBA on a transparent background.

    Rows are channels, sorted by their last value; columns are epochs; the colour is the value of mu or log
    sigma, white at the 0 of N(0, I), with a symmetric range to the 99th percentile of the absolute values.

    Args:
        history: (E, C), one row per epoch, or (E + 1, C) with the values before training first, as a run keeps it.
        kind: what the values are.
        base_trained: E values; epochs that trained the base get a mark below the picture.
    """
    if kind not in ("mean", "log_std"):
        raise ValueError(f"kind is 'mean' or 'log_std', got {kind!r}")
    history = np.asarray(history, dtype=np.float64)
    if history.ndim != 2 or history.size == 0:
        return placeholder("The learned base appears here after the first epoch", size)
    from matplotlib.ticker import MaxNLocator

    columns, channels = history.shape
    first = len(base_trained) + 1 - columns if base_trained is not None else 1
    if first not in (0, 1):
        raise ValueError(
            f"{len(base_trained)} epochs do not fit {columns} rows: one for each epoch, with or without the start"
        )
    limit = max(float(np.percentile(np.abs(history), 99)), 0.01)
    figure, axes = plain_figure(size, dark)
    ink, _ = inks(dark)
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
    base = [epoch for epoch, trained in enumerate(base_trained or (), 1) if trained]
    if base:
        marks = {"marker": "^", "linestyle": "none", "color": BASE_PHASE, "clip_on": False, "markersize": 6}
        # In axes heights, so that the marks touch the picture from below whatever the number of channels.
        axes.plot(base, [-0.022] * len(base), transform=axes.get_xaxis_transform(), label="base trained", **marks)
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "frameon": False, "handletextpad": 0.2}
        axes.legend(labelcolor=ink, fontsize=9, **place)
        axes.tick_params(axis="x", pad=9)
        axes.set_xlim(first - 0.5, first + columns - 0.5)
    return figure_to_image(figure)


def training_curves(
    training: Curve,
    held_out: Curve,
    metrics: Mapping[str, Curve],
    base_epochs: Sequence[int] = (),
    *,
    dark: bool = False,
) -> Figure:
    """Losses over the epochs with the base epochs shaded; below them the test metrics, where there are any.

    Args:
        training, held_out: (epoch, nats per dimension), in order; may be empty.
        metrics: up to three curves by their names in the legend; empty ones are left out.
        base_epochs: the epochs that trained the base.
    """
    from matplotlib.ticker import MaxNLocator

    ink, faint = inks(dark)
    losses = [("training", training, FLOW_PHASE, "-"), ("held-out", held_out, HELD_OUT, (0, (5, 2)))]
    styles = ((ink, "-"), (faint, "-"), (faint, (0, (2, 1.5))))
    tests = [(name, points, *style) for (name, points), style in zip(metrics.items(), styles, strict=False)]
    measured = any(metrics.values())
    panels = [("loss per dimension (nats)", losses)] + ([("test set", tests)] if measured else [])
    figure, axes = plain_figure((760, 540 if measured else 320), dark, rows=len(panels))
    for panel, (title, lines) in zip(np.atleast_1d(axes), panels, strict=True):
        for label, points, colour, style in lines:
            if points:
                x, y = zip(*points, strict=True)
                marker = "o" if len(x) < 3 else ""
                panel.plot(x, y, color=colour, linestyle=style, linewidth=1.8, label=label, marker=marker, markersize=4)
        for i, epoch in enumerate(base_epochs):
            label = "base trained" if i == 0 and lines is losses else ""
            panel.axvspan(epoch - 0.5, epoch + 0.5, color=BASE_PHASE, alpha=0.18, linewidth=0, label=label)
        panel.grid(axis="y", color=faint, alpha=0.25, linewidth=0.7)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.set_ylabel(title)
        if panel.get_legend_handles_labels()[0]:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "frameon": False, "borderpad": 0}
            panel.legend(labelcolor=ink, fontsize=9, **place)
        if lines is losses:
            _robust_top(panel, [value for _, value in (*training, *held_out)])
    panel.set_xlabel("epoch")
    return figure


def figure_to_image(figure: Figure) -> Image.Image:
    """RGBA picture of a figure at its own size and resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.array(canvas.buffer_rgba()))


def plain_figure(size: tuple[int, int], dark: bool, rows: int = 1) -> tuple[Figure, Any]:
    """Transparent figure of a size in pixels (drawn at twice that, for sharp text) with plain axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=200, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, 1, sharex=True)
    for panel in np.atleast_1d(axes):
        _plain_axes(panel, dark)
    return figure, axes


def _plain_axes(axes: Axes, dark: bool) -> None:
    ink, faint = inks(dark)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(faint)
    axes.tick_params(colors=ink, labelsize=9, length=0, pad=5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=ink, fontsize=10)


def _robust_top(axes: Axes, values: list[float]) -> None:
    """Limits the axis to the bulk of the values: the first epochs' loss may be far above the rest."""
    if len(values) >= 8:
        low, high = min(values), float(np.percentile(values, 92))
        if max(values) > high + 2 * (high - low):
            axes.set_ylim(low - 0.08 * (high - low), high + 0.4 * (high - low))

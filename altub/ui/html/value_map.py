"""A table of numbers as a picture with the axes of the charts: one column an epoch, one row a channel.

The picture has one pixel a value: its hue is the sign, its opacity the size, so that it lies on a light or dark page
alike, and the page reads the value under the pointer from the pixel (`assets/charts.js`).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from altub.ui.html.charts import nice_ticks

__all__ = ["value_map"]

NEGATIVE, POSITIVE = (33, 102, 172), (178, 24, 43)  # the ends of the ColorBrewer map RdBu
MOST_COLUMNS, MOST_ROWS = 400, 512  # more cannot be told apart on any screen


def value_map(
    title: str,
    values: np.ndarray,
    epochs: Sequence[int],
    *,
    marked: Sequence[bool] = (),
    mark_name: str = "",
    row_name: str = "channel",
    note: str = "",
) -> str:
    """The values as a figure. Rows are sorted by their last value; the scale ends at the 99th percentile.

    Args:
        values: (E, C), finite.
        epochs: E numbers, one for each row of `values`.
        marked: E flags; marked epochs get a stroke below the picture.
        mark_name: what the stroke means.
    """
    order = np.argsort(values[-1], kind="stable")[::-1]
    rows = order[:: -(-len(order) // MOST_ROWS)]
    step = -(-len(values) // MOST_COLUMNS)
    columns = np.unique(np.r_[np.arange(0, len(values), step), len(values) - 1])
    limit = max(float(np.percentile(np.abs(values), 99)), 0.01)
    shown = np.clip(values[np.ix_(columns, rows)].T / limit, -1, 1)  # (rows, columns)
    pixels = np.empty((*shown.shape, 4), np.uint8)
    pixels[..., :3] = np.where(shown[..., None] < 0, np.uint8(NEGATIVE), np.uint8(POSITIVE))
    pixels[..., 3] = np.round(255 * np.abs(shown))
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

    shown_epochs = [epochs[k] for k in columns]
    count = len(shown_epochs)
    marks = "".join(
        f'<i style="left:{100 * k / count:.2f}%;width:{100 / count:.2f}%"></i>'
        for k, column in enumerate(columns)
        if column < len(marked) and marked[column]
    )
    legend = (
        f"<span class='legend'><span class='scale'><b>-{limit:.2g}</b><i></i><b>{limit:.2g}</b></span>"
        + (f'<span><i class="swatch block"></i>{escape(mark_name)}</span>' if marks and mark_name else "")
        + "</span>"
    )
    low, high = float(values[-1].min()), float(values[-1].max())
    about = f"{title}: {values.shape[1]} rows, from {low:.2g} to {high:.2g} after epoch {epochs[-1]}"
    return (
        f'<figure class="chart value-map"><figcaption><b>{escape(title)}</b><small>{escape(note)}</small>{legend}'
        f'</figcaption><div class="plot"><div class="y-axis"><span style="top:50%">{values.shape[1]} '
        f'{escape(row_name)}s</span></div><div class="panel" data-left="{shown_epochs[0] - 0.5:g}" '
        f'data-right="{shown_epochs[-1] + 0.5:g}"><img src="{address}" alt="{escape(about)}" '
        f'data-limit="{limit:g}" data-epochs="{",".join(map(str, shown_epochs))}" data-row="{escape(row_name)}" '
        f'data-rows="{",".join(map(str, rows))}" draggable="false"><output></output></div>'
        f'<div class="x-axis"><div class="marks">{marks}</div>{_x_labels(shown_epochs)}<em>epoch</em></div>'
        "</div></figure>"
    )


def _x_labels(epochs: Sequence[int]) -> str:
    """Labels below the middle of their columns."""
    places = {epoch: 100 * (k + 0.5) / len(epochs) for k, epoch in enumerate(epochs)}
    wanted = nice_ticks(epochs[0], epochs[-1], 6) if len(epochs) > 1 else [epochs[0]]
    nearest = dict.fromkeys(min(epochs, key=lambda epoch: abs(epoch - tick)) for tick in wanted)
    return "".join(f'<span style="left:{places[epoch]:.2f}%">{epoch}</span>' for epoch in nearest)

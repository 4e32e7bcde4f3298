"""What the browser draws an overlay from: the photo, the anomaly map, and how it is to look.

The page composes them itself (`assets/inspect-blend.js`), so that opacity, outline and threshold take no picture from
the server. Reports and archives are drawn by `altub.plots.overlay`, which looks the same.
"""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from altub.errors import ConfigError
from altub.files import explain_full_disk, replacing
from altub.inference.batch import Inspected
from altub.inference.threshold import Threshold
from altub.plots import colourise
from altub.ui.inspect.batch import PageBatch
from altub.ui.inspect.inspection import Look
from altub.ui.theme import ASSETS

__all__ = ["blend", "blend_value"]

_STEPS = 65535  # values of the file between the map's lowest and highest


def blend(**options: Any) -> gr.HTML:
    """The component, which shows nothing itself: it fills the right half of the picture. Its value: `blend_value`."""
    script = (ASSETS / "inspect-blend.js").read_text(encoding="utf-8")
    return gr.HTML(html_template="<span></span>", js_on_load=script, apply_default_css=False, **options)


def blend_value(batch: PageBatch, item: Inspected, threshold: Threshold, look: Look) -> dict[str, Any]:
    """Addresses of the photo and the map, the range of each, the colours, and the value of the outline.

    Raises:
        ConfigError: the colour map is unknown, or the opacity not possible.
        RunError: the results are no longer kept.
    """
    if not 0 <= look.opacity <= 1:
        raise ConfigError(f"The opacity is {look.opacity:g}: it must lie between 0 and 1.")
    values = batch.maps(item)[0]
    low, high = float(values.min()), float(values.max())
    path = batch.map_file(item)
    if not path.is_file():
        # 16 bits in two channels of 8: a canvas reads no more of a PNG.
        shares = np.round((values - low) * (_STEPS / max(high - low, 1e-12))).astype(np.uint16)
        pixels = np.stack([shares >> 8, shares & 255, np.zeros_like(shares)], axis=-1).astype(np.uint8)
        with explain_full_disk(path), replacing(path) as file:
            Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    calibration = batch.calibration
    colours = colourise(np.arange(256, dtype=np.float32)[None], 0, 255, look.colour_map)
    return {
        "photo": f"gradio_api/file={batch.screen_file(item)}",
        "map": f"gradio_api/file={path}",
        "low": low,
        "high": high,
        "colour_low": float(calibration.colour_low),
        "colour_high": float(calibration.colour_high),
        "colours": base64.b64encode(colours.tobytes()).decode("ascii"),
        "line": float(batch.verdict(item, threshold).pixel_value),
        "opacity": look.opacity,
        "contour": look.contour,
        "regions": [region.model_dump() for region in batch.regions],
    }

"""The pictures of a model card: curves, the drift of the base and, only where asked for, heatmaps of test images."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from altub.data import read_thumbnail
from altub.errors import ImageError
from altub.evaluation.examples import kept_epochs, maps_file, read_examples, read_maps
from altub.metrics import MAIN_METRICS, METRICS
from altub.plots import channel_drift_image, figure_to_image, overlay, training_curves
from altub.runs.run import Run
from altub.training.records import curve

__all__ = ["card_pictures"]

SIDE = 256  # pixels of an example


def card_pictures(run: Run, include_examples: bool) -> dict[str, tuple[str, bytes]]:
    """File name -> (what it shows, PNG); what a run does not have is left out.

    Args:
        include_examples: also heatmaps over test images: the only pictures that show anything of the data.
    """
    pictures = {}
    records = run.events(start=True)
    if records:
        metrics = {METRICS[name].label: curve(records, name) for name in MAIN_METRICS}
        base_epochs = [record.epoch for record in records if record.base_trained]
        curves = figure_to_image(
            training_curves(curve(records, "loss"), curve(records, "held_out"), metrics, base_epochs)
        )
        pictures["training.png"] = ("Training: losses, and metrics on the test set over the epochs.", _png(curves))
    heads = run.base_history()
    if heads and len(heads[0][0]) > 1:
        drift = _grid(
            [[channel_drift_image(mean, "mean"), channel_drift_image(spread, "log_std")] for mean, spread in heads]
        )
        text = "How the learned base moved away from N(0, 1), channel by channel; one row for each scale."
        pictures["drift.png"] = (text, _png(drift))
    examples = _examples(run) if include_examples else []
    if examples:
        text = "Test images and their heatmaps; the line marks what lies above the threshold."
        pictures["examples.png"] = (text, _png(_grid(examples)))
    return pictures


def _examples(run: Run) -> list[list[Image.Image]]:
    """Two rows: photos, and the same with their heatmaps; empty if the images are gone."""
    epochs = kept_epochs(run.examples_dir)
    found = read_maps(maps_file(run.examples_dir, epochs[-1])) if epochs else None
    if found is None:
        return []
    photos, heats = [], []
    for image, values in zip(read_examples(run.examples_dir), found.maps, strict=False):
        try:
            photo = read_thumbnail(Path(image.path), SIDE)
        except ImageError:  # moved away since
            continue
        photos.append(photo)
        heats.append(overlay(photo, values, found.low, found.high, opacity=0.6, threshold=found.threshold))
    return [photos, heats] if photos else []


def _grid(rows: list[list[Image.Image]], gap: int = 8) -> Image.Image:
    width = max(sum(tile.width + gap for tile in row) for row in rows) - gap
    heights = [max(tile.height for tile in row) for row in rows]
    grid = Image.new("RGBA", (width, sum(heights) + gap * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile in row:
            tile = tile.convert("RGBA")
            grid.paste(tile, (left, top), tile)
            left += tile.width + gap
        top += height + gap
    return grid


def _png(image: Image.Image) -> bytes:
    """On white, as a page of the Hub may be light or dark, and at most 1400 pixels wide."""
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    picture = ground.convert("RGB")
    picture.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()

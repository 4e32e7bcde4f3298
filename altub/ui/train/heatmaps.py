"""Heatmaps of a few test images: an early epoch beside the latest."""

from __future__ import annotations

import json
from functools import lru_cache
from html import escape
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from altub.data import read_thumbnail
from altub.errors import ImageError
from altub.files import read_json
from altub.plots import overlay
from altub.runs.run import Run
from altub.ui.html.pictures import broken_tile, data_uri, mask_uri, thumbnail_uri
from altub.ui.watch import stamp

__all__ = ["example_cards", "kept_epochs"]

SIDE = 256  # pixels of a tile
OPACITY = 0.6


def kept_epochs(run: Run) -> list[int]:
    """Epochs whose heatmaps can be shown, ascending; the last one is the latest."""
    return sorted(int(path.stem.removeprefix("epoch_")) for path in run.examples_dir.glob("epoch_*.npz"))


def example_cards(run: Run, early: int | None) -> str:
    """Per image: the image, its heatmap at epoch `early` and at the latest one, and the mask where there is one."""
    epochs = kept_epochs(run)
    images = _images(run)
    if not epochs or not images:
        return '<p class="empty-line">Heatmaps of a few test images appear here after the first epoch.</p>'
    latest = epochs[-1]
    shown = [early, latest] if early in epochs and early != latest else [latest]
    cards = []
    for index, image in enumerate(images):
        path, mask = Path(image["path"]), image.get("mask_path")
        tiles = [_tile(thumbnail_uri(path, SIDE), "image")]
        for epoch in shown:
            file = run.examples_dir / f"epoch_{epoch:05d}.npz"
            tiles.append(_tile(_heatmap(file, stamp(file), index, path, stamp(path)), f"epoch {epoch}"))
        if image["defect"] == "good":
            tiles.append('<figure><span class="nothing">no defect</span><figcaption>truth</figcaption></figure>')
        elif mask:
            tiles.append(_tile(mask_uri(Path(mask), SIDE), "truth"))
        else:
            tiles.append('<figure><span class="nothing">not outlined</span><figcaption>truth</figcaption></figure>')
        kind = "good" if image["defect"] == "good" else "defect"
        label = escape(image["defect"].replace("_", " "))
        row = f'<div class="tiles-row">{"".join(tiles)}</div>'
        cards.append(f'<div class="example"><span class="tag {kind}">{label}</span>{row}</div>')
    return f'<div class="examples">{"".join(cards)}</div>'


def _images(run: Run) -> list[dict]:
    try:
        return read_json(run.examples_dir / "examples.json")["images"]
    except (OSError, json.JSONDecodeError, KeyError):  # not there yet
        return []


def _tile(uri: str | None, name: str) -> str:
    picture = f'<img src="{uri}" alt="{escape(name)}">' if uri else broken_tile()
    return f"<figure>{picture}<figcaption>{escape(name)}</figcaption></figure>"


@lru_cache(maxsize=256)
def _heatmap(file: Path, _: tuple[int, int], index: int, photo: Path, __: tuple[int, int]) -> str | None:
    """Overlay as a data address; None where the maps or the photo are gone."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            values = arrays["maps"][index].astype(np.float32)
            low, high, threshold = (float(arrays[key]) for key in ("low", "high", "threshold"))
        image = read_thumbnail(photo, SIDE)
    except (OSError, ValueError, KeyError, IndexError, BadZipFile, ImageError):
        return None
    if not low < high:
        return None
    return data_uri(overlay(image, values, low, high, opacity=OPACITY, threshold=threshold))

"""Heatmaps of a few test images: an early epoch beside the latest."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path

from altub.data import read_thumbnail
from altub.errors import ImageError
from altub.evaluation.examples import kept_epochs, maps_file, read_examples, read_maps
from altub.plots import overlay
from altub.runs.run import Run
from altub.ui.html.pictures import broken_tile, data_uri, mask_uri, thumbnail_uri
from altub.ui.watch import stamp

__all__ = ["example_cards"]

SIDE = 256  # pixels of a tile
OPACITY = 0.6


def example_cards(run: Run, early: int | None) -> str:
    """Per image: the image, its heatmap at epoch `early` and at the latest one, and the mask where there is one."""
    epochs = kept_epochs(run.examples_dir)
    images = read_examples(run.examples_dir)
    if not epochs or not images:
        return '<p class="empty-line">Heatmaps of a few test images appear here after the first epoch.</p>'
    latest = epochs[-1]
    shown = [early, latest] if early in epochs and early != latest else [latest]
    cards = []
    for index, image in enumerate(images):
        path = Path(image.path)
        tiles = [_tile(thumbnail_uri(path, SIDE), "image")]
        for epoch in shown:
            file = maps_file(run.examples_dir, epoch)
            tiles.append(_tile(_heatmap(file, stamp(file), index, path, stamp(path)), f"epoch {epoch}"))
        if image.defect == "good":
            tiles.append('<figure><span class="nothing">no defect</span><figcaption>truth</figcaption></figure>')
        elif image.mask_path:
            tiles.append(_tile(mask_uri(Path(image.mask_path), SIDE), "truth"))
        else:
            tiles.append('<figure><span class="nothing">not outlined</span><figcaption>truth</figcaption></figure>')
        kind = "good" if image.defect == "good" else "defect"
        label = escape(image.defect.replace("_", " "))
        row = f'<div class="tiles-row">{"".join(tiles)}</div>'
        cards.append(f'<div class="example"><span class="tag {kind}">{label}</span>{row}</div>')
    return f'<div class="examples">{"".join(cards)}</div>'


def _tile(uri: str | None, name: str) -> str:
    picture = f'<img src="{uri}" alt="{escape(name)}">' if uri else broken_tile()
    return f"<figure>{picture}<figcaption>{escape(name)}</figcaption></figure>"


@lru_cache(maxsize=256)
def _heatmap(file: Path, _: tuple[int, int], index: int, photo: Path, __: tuple[int, int]) -> str | None:
    """Overlay as a data address; None where the maps or the photo are gone."""
    found = read_maps(file)
    if found is None or index >= len(found.maps):
        return None
    try:
        image = read_thumbnail(photo, SIDE)
    except ImageError:
        return None
    drawn = overlay(image, found.maps[index], found.low, found.high, opacity=OPACITY, threshold=found.threshold)
    return data_uri(drawn)

"""Heatmaps of a few test images: an early epoch beside the latest."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path

from altub.data import read_thumbnail
from altub.errors import ImageError
from altub.evaluation.examples import ExampleImage, kept_epochs, maps_file, read_examples, read_maps
from altub.plots import overlay
from altub.runs.run import Run
from altub.ui.html.pictures import broken_tile, data_uri, mask_uri, thumbnail_uri
from altub.ui.watch import stamp

__all__ = ["ENLARGE_JS", "example_cards", "large_example"]

#: For the `js_on_load` of the rows: triggers `select` with the number of the one that was clicked.
ENLARGE_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button.enlarge');
  if (button) trigger('select', {example: Number(button.dataset.example)});
});"""

SIDE, LARGE = 256, 640  # pixels of a tile, small and enlarged
OPACITY = 0.6


def example_cards(run: Run, early: int | None) -> str:
    """Per image: the image, its heatmap at epoch `early` and at the latest one, and the mask where there is one."""
    epochs, images = kept_epochs(run.examples_dir), read_examples(run.examples_dir)
    if not epochs or not images:
        return '<p class="empty-line">Heatmaps of a few test images appear here after the first epoch.</p>'
    shown = _shown_epochs(epochs, early)
    cards = []
    for index, image in enumerate(images):
        kind = "good" if image.defect == "good" else "defect"
        label = escape(image.defect.replace("_", " "))
        cards.append(
            f'<div class="example"><span class="tag {kind}">{label}</span><button type="button" class="enlarge" '
            f'data-example="{index}" aria-label="Enlarge {label}">{_row(run, index, image, shown, SIDE)}</button></div>'
        )
    return f'<div class="examples">{"".join(cards)}</div>'


def large_example(run: Run, early: int | None, index: object) -> str:
    """One image's row as a dialog; empty where it is gone.

    Args:
        index: of the image, as the page says it.
    """
    epochs, images = kept_epochs(run.examples_dir), read_examples(run.examples_dir)
    if not epochs or not isinstance(index, int) or not 0 <= index < len(images):
        return ""
    image = images[index]
    label = escape(image.defect.replace("_", " "))
    return (
        f'<dialog class="large" aria-label="{label}"><form method="dialog"><b>{label}</b>'
        f'<button aria-label="Close">✕</button></form>{_row(run, index, image, _shown_epochs(epochs, early), LARGE)}'
        "</dialog>"
    )


def _shown_epochs(epochs: list[int], early: int | None) -> list[int]:
    """The early epoch, where there is one, and the latest."""
    return [early, epochs[-1]] if early in epochs and early != epochs[-1] else epochs[-1:]


def _row(run: Run, index: int, image: ExampleImage, epochs: list[int], side: int) -> str:
    path = Path(image.path)
    tiles = [_tile(thumbnail_uri(path, side), "image")]
    for epoch in epochs:
        file = maps_file(run.examples_dir, epoch)
        tiles.append(_tile(_heatmap(file, stamp(file), index, path, stamp(path), side), f"epoch {epoch}"))
    if image.defect == "good":
        tiles.append('<span class="figure"><span class="nothing">no defect</span><small>truth</small></span>')
    elif image.mask_path:
        tiles.append(_tile(mask_uri(Path(image.mask_path), side), "truth"))
    else:
        tiles.append('<span class="figure"><span class="nothing">not outlined</span><small>truth</small></span>')
    return f'<span class="tiles-row">{"".join(tiles)}</span>'


def _tile(uri: str | None, name: str) -> str:
    """In elements that a button may hold."""
    picture = f'<img src="{uri}" alt="{escape(name)}">' if uri else broken_tile()
    return f'<span class="figure">{picture}<small>{escape(name)}</small></span>'


@lru_cache(maxsize=256)
def _heatmap(file: Path, _: tuple[int, int], index: int, photo: Path, __: tuple[int, int], side: int) -> str | None:
    """Overlay as a data address; None where the maps or the photo are gone."""
    found = read_maps(file)
    if found is None or index >= len(found.maps):
        return None
    try:
        image = read_thumbnail(photo, side)
    except ImageError:
        return None
    drawn = overlay(image, found.maps[index], found.low, found.high, opacity=OPACITY, threshold=found.threshold)
    return data_uri(drawn)

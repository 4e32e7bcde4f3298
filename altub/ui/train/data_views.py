"""What the panel of the images shows: thumbnails of a category."""

from __future__ import annotations

from html import escape

from altub.data import Category, Sample
from altub.data.category import interleave_defects
from altub.ui.html.pictures import broken_tile, thumbnail_uri

__all__ = ["preview"]

THUMBNAILS, THUMBNAIL_SIDE = 6, 128


def preview(category: Category) -> str:
    """A few good and defective images, and how many there are."""
    counts = category.counts()
    good = _spread(category.train, THUMBNAILS)
    chosen = [category.test[position] for position in interleave_defects(category.test)[:THUMBNAILS]]
    defective = sorted(chosen, key=lambda sample: sample.defect)
    parts = [_strip("Good", "good", f"{counts['train']} for training", good)]
    if defective:
        words = f"{counts['test_defective']} for testing, with {counts['test_good']} good ones"
        if counts["masks"] < counts["test_defective"]:
            words += f"; {counts['masks']} with a mask"
        parts.append(_strip("Defective", "defect", words, defective))
    else:
        parts.append(
            '<p class="empty-line">No defective images: training works without them, but no AUROC can be measured.</p>'
        )
    parts += [f'<p class="empty-line">{escape(note)}</p>' for note in category.notes]
    return f'<div class="preview">{"".join(parts)}</div>'


def _strip(title: str, kind: str, words: str, samples: list[Sample]) -> str:
    tiles = []
    for sample in samples:
        uri = thumbnail_uri(sample.path, THUMBNAIL_SIDE)
        picture = f'<img src="{uri}" alt="{escape(sample.defect)}">' if uri else broken_tile()
        label = escape(sample.defect.replace("_", " ")) if sample.is_defective else ""
        tiles.append(f"<figure>{picture}<figcaption>{label}</figcaption></figure>")
    return (
        f'<section><h4><span class="tag {kind}">{title}</span> <span class="muted">{escape(words)}</span></h4>'
        f'<div class="thumbnails">{"".join(tiles)}</div></section>'
    )


def _spread(samples: tuple[Sample, ...], count: int) -> list[Sample]:
    """`count` of the samples, evenly spread."""
    if len(samples) <= count:
        return list(samples)
    return [samples[k * len(samples) // count] for k in range(count)]

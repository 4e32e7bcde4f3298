"""What the panel of the images shows: thumbnails of a category, the progress of a task, what to do without images."""

from __future__ import annotations

from html import escape

from altub.data import Category, Sample
from altub.data.category import interleave_defects
from altub.deploy.server.notices import UPLOADS_OFF
from altub.settings import data_root, uploads_are_shared
from altub.ui.background import BackgroundTask
from altub.ui.html.pictures import broken_tile, thumbnail_uri
from altub.ui.train.data_source import MVTEC

__all__ = ["mvtec_place", "no_category", "preview", "task_line"]

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


def task_line(task: BackgroundTask, title: str) -> str:
    """A task's progress as a bar, or how it ended."""
    if task.state == "idle":
        return ""
    if task.state == "failed":
        return f'<p class="error">{escape(task.text)}</p>'
    if task.state == "done":
        return f'<p class="note">{escape(task.text)}</p>'
    width = f"width:{100 * task.fraction:.0f}%" if task.fraction is not None else ""
    kind = "" if task.fraction is not None else "unknown"
    return (
        f'<div class="task"><p><b>{escape(title)}</b> <span class="muted">{escape(task.text)}</span></p>'
        f'<div class="bar {kind}"><i style="{width}"></i></div></div>'
    )


def mvtec_place(is_local: bool) -> str:
    """The folder of MVTec AD; the paths of a server are shown on its own machine alone."""
    return f"`{data_root() / MVTEC}`" if is_local else "the folder mvtec of the server's data root"


def no_category(source: str, is_local: bool) -> str:
    """How to get images where a source has none."""
    if source == MVTEC:
        return (
            '<div class="nothing-yet"><b>No category of MVTec AD found.</b> Download one below, or put its '
            f"folder into {escape(mvtec_place(is_local).strip('`'))}.</div>"
        )
    if not uploads_are_shared():
        return f'<div class="nothing-yet">{escape(UPLOADS_OFF)}</div>'
    return (
        '<div class="nothing-yet"><b>No own images yet.</b> Upload images of good parts below: about 50, all taken the '
        "same way. Defective ones are optional and only used for testing.</div>"
    )


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

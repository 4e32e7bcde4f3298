"""What the check of the images shows: what stands out, with pictures, and a table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from altub.data.review import Review, Reviewed
from altub.ui.html.pictures import broken_tile, thumbnail_uri

__all__ = ["REVIEW_JS", "review_html"]

SIDE = 128
SHOWN = 12  # images of a section
LISTED = 1000  # rows of the table

#: For the `js_on_load`: triggers `select` with the image of the button that was pressed.
REVIEW_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-sha]');
  if (button) trigger('select', {sha: button.dataset.sha, action: button.dataset.action});
});"""


def review_html(review: Review, removed: Sequence[tuple[Path, str]], may_remove: bool) -> str:
    """The sections that have something, and the table.

    Args:
        removed: (file, SHA-256) of images that were taken out.
        may_remove: give the images a button that takes them out of the set.
    """
    parts = [f'<p class="muted small">{len(review.images)} images checked.</p>']
    found = (
        ("Cannot be read", "", [[image] for image in review.unreadable], False),
        ("The same image more than once", "Copies in training count twice.", review.duplicates, may_remove),
        (
            "In training and test alike",
            "The same or nearly the same image on both sides makes the metrics optimistic.",
            review.leaks,
            may_remove,
        ),
        (
            "Unlike the other good images",
            "Each compared with all others. A defect among the good images teaches the model that it is normal.",
            [[image] for image in review.outliers],
            may_remove,
        ),
    )
    for title, about, groups, removable in found:
        if groups:
            parts.append(_section(title, about, groups, removable))
    if len(parts) == 1:
        parts.append('<p class="note">Nothing stands out: no duplicates, nothing in both training and test, '
                     "no outliers.</p>")  # fmt: skip
    if removed:
        tiles = "".join(_tile(path, path.name, sha256, "restore", "Put back") for path, sha256 in removed[:SHOWN])
        parts.append(f'<section><h4>Removed ({len(removed)})</h4><div class="found">{tiles}</div></section>')
    parts.append(_table(review.images))
    return f'<div class="review">{"".join(parts)}</div>'


def _section(title: str, about: str, groups: Sequence[Sequence[Reviewed]], may_remove: bool) -> str:
    shown = []
    for group in groups[:SHOWN]:
        tiles = "".join(
            _tile(image.sample.path, _name(image), image.sha256 if may_remove else "", "remove", "Remove", image.score)
            for image in group[:4]
        )
        shown.append(f'<div class="found">{tiles}</div>')
    more = f'<p class="muted small">and {len(groups) - SHOWN} more</p>' if len(groups) > SHOWN else ""
    words = f'<p class="muted small">{escape(about)}</p>' if about else ""
    return f"<section><h4>{escape(title)} ({len(groups)})</h4>{words}{''.join(shown)}{more}</section>"


def _tile(path: Path, name: str, sha256: str, action: str, label: str, score: float | None = None) -> str:
    uri = thumbnail_uri(path, SIDE)
    picture = f'<img src="{uri}" alt="{escape(name)}">' if uri else broken_tile()
    button = (
        f'<button type="button" data-sha="{escape(sha256)}" data-action="{action}" aria-label="{label} '
        f'{escape(name)}">{label}</button>'
        if sha256
        else ""
    )
    unlike = f"<br>{score:.0f} x the usual spread" if score is not None and score > 1 else ""
    return f'<figure>{picture}<figcaption title="{escape(name)}">{escape(name)}{unlike}</figcaption>{button}</figure>'


def _name(image: Reviewed) -> str:
    part = "training" if image.part == "train" else f"test, {image.sample.defect}"
    return f"{image.sample.path.name} ({part})"


def _table(images: Sequence[Reviewed]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(image.sample.path.name)}</th><td>{image.part}</td>"
        f"<td>{escape(image.sample.defect)}</td><td>{image.shape[0]} x {image.shape[1]}</td>"
        f"<td>{image.size / 1000:.0f} kB</td><td><code>{image.sha256[:12]}</code></td></tr>"
        for image in images[:LISTED]
    )
    heads = "".join(f"<th scope='col'>{name}</th>" for name in ("Image", "Part", "Class", "Pixels", "Size", "SHA-256"))
    return (
        f"<details><summary>All images</summary><div class='scroll' tabindex='0' role='region' aria-label='All images'>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )

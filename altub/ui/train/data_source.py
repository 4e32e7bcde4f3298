"""Where the images of a training come from, and what they look like before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from altub.data import MVTEC_CATEGORIES, Category, Sample, list_categories, load_category
from altub.data.category import interleave_defects
from altub.data.sample import SAMPLE_CATEGORIES
from altub.errors import ConfigError, DataError
from altub.settings import data_root
from altub.ui.html.pictures import broken_tile, thumbnail_uri
from altub.ui.train.uploads import list_uploads, upload_folder

__all__ = [
    "MVTEC",
    "OWN",
    "SAMPLE",
    "SOURCES",
    "Choice",
    "category_choices",
    "find_category",
    "preview",
]

SAMPLE, MVTEC, OWN = "sample", "mvtec", "own"
SOURCES = (("Built-in sample", SAMPLE), ("MVTec AD", MVTEC), ("My images", OWN))
THUMBNAILS, THUMBNAIL_SIDE = 6, 128
UPLOAD, FOLDER = "upload:", "folder:"  # the two kinds of own images, in the value of the category list


@dataclass(frozen=True)
class Choice:
    """What a training reads: the two settings `data` and `category`."""

    data: str
    category: str

    def load(self) -> Category:
        return load_category(self.data, self.category)


def mvtec_roots() -> tuple[Path, ...]:
    """Folders that MVTec AD categories are looked for in."""
    return data_root() / MVTEC, data_root()


def category_choices(source: str, folder: str = "", may_name_folders: bool = False) -> list[tuple[str, str]]:
    """(label, value) of everything that can be trained on from a source.

    Raises:
        DataError: the folder holds nothing that is understood.
        ConfigError: folders may not be named.
    """
    if source == SAMPLE:
        return [(name, name) for name in SAMPLE_CATEGORIES]
    if source == MVTEC:
        found: dict[str, None] = {}
        for root in mvtec_roots():
            found.update(dict.fromkeys(_mvtec_categories(root)))
        return [(name, name) for name in sorted(found)]
    if source != OWN:
        raise ConfigError("Choose where the images come from.")
    choices = [(f"{name} (uploaded)", UPLOAD + name) for name in list_uploads()]
    if folder.strip():
        _check_may_name(may_name_folders)
        choices += [(category.name, FOLDER + category.name) for category in list_categories(folder.strip())]
    return choices


def find_category(source: str, value: str | None, folder: str = "", may_name_folders: bool = False) -> Choice:
    """What the fields of the page mean.

    Raises:
        DataError, ConfigError: nothing is chosen, or it is not there.
    """
    if not value or not isinstance(value, str):
        raise DataError("Choose a category to train on first.")
    if source == SAMPLE and value in SAMPLE_CATEGORIES:
        return Choice(SAMPLE, value)
    if source == MVTEC:
        for root in mvtec_roots():
            if value in _mvtec_categories(root):
                return Choice(str(root), value)
    if source == OWN and value.startswith(UPLOAD):
        path = upload_folder(value.removeprefix(UPLOAD))
        return Choice(str(path), path.name)
    if source == OWN and value.startswith(FOLDER):
        _check_may_name(may_name_folders)
        name = value.removeprefix(FOLDER)
        load_category(folder.strip(), name)
        return Choice(str(Path(folder.strip()).expanduser().resolve()), name)
    raise DataError("This category is not there (any more): choose one from the list.")


def preview(category: Category) -> str:
    """A few good and defective pictures, and how many there are."""
    counts = category.counts()
    good = _spread(category.train, THUMBNAILS)
    chosen = [category.test[position] for position in interleave_defects(category.test)[:THUMBNAILS]]
    defective = sorted(chosen, key=lambda sample: sample.defect)
    parts = [_strip("Good", "good", f"{counts['train']} to learn from", good)]
    if defective:
        words = f"{counts['test_defective']} to test on, with {counts['test_good']} more good ones"
        if counts["masks"] < counts["test_defective"]:
            words += f"; {counts['masks']} outlined by a mask"
        parts.append(_strip("Defective", "defect", words, defective))
    else:
        parts.append(
            '<p class="empty-line">No defective images: training works all the same, but there will be no AUROC to '
            "watch.</p>"
        )
    parts += [f'<p class="empty-line">{escape(note)}</p>' for note in category.notes]
    return f'<div class="preview">{"".join(parts)}</div>'


def _mvtec_categories(root: Path) -> list[str]:
    return [name for name in MVTEC_CATEGORIES if (root / name / "train" / "good").is_dir()]


def _check_may_name(may_name_folders: bool) -> None:
    if not may_name_folders:
        raise ConfigError("Folders of the server can be named only while the page is served to its own machine alone.")


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

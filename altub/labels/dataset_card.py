"""The card of labels on the Hub: what they are, how many, how to load them; for people, and as front matter."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

from altub.labels.formats.imagefolder import FILE
from altub.labels.records import VERDICTS
from altub.version import __version__

__all__ = ["TAG", "LabelCounts", "is_unedited", "make_dataset_card"]

#: Of the card's tags: the one by which a repo is known to hold labels of AltUB.
TAG = "altub-labels"
MOST_TYPES = 100  # of defects, that a card lists
# The Hub's sizes of data sets: images below, and their name.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_SIGNATURE = re.compile(r"\n<!-- altub card ([0-9a-f]{64}) -->\n?\Z")


@dataclass
class LabelCounts:
    """What a folder of labels holds.

    Attributes:
        verdicts, defect_types: number of images by name.
        masks: number of images with a mask.
        people: who labelled.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    defect_types: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    people: set[str] = field(default_factory=set)

    @property
    def images(self) -> int:
        return self.verdicts.total()


def make_dataset_card(counts: LabelCounts, repo: str, licence: str | None) -> str:
    """README.md of a repo of labels; its last line says what it was when it was pushed (`is_unedited`)."""
    from huggingface_hub import DatasetCardData

    paths = [FILE, "images/**", *(["masks/**"] if counts.masks else [])]
    front = DatasetCardData(
        license=licence,
        pretty_name=repo.partition("/")[2],
        tags=["anomaly-detection", "altub", TAG],
        task_categories=["image-classification", "image-segmentation"],
        size_categories=next((name for most, name in _SIZES if counts.images < most), "n>1M"),
        annotations_creators="expert-generated",
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": paths}]}],
    )
    rows = "".join(
        f"| {verdict} | {counts.verdicts[verdict]:,} |\n" for verdict in VERDICTS if counts.verdicts[verdict]
    )
    card = f"""---
{front.to_yaml()}
---

# Labels: {_plain(repo.partition("/")[2])}

{counts.images:,} pictures of parts that people labelled: good, with a defect, or unsure. {counts.masks:,} of them have
a mask of the defect. Made with AltUB {__version__}.

```python
from datasets import load_dataset

labels = load_dataset("{repo}", split="train")
```

| verdict | images |
|---|---|
{rows}{_types(counts)}
| column | |
|---|---|
| `image` | the picture |
| `mask` | of the defect, with the size of the picture: 255 where it is, else 0; none where nobody drew one |
| `verdict` | `good`, `defect` or `unsure` |
| `defect_type` | of a defect, else none |
| `note`, `who`, `at`, `source` | in words; who labelled it; when, in seconds since 1970; where the picture comes from |

A mask as an array of `bool`: `np.asarray(row["mask"]) > 0`.

Back into a label store: `hf download {repo} --repo-type dataset --local-dir labels`, then
`python -m altub labels import labels`.
"""
    return f"{card}\n<!-- altub card {_sha256(card)} -->\n"


def is_unedited(card: str) -> bool:
    """Is this a card of `make_dataset_card` as it was written?"""
    found = _SIGNATURE.search(card)
    return found is not None and _sha256(card[: found.start()]) == found.group(1)


def _types(counts: LabelCounts) -> str:
    if not counts.defect_types:
        return ""
    listed = counts.defect_types.most_common(MOST_TYPES)
    rows = "".join(f"| {_plain(name)} | {count:,} |\n" for name, count in listed)
    more = len(counts.defect_types) - len(listed)
    return f"\n| type of defect | images |\n|---|---|\n{rows}" + (f"| {more} more | |\n" if more else "")


def _plain(text: str) -> str:
    """A name without what means something to Markdown or HTML."""
    return re.sub(r"[^\w .,+-]", " ", text).strip() or "unnamed"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Names of a category's images that say nothing about the machine they lie on, in the layout of MVTec AD.

The job and the user's machine number the same images in the same order, so a name stands for one image on both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from altub.data.category import Category, Sample

__all__ = ["image_names", "upload_category"]


def image_names(category: Category) -> dict[str, Sample]:
    """Name -> image: ``train/good/00000.png``, ``test/<defect>/00000.png``."""
    names: dict[str, Sample] = {}
    counts: dict[str, int] = {}
    for split, samples in (("train", category.train), ("test", category.test)):
        for sample in samples:
            folder = f"{split}/{_plain(sample.defect)}"
            index = counts[folder] = counts.get(folder, -1) + 1
            names[f"{folder}/{index:05d}{sample.path.suffix.lower()}"] = sample
    return names


def upload_category(api: Any, repo: str, category: Category) -> str:
    """One commit with the images and masks of a category to a new or own private data set; the commit's hash.

    Raises:
        what the client raises; to be put into words by the caller.
    """
    from huggingface_hub import CommitOperationAdd

    files: dict[str, Path] = {}
    for name, sample in image_names(category).items():
        files[name] = sample.path
        if sample.mask_path is not None:
            path = Path(name)
            truth = f"ground_truth/{path.parent.name}/{path.stem}_mask{sample.mask_path.suffix.lower()}"
            files[truth] = sample.mask_path
    operations = [CommitOperationAdd(f"{_plain(category.name)}/{name}", path) for name, path in files.items()]
    commit = api.create_commit(repo, operations, commit_message="Images to train on", repo_type="dataset")
    return str(commit.oid)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "images"

"""A label store in a folder of its own, and small images for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.labels.store import LabelStore


def picture(number: int, size: tuple[int, int] = (12, 8)) -> bytes:
    """A PNG of noise; each number gives another one."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def add_pictures(store: LabelStore, count: int, *, first: int = 0, source: str = "") -> list[str]:
    """Adds images and returns their SHA-256."""
    numbers = range(first, first + count)
    return [store.images.add(picture(n), name=f"{n:04d}.png", source=source).sha256 for n in numbers]


def propose(store: LabelStore, images: list[str], scores: list[float], model: str = "m" * 64) -> None:
    """Scores of a model, with p-values that fall as they rise."""
    for image, score in zip(images, scores, strict=True):
        store.proposals.add(image, model, score, 1 / (1 + np.exp(score)), np.full((4, 6), score, np.float32))


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels.db")

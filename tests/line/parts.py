"""Pictures of the woven test part, as they are and after a shift, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from altub.line.shifts import shifted
from tests.conftest import _weave

STRONG = ("brightness", 1.35)


def parts(count: int, seed: int, *, shift: tuple[str, float] | None = None, blot: bool = False) -> list[Image.Image]:
    """Good parts, or with `blot` defective ones."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        picture = _weave(rng)
        if blot:
            top, left = rng.integers(8, 40, 2)
            picture[top : top + 14, left : left + 14] = (250, 240, 120)
        image = Image.fromarray(picture)
        found.append(image if shift is None else shifted(image, *shift, seed=index))
    return found


def write_parts(folder: Path, images: Iterable[Image.Image], *, digits: int = 1) -> Path:
    """A new folder with these pictures: 0.png, 1.png and so on."""
    folder.mkdir()
    for index, image in enumerate(images):
        image.save(folder / f"{index:0{digits}d}.png")
    return folder

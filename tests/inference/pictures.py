"""Files to predict, as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int) -> Path:
    """Images in two subfolders, whose names collide, and one file that is none; returns the folder."""
    rng = np.random.default_rng(0)
    for index in range(count - 1):
        path = folder / str(index % 2) / f"{index // 2:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (80, 60, 3), np.uint8)).save(path)
    (folder / "0" / "zz.png").write_bytes(b"no picture")
    return folder

"""examples/ of a run: the maps of a few test images, epoch by epoch, and which images they are of.

    examples.json       the images' paths, defects and masks
    epoch_00003.npz     maps (N, S, S) float16 after an epoch, and the range and the threshold to draw them with

The folder may come from elsewhere: what is read from it is bounded, and what is damaged is as good as not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from altub.data import Sample
from altub.data.category import interleave_defects
from altub.data.npz import read_npz
from altub.files import explain_full_disk, read_json, write_atomically, write_json
from altub.inference.calibration import Calibration

__all__ = [
    "MOST_BYTES",
    "ExampleImage",
    "ExampleMaps",
    "MapsOfEpoch",
    "kept_epochs",
    "maps_file",
    "read_examples",
    "read_maps",
    "write_examples",
]

EXAMPLES = 6  # images whose heatmaps are kept for watching
EXAMPLE_SIDE = 256  # pixels, at most
MOST_BYTES = 4 << 20  # of a file of maps, unpacked: several times what `ExampleMaps` writes
LONGEST_PATH = 4096  # characters
IMAGES_FILE = "examples.json"
_MAPS_FILE = re.compile(r"epoch_([0-9]{5,9})\.npz")
_FLOAT16_MAX = 65504.0  # an NLL map has no upper end; infinity in a picture is of no use


@dataclass(frozen=True)
class ExampleImage:
    """One image of examples.json. defect: "good" or a kind; "" where it is not known. mask_path: None without an
    outline."""

    path: str
    defect: str
    mask_path: str | None = None


@dataclass(frozen=True)
class MapsOfEpoch:
    """The maps after one epoch.

    Attributes:
        maps: (N, S, S) float32, finite.
        low, high: range of the colours, low < high.
        threshold: of the line around defects.
    """

    maps: np.ndarray
    low: float
    high: float
    threshold: float


class ExampleMaps:
    """Writes the maps of a few images after every epoch, so that one can watch them become right.

    Epochs 0, 1, 2, 3, 5, 10, 20, 30, 50, 100, ... and the latest are kept.
    """

    def __init__(self, folder: Path, samples: Sequence[Sample]) -> None:
        self.folder = folder
        self.indices = _choose_examples(samples)
        with explain_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_examples(
            folder,
            [
                ExampleImage(
                    path=str(samples[i].path),
                    defect=samples[i].defect,
                    mask_path=str(samples[i].mask_path) if samples[i].mask_path else None,
                )
                for i in self.indices
            ],
        )

    def write(self, epoch: int, maps: np.ndarray, calibration: Calibration) -> None:
        """Keeps the examples' share of `maps` (N, S, S), which are of the samples given at construction."""
        import torch
        import torch.nn.functional as F

        chosen = torch.from_numpy(maps[self.indices])[:, None]
        if chosen.shape[-1] > EXAMPLE_SIDE:
            chosen = F.interpolate(chosen, (EXAMPLE_SIDE, EXAMPLE_SIDE), mode="area")
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            maps=chosen[:, 0].clamp(-_FLOAT16_MAX, _FLOAT16_MAX).numpy().astype(np.float16),
            low=calibration.colour_low,
            high=calibration.colour_high,
            threshold=float(calibration.peaks[-1]),
        )
        write_atomically(maps_file(self.folder, epoch), buffer.getvalue())
        for other in kept_epochs(self.folder):
            if other > epoch or (other < epoch and not _is_milestone(other)):
                maps_file(self.folder, other).unlink(missing_ok=True)


def write_examples(folder: Path, images: Sequence[ExampleImage]) -> None:
    """What `read_examples` returns."""
    write_json(folder / IMAGES_FILE, {"images": [asdict(image) for image in images]})


def read_examples(folder: Path) -> list[ExampleImage]:
    """The images whose maps are kept; empty if there are none yet, or the file is damaged."""
    try:
        found = read_json(folder / IMAGES_FILE)["images"][:EXAMPLES]
        images = [ExampleImage(image["path"], image["defect"], image.get("mask_path")) for image in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return images if all(map(_is_sound, images)) else []


def _is_sound(image: ExampleImage) -> bool:
    texts = [image.path, image.defect, *([] if image.mask_path is None else [image.mask_path])]
    return all(isinstance(text, str) and len(text) <= LONGEST_PATH and "\0" not in text for text in texts)


def maps_file(folder: Path, epoch: int) -> Path:
    """Where the maps after an epoch are."""
    return folder / f"epoch_{epoch:05d}.npz"


def kept_epochs(folder: Path) -> list[int]:
    """Epochs whose maps are there, ascending; the last one is the latest."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:  # not there yet
        return []
    found = [int(match[1]) for name in names if (match := _MAPS_FILE.fullmatch(name))]
    return sorted(epoch for epoch in found if maps_file(folder, epoch).name in names)


def read_maps(file: Path) -> MapsOfEpoch | None:
    """The maps of `maps_file`; None if they are not there, or damaged."""
    try:
        arrays = read_npz(file, most_bytes=MOST_BYTES, most_arrays=4)
        low, high, threshold = (float(arrays[name]) for name in ("low", "high", "threshold"))
        maps = arrays["maps"].astype(np.float32)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    numbers = all(math.isfinite(value) for value in (low, high, threshold))
    if not numbers or not low < high or maps.ndim != 3 or 0 in maps.shape or not np.isfinite(maps).all():
        return None
    return MapsOfEpoch(maps, low, high, threshold)


def _is_milestone(epoch: int) -> bool:
    return str(epoch).rstrip("0") in ("", "1", "2", "3", "5")  # "": epoch 0


def _choose_examples(samples: Sequence[Sample]) -> list[int]:
    """Positions of up to `EXAMPLES` samples: each defect in turn and one good one, or good ones alone."""
    good = [position for position, sample in enumerate(samples) if not sample.is_defective]
    defective = interleave_defects(samples)[: EXAMPLES - 1 if good else EXAMPLES]
    return defective + good[: 1 if defective else EXAMPLES]

"""Features of a frozen backbone, computed once: kept in memory or on disk, or recomputed where neither has room."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from altub.backbones import Backbone
from altub.data import PixelRange, Sample, to_tensor
from altub.data.augment import Augment
from altub.device import Workers
from altub.errors import RunError
from altub.files import explain_full_disk
from altub.inference.comparability import picture_statistics

__all__ = ["FeatureStore", "load_images"]

EXTRACTION_BATCH = 16  # images per backbone call; fixed, so that features never depend on the training's batch size
DISK_RESERVE = 2 << 30  # bytes left free on the disk for checkpoints and other programs
DECODERS = 4  # threads; Pillow decodes and resizes without holding the interpreter's lock


def load_images(
    samples: Sequence[Sample],
    size: int,
    pixel_range: PixelRange | None = None,
    see: Callable[[int, Image.Image], None] = lambda place, image: None,
) -> Tensor:
    """Decodes and resizes: (N, 3, size, size) float32 in [0, 1].

    see: called, in some thread, with each image (RGB, at its own size) and its place in `samples`.
    """

    def load(place: int) -> Tensor:
        with samples[place].opened(pixel_range) as image:
            see(place, image)
            return to_tensor(image, size)

    with ThreadPoolExecutor(DECODERS) as pool:
        return torch.stack(list(pool.map(load, range(len(samples)))))


class FeatureStore:
    """Feature pyramids of a list of images, by index.

    Args:
        backbone: frozen feature pyramid, already on its device.
        samples: the images.
        image_size: side that images are resized to.
        budget: bytes that this store may keep in memory; more goes to `spill` (a folder that is removed by `close`)
            if the disk has room, else features are recomputed at every call.
        augment: called as augment(images, epoch, indices) on each batch, where `indices` are the images' places in
            `samples`; nothing is kept then.
        workers: compute several batches side by side.
        pixel_range: which values of deep images are white.
        describes: the numbers of whole pictures are wanted (`pictures`).
    """

    def __init__(
        self,
        backbone: Backbone,
        samples: Sequence[Sample],
        image_size: int,
        *,
        device: torch.device,
        budget: int,
        spill: Path,
        augment: Augment | None = None,
        workers: Workers | None = None,
        pixel_range: PixelRange | None = None,
        describes: bool = False,
    ) -> None:
        self.backbone, self.samples, self.image_size = backbone, list(samples), image_size
        self.device, self.spill, self.augment, self.workers = device, spill, augment, workers
        self.pixel_range, self.describes = pixel_range, describes
        self._pictures: dict[int, dict[str, float]] = {}
        with torch.inference_mode():
            probe = backbone(torch.zeros(1, 3, image_size, image_size, device=device))
        self.shapes: list[tuple[int, int, int]] = [tuple(x.shape[1:]) for x in probe]
        self.bytes = len(self.samples) * sum(c * h * w for c, h, w in self.shapes) * 4
        self.mode = "recompute" if augment is not None else self._place(budget)
        self._arrays: list[Tensor] | list[_RowFile] = []

    def __len__(self) -> int:
        return len(self.samples)

    def _place(self, budget: int) -> str:
        if self.device.type == "cuda" and self.bytes < torch.cuda.mem_get_info(self.device)[0] // 3:
            return "device"
        if self.bytes <= budget:
            return "memory"
        self.spill.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.spill.parent).free
        return "disk" if self.bytes + DISK_RESERVE < free else "recompute"

    def fill(self) -> Iterator[int]:
        """Computes what is kept; yields the number of images done, so that a caller can show it or stop."""
        if self.mode == "disk":
            yield from self._fill_files()
        elif self.mode != "recompute":
            where = self.device if self.mode == "device" else "cpu"
            self._arrays = [torch.empty((len(self), *shape), device=where) for shape in self.shapes]
            for start, stop, features in self._all_features():
                for array, level in zip(self._arrays, features, strict=True):
                    array[start:stop] = level
                yield stop

    def describe(self) -> Iterator[int]:
        """Computes what `pictures` gives and `fill` did not compute on its way; yields the number of images done."""
        missing = [place for place in range(len(self.samples) if self.describes else 0) if place not in self._pictures]
        for start in range(0, len(missing), EXTRACTION_BATCH):
            self._load(missing[start : start + EXTRACTION_BATCH])
            yield len(self._pictures)

    @property
    def pictures(self) -> list[dict[str, float]]:
        """`picture_statistics` of every image, after `describe`."""
        return [self._pictures[place] for place in range(len(self.samples))]

    def _fill_files(self) -> Iterator[int]:
        # Written and read as files, not mapped: a full disk, or a file cut off in place, would kill the process.
        paths = [self.spill / f"{level}.f32" for level in range(len(self.shapes))]
        with explain_full_disk(self.spill), ExitStack() as stack:
            self.spill.mkdir(parents=True, exist_ok=True)
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for _, stop, features in self._all_features():
                for file, level in zip(files, features, strict=True):
                    file.write(level.cpu().contiguous().numpy().data)
                yield stop
        self._arrays = [_RowFile(path, shape) for path, shape in zip(paths, self.shapes, strict=True)]

    def _all_features(self) -> Iterator[tuple[int, int, list[Tensor]]]:
        def piece(start: int) -> tuple[int, int, list[Tensor]]:
            stop = min(start + EXTRACTION_BATCH, len(self.samples))
            return start, stop, self._extract(self._load(range(start, stop)))

        starts = range(0, len(self.samples), EXTRACTION_BATCH)
        yield from map(piece, starts) if self.workers is None else self.workers.map(piece, starts)

    def _load(self, indices: Sequence[int]) -> Tensor:
        def see(place: int, image: Image.Image) -> None:
            if self.describes and indices[place] not in self._pictures:
                self._pictures[indices[place]] = picture_statistics(image, self.image_size)

        return load_images([self.samples[index] for index in indices], self.image_size, self.pixel_range, see)

    def _extract(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return self.backbone(images.to(self.device))

    def batch(self, indices: Sequence[int], epoch: int = 0) -> list[Tensor]:
        """Features of the images at `indices`, in that order, on the device: per scale (N, C, H, W) float32."""
        if self.mode == "recompute":
            images = self._load(indices)
            return self._extract(images if self.augment is None else self.augment(images, epoch, indices))
        if self.mode == "disk":
            return [rows.read(indices).to(self.device) for rows in self._arrays]
        rows = torch.as_tensor(indices, device=self._arrays[0].device)
        return [array[rows].to(self.device) for array in self._arrays]

    def batches(self, size: int) -> Iterator[tuple[list[int], list[Tensor]]]:
        """All images in order: (indices, features) of at most `size` images at a time."""
        for start in range(0, len(self.samples), size):
            indices = list(range(start, min(start + size, len(self.samples))))
            yield indices, self.batch(indices)

    def close(self) -> None:
        """Frees memory and disk."""
        for array in self._arrays:
            if isinstance(array, _RowFile):
                array.close()
        self._arrays = []
        shutil.rmtree(self.spill, ignore_errors=True)


class _RowFile:
    """A file of float32 arrays of one shape, an image each."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()  # seeking and reading belong together
        self._bytes = 4 * math.prod(shape)

    def read(self, indices: Sequence[int]) -> Tensor:
        """(N, C, H, W) of these images.

        Raises:
            RunError: the file was cut off or removed from outside.
        """
        found = np.empty((len(indices), *self.shape), np.float32)
        for row, index in zip(found, indices, strict=True):
            with self._lock:
                self._file.seek(index * self._bytes)
                complete = self._file.readinto(row.data) == self._bytes
            if not complete:
                raise RunError(f"The cached features in {self.path} were changed from outside: resume the run.")
        return torch.from_numpy(found)

    def close(self) -> None:
        self._file.close()

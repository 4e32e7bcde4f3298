"""Features of a frozen backbone, computed once: kept in memory or on disk, or recomputed where neither has room."""

from __future__ import annotations

import math
import shutil
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from altub.backbones import Backbone
from altub.data import PixelRange, Sample, to_tensor
from altub.data.augment import Augment
from altub.data.images.reading import image_dimensions
from altub.device import Item, Result, Workers, one_ahead, send
from altub.errors import ConfigError, RunError
from altub.files import explain_full_disk
from altub.flows import FeatureNorm, FlowPyramid
from altub.flows.norms import NoNorm
from altub.inference.comparability import picture_statistics
from altub.inference.framing import Frame, Framing
from altub.inference.framing_settings import MOST_SIDE

__all__ = ["FeatureFormat", "FeatureStore", "feature_shapes", "load_images"]

FeatureFormat = Literal["fp32", "fp16"]  # fp16 keeps 11 bits of a value in half of the room

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


def feature_shapes(backbone: Backbone, side: int, device: torch.device) -> list[tuple[int, int, int]]:
    """(C, H, W) of every scale of what a backbone makes of images of this side."""
    with torch.inference_mode():
        return [tuple(x.shape[1:]) for x in backbone(torch.zeros(1, 3, side, side, device=device))]


class FeatureStore:
    """Feature pyramids of a list of images, by index; where images are cut into tiles, of all tiles, image by image.

    Args:
        backbone: frozen feature pyramid, already on its device.
        samples: the images.
        image_size: side that images are resized to, or how they are shown to the backbone.
        budget: bytes that this store may keep in memory; more goes to `spill` (a folder that is removed by `close`)
            if the disk has room, else features are recomputed at every call.
        augment: called as augment(images, epoch, indices) on each batch, where `indices` are the images' (or tiles')
            places in the store; nothing is kept then.
        workers: compute several batches side by side.
        pixel_range: which values of deep images are white.
        share: (rank, size): of all places only rank, rank + size, rank + 2 size, ... are kept and can be asked for.
        kept_as: number format of what is kept; what comes out is float32.
        describes: the numbers of whole pictures are wanted (`pictures`).
    """

    def __init__(
        self,
        backbone: Backbone,
        samples: Sequence[Sample],
        image_size: int | Framing,
        *,
        device: torch.device,
        budget: int,
        spill: Path,
        augment: Augment | None = None,
        workers: Workers | None = None,
        pixel_range: PixelRange | None = None,
        describes: bool = False,
        share: tuple[int, int] = (0, 1),
        kept_as: FeatureFormat = "fp32",
    ) -> None:
        self.framing = image_size if isinstance(image_size, Framing) else Framing(image_size)
        if self.framing.side > MOST_SIDE:
            raise ConfigError(f"Images of {self.framing.side} px are too large for the model at once.")
        self.backbone, self.samples, self.image_size = backbone, list(samples), self.framing.side
        self.device, self.spill, self.augment, self.workers = device, spill, augment, workers
        self.pixel_range, self.describes = pixel_range, describes
        self._pictures: dict[int, dict[str, float]] = {}
        self.shapes = feature_shapes(backbone, self.image_size, device)
        self.dtype = {"fp32": torch.float32, "fp16": torch.float16}[kept_as]
        self.frames: list[Frame] = []
        if not self.framing.is_plain:
            self.frames = [self.framing.frame(image_dimensions(sample.source)) for sample in self.samples]
        self._first_tiles = [0, *accumulate(map(len, self.frames))]  # of each image; one more at the end
        self.own = range(share[0], len(self), share[1])
        self.bytes = len(self.own) * sum(c * h * w for c, h, w in self.shapes) * self.dtype.itemsize
        self.mode = "recompute" if augment is not None else self._place(budget)
        self._arrays: list[Tensor] | list[_RowFile] = []
        self._folded = False

    def __len__(self) -> int:
        """Images, or tiles of all images."""
        return self._first_tiles[-1] if self.frames else len(self.samples)

    @property
    def image_count(self) -> int:
        """Images, however many tiles they have."""
        return len(self.samples)

    def tiles_of(self, image: int) -> range:
        """The places of an image's tiles in a store whose images are framed."""
        return range(self._first_tiles[image], self._first_tiles[image + 1])

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
            self._arrays = [
                torch.empty((len(self.own), *shape), dtype=self.dtype, device=where) for shape in self.shapes
            ]
            for start, stop, features in self._all_features():
                for array, level in zip(self._arrays, features, strict=True):
                    array[start:stop] = self._as_kept(level)
                yield stop

    def describe(self) -> Iterator[int]:
        """Computes what `pictures` gives and `fill` did not compute on its way; yields the number of images done."""
        missing = [place for place in range(len(self.samples) if self.describes else 0) if place not in self._pictures]
        for start in range(0, len(missing), EXTRACTION_BATCH):
            self._look_at(missing[start : start + EXTRACTION_BATCH])
            yield len(self._pictures)

    @property
    def pictures(self) -> list[dict[str, float]]:
        """`picture_statistics` of every image, after `describe`."""
        return [self._pictures[place] for place in range(len(self.samples))]

    def fold(self, norms: Sequence[FeatureNorm]) -> Iterator[int]:
        """Replaces what is kept, once filled, by what these norms make of it, so that no step computes it again.

        Yields the number of images done. To be run to its end: half of it is no store.

        Args:
            norms: fixed ones, of every scale. Where nothing is kept they are left to the caller (`norms_left`).
        """
        if self.mode == "recompute" or not all(norm.is_fixed for norm in norms):
            return

        def piece(start: int) -> int:
            rows = range(start, min(start + EXTRACTION_BATCH, len(self.own)))
            with torch.no_grad():
                for norm, array in zip(norms, self._arrays, strict=True):
                    if isinstance(array, _RowFile):
                        array.write(rows, self._as_kept(norm(array.read(rows).to(self.device).float())).cpu())
                    else:
                        kept = array[rows.start : rows.stop]
                        kept.copy_(self._as_kept(norm(kept.to(self.device).float())))
            return rows.stop

        yield from self._side_by_side(piece, self._starts)
        self._folded = True

    def norms_left(self, pyramid: FlowPyramid) -> Sequence[FeatureNorm]:
        """What features of this store have still to pass before the flows: `pyramid`'s norms; none after `fold`."""
        return [NoNorm(shape) for shape in self.shapes] if self._folded else list(pyramid.norms)

    def _fill_files(self) -> Iterator[int]:
        # Written and read as files, not mapped: a full disk, or a file cut off in place, would kill the process.
        ending = "f32" if self.dtype == torch.float32 else "f16"
        paths = [self.spill / f"{level}.{ending}" for level in range(len(self.shapes))]
        with explain_full_disk(self.spill), ExitStack() as stack:
            self.spill.mkdir(parents=True, exist_ok=True)
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for _, stop, features in self._all_features():
                for file, level in zip(files, features, strict=True):
                    file.write(self._as_kept(level).cpu().contiguous().numpy().data)
                yield stop
        self._arrays = [_RowFile(path, shape, self.dtype) for path, shape in zip(paths, self.shapes, strict=True)]

    def _all_features(self) -> Iterator[tuple[int, int, list[Tensor]]]:
        def extract(loaded: tuple[int, Tensor]) -> tuple[int, int, list[Tensor]]:
            return loaded[0], loaded[0] + len(loaded[1]), self._extract(loaded[1])

        if self.device.type != "cpu":  # its host decodes the next images meanwhile
            yield from map(extract, one_ahead(self._all_tiles() if self.frames else map(self._piece, self._starts)))
        elif self.frames:
            yield from self._side_by_side(extract, self._all_tiles())
        else:  # decoded and passed through the backbone by the same worker: some decode while others compute
            yield from self._side_by_side(lambda start: extract(self._piece(start)), self._starts)

    @property
    def _starts(self) -> range:
        return range(0, len(self.own), EXTRACTION_BATCH)

    def _piece(self, start: int) -> tuple[int, Tensor]:
        """Row of the first, (n, 3, side, side) of some own images."""
        return start, self._load(self.own[start : start + EXTRACTION_BATCH])

    def _side_by_side(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(function, items) if self.workers is None else self.workers.map(function, items)

    def _all_tiles(self) -> Iterator[tuple[int, Tensor]]:
        """The own tiles of all images in order, each image decoded once: row of the first, (n, 3, side, side)."""
        for place, (sample, frame) in enumerate(zip(self.samples, self.frames, strict=True)):
            with sample.opened(self.pixel_range) as image:
                self._see(place, image)
                canvas, first = frame.canvas(image), self._first_tiles[place]
                own = [index for index in self.tiles_of(place) if index in self.own]
                for start in range(0, len(own), EXTRACTION_BATCH):
                    some = own[start : start + EXTRACTION_BATCH]
                    yield self.own.index(some[0]), torch.stack([frame.tile(canvas, index - first) for index in some])

    def _load(self, indices: Sequence[int]) -> Tensor:
        """(N, 3, side, side) of the images, or tiles, at these places."""
        if self.frames:
            return self._load_tiles(indices)
        samples = [self.samples[index] for index in indices]
        return load_images(
            samples, self.image_size, self.pixel_range, lambda place, image: self._see(indices[place], image)
        )

    def _load_tiles(self, indices: Sequence[int]) -> Tensor:
        images: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            images.setdefault(bisect_right(self._first_tiles, index) - 1, []).append(place)
        found: list[Tensor] = [torch.empty(0)] * len(indices)

        def load(image: int) -> None:
            with self.samples[image].opened(self.pixel_range) as picture:
                self._see(image, picture)
                canvas = self.frames[image].canvas(picture)
                for place in images[image]:
                    found[place] = self.frames[image].tile(canvas, indices[place] - self._first_tiles[image])

        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(load, images))
        return torch.stack(found)

    def _look_at(self, places: Sequence[int]) -> None:
        """Notes the numbers of whole pictures."""

        def look(place: int) -> None:
            with self.samples[place].opened(self.pixel_range) as image:
                self._see(place, image)

        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(look, places))

    def _see(self, place: int, image: Image.Image) -> None:
        if self.describes and place not in self._pictures:
            side, seen = self.image_size, self.backbone.inside
            self._pictures[place] = picture_statistics(image, side, None if seen is None else seen(side, side))

    def _extract(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return self.backbone(send(images, self.device))

    def _as_kept(self, values: Tensor) -> Tensor:
        if self.dtype == torch.float32:
            return values
        largest = torch.finfo(self.dtype).max  # a value beyond it would come back as infinity
        return values.clamp(-largest, largest).to(self.dtype)

    def batch(self, indices: Sequence[int], epoch: int = 0) -> list[Tensor]:
        """Features of the images at `indices`, in that order, on the device: per scale (N, C, H, W) float32."""
        if self.mode == "recompute":
            images = self._load(indices)
            images = images if self.augment is None else self.augment(images, epoch, indices)
            # A network whose channels lie side by side gives maps laid out alike; what is kept is laid out anew.
            return [level.contiguous() for level in self._extract(images)]
        kept = [self.own.index(index) for index in indices]
        if self.mode == "disk":
            return [send(rows.read(kept), self.device).float() for rows in self._arrays]
        rows = send(torch.as_tensor(kept, dtype=torch.long), self._arrays[0].device)
        return [send(array[rows], self.device).float() for array in self._arrays]

    def batches(self, size: int) -> Iterator[tuple[list[int], list[Tensor]]]:
        """All own images in order: (indices, features) of at most `size` images at a time."""
        for start in range(0, len(self.own), size):
            indices = list(self.own[start : start + size])
            yield indices, self.batch(indices)

    def close(self) -> None:
        """Frees memory and disk."""
        for array in self._arrays:
            if isinstance(array, _RowFile):
                array.close()
        self._arrays = []
        shutil.rmtree(self.spill, ignore_errors=True)


class _RowFile:
    """A file of arrays of one shape and number format, an image each."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        self.path, self.shape, self.dtype = path, shape, np.float32 if dtype == torch.float32 else np.float16
        self._file = path.open("r+b", buffering=0)
        self._lock = threading.Lock()  # seeking and reading belong together
        self._bytes = dtype.itemsize * math.prod(shape)

    def read(self, indices: Sequence[int]) -> Tensor:
        """(N, C, H, W) of these images.

        Raises:
            RunError: the file was cut off or removed from outside.
        """
        found = np.empty((len(indices), *self.shape), self.dtype)
        for row, index in zip(found, indices, strict=True):
            with self._lock:
                self._file.seek(index * self._bytes)
                complete = self._file.readinto(row.data) == self._bytes
            if not complete:
                raise RunError(f"The cached features in {self.path} were changed from outside: resume the run.")
        return torch.from_numpy(found)

    def write(self, indices: Sequence[int], values: Tensor) -> None:
        """Puts (N, C, H, W) in place of these images' features."""
        for row, index in zip(values.contiguous().numpy(), indices, strict=True):
            with self._lock:
                self._file.seek(index * self._bytes)
                complete = self._file.write(row.data) == self._bytes
            if not complete:
                raise RunError(f"The cached features in {self.path} could not be written: free disk space and resume.")

    def close(self) -> None:
        self._file.close()

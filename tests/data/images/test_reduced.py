"""JPEGs that are decoded at a part of their size where that is enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.data.images import formats, pending
from altub.data.images.reading import image_chunks, read_image
from altub.data.images.tensors import squashed
from altub.errors import ImageError
from tests.data.images.encoding import encoded

ENOUGH = 32
LARGE = (520, 392)  # a quarter leaves 130 x 98, at least 2 * ENOUGH; an eighth does not


def textured(width: int = LARGE[0], height: int = LARGE[1]) -> Image.Image:
    """Smooth shapes with noise on top, as a camera gives them."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 9, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def read_reduced(source: bytes | Path | Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """A copy of the image as it is decoded, and the size that is told of it."""
    (chunk,) = image_chunks([source], lambda item: item, enough=ENOUGH)
    with chunk.decoded() as decoded:
        ((_, image),) = decoded
        if isinstance(image, ImageError):
            raise image
        return image.copy(), chunk.own_sizes()[0]


def seen(image: Image.Image) -> np.ndarray:
    return np.asarray(squashed(image, ENOUGH), np.float64)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_model_sees_nearly_the_same(progressive: bool, subsampling: int) -> None:
    content = encoded(textured(), "JPEG", quality=92, progressive=progressive, subsampling=subsampling)
    image, size = read_reduced(content)
    assert image.size == (130, 98) and size == LARGE and image.mode == "RGB"
    difference = np.abs(seen(image) - seen(read_image(content)))
    assert difference.mean() < 0.5 and difference.max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_turned_and_its_own_size_is_told(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(textured(), "JPEG", quality=92, exif=exif)
    (image, size), whole = read_reduced(content), read_image(content)
    assert size == whole.size and image.size == tuple(-(-side // 4) for side in size)
    assert np.abs(seen(image) - seen(whole)).max() <= 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colour_modes(mode: str) -> None:
    content = encoded(textured().convert(mode), "JPEG", quality=92)
    image, size = read_reduced(content)
    assert image.size == (130, 98) and size == LARGE and image.mode == "RGB"
    assert np.abs(seen(image) - seen(read_image(content))).max() <= 4


def test_what_is_no_large_jpeg_is_read_as_ever(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 60_000, (300, 300)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    small = encoded(textured(127, 300), "JPEG", quality=92)  # half would leave 64 x 150 in one direction only
    assert read_reduced(encoded(textured(128, 300), "JPEG", quality=92))[0].size == (64, 150)
    for source in (tmp_path / "deep.png", small, encoded(textured(), "PNG"), encoded(textured(), "WEBP"), textured()):
        image, size = read_reduced(source)
        assert np.array_equal(np.asarray(image), np.asarray(read_image(source))) and size == image.size


def test_what_is_damaged_or_too_large_is_refused_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(textured(), "JPEG", quality=92)
    for broken in (content[: len(content) // 2], content[:-2], b"\xff\xd8\xff"):
        with pytest.raises(ImageError) as full:
            read_image(broken)
        with pytest.raises(ImageError) as reduced:
            read_reduced(broken)
        assert str(full.value) == str(reduced.value)
    monkeypatch.setenv("ALTUB_MAX_PIXELS", str(LARGE[0] * LARGE[1] - 1))
    with pytest.raises(ImageError, match="520 x 392 pixels, more than"):
        read_reduced(content)


def test_a_very_large_one_is_reduced_by_the_process_that_decodes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(textured(), "JPEG", quality=92))
    here = read_reduced(path)
    monkeypatch.setattr(pending, "LARGE_PIXELS", 1000)
    assert formats.LARGE_PIXELS > 1000
    for source in (path, path.read_bytes()):
        image, size = read_reduced(source)
        assert np.array_equal(np.asarray(image), np.asarray(here[0])) and size == here[1]

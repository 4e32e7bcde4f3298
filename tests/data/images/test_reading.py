"""Everything Pillow reads becomes the same upright RGB; what is no image is refused in words."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from altub.data import is_image_file, read_image, read_mask, to_tensor
from altub.errors import ImageError

RAMP = np.tile(np.linspace(0, 255, 32).round().astype(np.uint8), (20, 1))  # (20, 32), not square


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def grey_as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2).astype(int)


@pytest.mark.parametrize(
    ("image", "kind", "tolerance"),
    [
        (Image.fromarray(RAMP), "PNG", 0),
        (Image.fromarray(RAMP), "JPEG", 6),
        (Image.fromarray(RAMP).convert("LA"), "PNG", 0),
        (Image.fromarray(RAMP).convert("RGB"), "WEBP", 8),
        (Image.fromarray(RAMP).convert("RGBA"), "PNG", 0),
        (Image.fromarray(RAMP).convert("P"), "GIF", 0),
        (Image.fromarray(RAMP).convert("CMYK"), "TIFF", 2),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG", 0),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF", 0),
        (Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF", 0),
        (Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF", 0),
    ],
    ids=lambda value: getattr(value, "mode", str(value)),
)
def test_every_mode_shows_the_same_ramp(image, kind, tolerance):
    found = rgb(read_image(encoded(image, kind)))
    assert found.shape == (20, 32, 3)
    assert np.abs(found - grey_as_rgb(RAMP)).max() <= tolerance


def test_one_bit_images():
    bits = RAMP > 127
    assert np.array_equal(rgb(read_image(encoded(Image.fromarray(bits)))), grey_as_rgb(bits * 255))


def test_lab_images():
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(RAMP).convert("RGB"), *profiles, outputMode="LAB")
    assert np.abs(rgb(read_image(encoded(lab, "TIFF"))) - grey_as_rgb(RAMP)).max() <= 4


@pytest.mark.parametrize(
    ("depth", "white"), [(4095, 4095), (4000, 4095), (65535, 65535), (30000, 65535), (255, 255), (256, 4095)]
)
def test_16_bit_files_are_scaled_by_their_depth(depth, white):
    values = np.linspace(0, depth, 640).reshape(20, 32).astype(np.uint16)
    found = rgb(read_image(encoded(Image.fromarray(values))))[..., 0]
    assert np.abs(found - values * (255 / white)).max() <= 0.51
    assert len(np.unique(found)) > 10, "no contrast may be lost by clipping"


def test_transparency_is_composited_on_white():
    half = np.zeros((4, 4, 4), dtype=np.uint8)
    half[:, :2] = (200, 0, 0, 255)
    half[:, 2] = (0, 0, 0, 0)
    half[:, 3] = (0, 0, 0, 128)
    found = rgb(read_image(encoded(Image.fromarray(half))))
    assert found[0, 0].tolist() == [200, 0, 0]
    assert found[0, 2].tolist() == [255, 255, 255]
    assert np.abs(found[0, 3] - 127).max() <= 1


def test_transparent_palette_colour_is_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    found = rgb(read_image(encoded(palette, "PNG", transparency=1)))
    assert found[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_transparent_colour_of_an_rgb_file_is_white():
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (1, 2, 3))
    found = rgb(read_image(encoded(image, "PNG", transparency=(1, 2, 3))))
    assert found[0].tolist() == [[9, 9, 9], [255, 255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation):
    upright = Image.new("RGB", (24, 16), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 8, 8))  # the white corner belongs to the upper left
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_image(encoded(stored, "PNG", exif=exif))
    assert found.size == (24, 16)
    assert np.array_equal(rgb(found), rgb(upright))


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF"):
        found = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert rgb(found)[0, 0].tolist() == [255, 0, 0]


def test_all_kinds_of_source_give_the_same(tmp_path):
    content = encoded(Image.fromarray(RAMP))
    path = tmp_path / "ramp.PNG"
    path.write_bytes(content)
    with path.open("rb") as file:
        sources = [path, str(path), content, io.BytesIO(content), file, Image.open(path), RAMP, RAMP[..., None]]
        assert all(np.array_equal(rgb(read_image(source)), grey_as_rgb(RAMP)) for source in sources)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((3, 4), True), 255),
        (np.full((3, 4, 3), 7, dtype=np.uint8), 7),
        (np.full((3, 4, 4), 255, dtype=np.uint8), 255),
        (np.full((3, 4), 32896, dtype=np.uint16), 128),
        (np.full((3, 4, 3), 0.5), 128),
        (np.full((3, 4), 100.0, dtype=np.float32), 100),
        (np.full((3, 4), -3.0), 0),
        (np.full((3, 4), 1_000_000, dtype=np.int64), 255),
    ],
)
def test_arrays(array, expected):
    assert np.array_equal(rgb(read_image(array)), np.full((3, 4, 3), expected))


@pytest.mark.parametrize(
    "array",
    [np.zeros(5), np.zeros((3, 4, 2)), np.zeros((0, 4)), np.full((2, 2), np.nan), np.full((2, 2), "x")],
    ids=["1-d", "2 channels", "empty", "nan", "text"],
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(ImageError):
        read_image(array)


def test_refusals_name_the_file(tmp_path):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    cases = {
        "empty.png": (b"", "empty"),
        "text.png": (b"hello, I am no picture\n" * 20, "not an image"),
        "short.png": (whole[: len(whole) // 2], "damaged or cut off"),
        "short.jpg": (encoded(Image.fromarray(RAMP).resize((400, 400)), "JPEG")[:900], "damaged or cut off"),
        "drawing.eps": (encoded(Image.new("RGB", (8, 8)), "EPS"), "EPS drawing"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=words) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
        with pytest.raises(ImageError, match=words):
            read_image(content)
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    path.write_bytes(encoded(Image.new("L", (300, 200))))

    def decoded(self, *args, **kwargs):
        raise AssertionError("the pixels were decoded")

    assert read_image(path, max_pixels=60_000).size == (300, 200)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(ImageError, match=r"large\.png has 300 x 200 pixels, more than the 59,999 allowed"):
        read_image(path, max_pixels=59_999)
    monkeypatch.setenv("ALTUB_MAX_PIXELS", "100")
    for refuse in (read_image, read_mask):
        with pytest.raises(ImageError, match="ALTUB_MAX_PIXELS"):
            refuse(path)
    with pytest.raises(ImageError, match="allowed"):
        read_image(np.zeros((20, 20)))


@pytest.mark.parametrize("as_error", [False, True])
def test_pillows_own_limit_is_an_image_error_too(monkeypatch, as_error):
    content = encoded(Image.new("L", (300, 200)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000 if not as_error else 40_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="allowed"):
            read_image(content, max_pixels=9_000)


def test_a_raised_limit_is_above_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(encoded(Image.new("L", (300, 200))), max_pixels=60_000).size == (300, 200)


def test_to_tensor_keeps_exact_pixels_at_the_right_size():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = to_tensor(read_image(pixels), 16)
    assert found.dtype == torch.float32 and found.shape == (3, 16, 16) and found.is_contiguous()
    assert torch.equal(found, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def test_to_tensor_squashes_with_antialiasing():
    stripes = np.zeros((64, 96), dtype=np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: grey, not stripes
    found = to_tensor(read_image(stripes), 16)
    assert found.shape == (3, 16, 16)
    assert (found[:, :, 1:-1] - 0.5).abs().max() < 0.08
    assert torch.equal(found, to_tensor(read_image(stripes), 16))


@pytest.mark.parametrize("kind", ["L", "1", "RGB", "RGBA", "P", "I;16", "label"])
def test_masks_of_every_mode(tmp_path, kind):
    mask = np.zeros((10, 14), dtype=bool)
    mask[2:5, 3:9] = True
    image = Image.fromarray(mask.astype(np.uint8) * (1 if kind == "label" else 255))
    if kind == "I;16":
        image = Image.fromarray(mask.astype(np.uint16) * 300)
    elif kind == "RGBA":
        image = Image.merge("RGBA", [Image.new("L", (14, 10), 255)] * 3 + [image])  # painted on nothing
    elif kind != "label":
        image = image.convert(kind)
    image.save(tmp_path / "mask.png")
    found = read_mask(tmp_path / "mask.png")
    assert found.dtype == bool and np.array_equal(found, mask)


def test_mask_resizes_with_nearest_neighbour(tmp_path):
    mask = np.zeros((10, 20), dtype=bool)
    mask[:5, :5] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = read_mask(tmp_path / "mask.png", (20, 30))
    assert found.shape == (20, 30)
    assert found[:10].sum() == found.sum() and abs(int(found.sum()) - 75) <= 10


def test_jpeg_mask_ignores_its_artefacts(tmp_path):
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(tmp_path / "mask.jpg", quality=50)
    assert np.array_equal(read_mask(tmp_path / "mask.jpg"), mask > 0)


def test_image_files_by_suffix():
    assert all(is_image_file(name) for name in ("a.png", "B.JPG", "c.Tiff", "/x/d.webp"))
    assert not any(is_image_file(name) for name in ("a.txt", "png", "a.png.part", "a"))


def test_listing_needs_no_torch():
    code = "import sys, altub.data; sys.exit('torch' in sys.modules or 'gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

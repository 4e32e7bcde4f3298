"""Hostile images: good ones of every format and mode, damaged; headers that promise too much; files that are none."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.fuzz.mutations import NUMBERS, damaged_bytes, generator, pick

__all__ = ["hostile_images"]

SIDES = (1, 2, 7, 16, 33)
#: Pillow's name of a format -> ending and what `save` is told in some of the cases.
FORMATS: dict[str, tuple[str, tuple[dict, ...]]] = {
    "PNG": (".png", ({}, {"compress_level": 0}, {"bits": 2})),
    "JPEG": (".jpg", ({}, {"progressive": True}, {"quality": 5}, {"subsampling": 2})),
    "TIFF": (".tif", tuple({"compression": name} for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"))),
    "WEBP": (".webp", ({}, {"lossless": True})),
    "GIF": (".gif", ({}, {"interlace": 1})),
    "BMP": (".bmp", ({},)),
    "DIB": (".dib", ({},)),
    "PPM": (".ppm", ({},)),
    "JPEG2000": (".jp2", ({}, {"irreversible": True})),
    "TGA": (".tga", ({}, {"compression": "tga_rle"})),
    "AVIF": (".avif", ({"speed": 10},)),
    **{name: (f".{name.lower()}", ({},)) for name in ("ICO", "PCX", "SGI", "DDS", "IM", "EPS", "PDF", "MPO", "QOI")},
}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F")


def hostile_images(seed: int, count: int) -> Iterator[tuple[str, str, bytes]]:
    """(what it is, ending, content) of `count` files."""
    special = list(_special())
    for number in range(count):
        rng = generator(seed, number)
        if number % 3 == 0:
            what, ending, content = special[number // 3 % len(special)]
            if number // 3 >= len(special):
                content = damaged_bytes(rng, content)
        else:
            what, ending, content = _encoded(rng)
            for _ in range(int(rng.integers(0, 3))):
                content = damaged_bytes(rng, content)
        if rng.random() < 0.1:
            ending = pick(rng, FORMATS.values())[0]  # decoding goes by content
        yield f"image {number} ({what}{ending})", ending, content


def _encoded(rng: np.random.Generator) -> tuple[str, str, bytes]:
    """A small image that some program may have written."""
    while True:
        kind, mode = pick(rng, FORMATS), pick(rng, MODES)
        ending, options = FORMATS[kind]
        image = _image(rng, mode)
        more = [_image(rng, mode) for _ in range(int(rng.integers(1, 4)))] if rng.random() < 0.2 else None
        told = {**pick(rng, options), **({"save_all": True, "append_images": more} if more else {})}
        if told.get("compression") == "jpeg" and mode not in ("L", "RGB"):
            continue  # libtiff's encoder damages the memory of the process with 32 bits a value
        if rng.random() < 0.2:
            exif = Image.Exif()
            exif[0x0112] = int(pick(rng, (*range(1, 9), 0, 9, 65535)))
            told["exif"] = exif
        file = io.BytesIO()
        try:
            image.save(file, kind, **told)
        except (OSError, ValueError, KeyError, TypeError, SystemError, RuntimeError, AttributeError, struct.error):
            continue  # this format has no such mode or option
        return f"{mode} ", ending, file.getvalue()


def _image(rng: np.random.Generator, mode: str) -> Image.Image:
    size = (int(pick(rng, SIDES)), int(pick(rng, SIDES)))
    if mode in ("I;16", "I", "F"):
        values = rng.integers(0, pick(rng, (2, 256, 4096, 65536)), size[::-1])
        if mode == "F":
            values = np.where(rng.random(values.shape) < 0.1, pick(rng, (np.nan, np.inf, -1e38, 0.5)), values)
        return Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    if mode == "LAB":
        return Image.frombytes("LAB", size, image.tobytes())
    if mode == "PA":
        return image.convert("P").convert("PA")
    image = image.convert("RGB").convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    if mode == "P" and rng.random() < 0.5:
        image.info["transparency"] = int(rng.integers(256))
    return image


def _special() -> Iterator[tuple[str, str, bytes]]:
    yield from _promising_too_much()
    yield from _no_images()
    frames = [Image.new("P", (3, 3), index % 7) for index in range(300)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1 : 300 if kind in ("GIF", "TIFF") else 20])
        yield "many frames ", FORMATS[kind][0], file.getvalue()
    large = io.BytesIO()
    Image.new("1", (3000, 3000)).save(large, "PNG")
    yield "nine million pixels ", ".png", large.getvalue()


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    """With checksums that fit."""
    header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, 0, 0, 0)
    all_chunks = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in all_chunks
    )


def _promising_too_much() -> Iterator[tuple[str, str, bytes]]:
    pixels = (b"IDAT", zlib.compress(bytes(49 * 16)))
    bomb = zlib.compress(bytes(20_000_000), 9)
    for number in NUMBERS:
        yield f"{number} wide ", ".png", _png(number, 16, pixels)
        yield f"{number} high ", ".png", _png(16, number, pixels)
        gif = io.BytesIO()
        Image.new("P", (9, 9)).save(gif, "GIF")
        side = struct.pack("<H", number & 0xFFFF)
        yield f"{number} wide ", ".gif", gif.getvalue()[:6] + side + side + gif.getvalue()[10:]
        for kind, at, form in (("BMP", 18, "<I"), ("BMP", 22, "<I"), ("TGA", 12, "<H"), ("TGA", 14, "<H")):
            file = io.BytesIO()
            Image.new("RGB", (9, 9)).save(file, kind)
            data, value = bytearray(file.getvalue()), struct.pack(form, number & (0xFFFF if form == "<H" else -1))
            data[at : at + len(value)] = value
            yield f"byte {at} is {number} ", FORMATS[kind][0], bytes(data)
        yield f"{number} wide ", ".ppm", b"P6 %d 9 255\n" % number + bytes(243)
        yield f"white is {number} ", ".pgm", b"P5 9 9 %d\n" % number + bytes(162)
        yield f"tag count {number} ", ".tif", _tiff(count=number)
        yield f"{number} wide ", ".tif", _tiff(width=number)
        yield f"strip at {number} ", ".tif", _tiff(strip=number)
    yield "bomb in the pixels ", ".png", _png(16, 16, (b"IDAT", bomb))
    yield "bomb in the text ", ".png", _png(16, 16, (b"zTXt", b"k\0\0" + bomb), pixels)
    yield "bomb in the profile ", ".png", _png(16, 16, (b"iCCP", b"k\0\0" + bomb), pixels)
    yield "two million chunks' worth ", ".png", _png(16, 16, *[(b"tEXt", b"a\0b")] * 5000, pixels)
    yield "no palette ", ".png", _png(16, 16, (b"IDAT", zlib.compress(b"\x7f" * 17 * 16)), colour=3)
    yield "short palette ", ".png", _png(16, 16, (b"PLTE", b"abc"), (b"IDAT", zlib.compress(b"\0" * 272)), colour=3)
    yield "3 bits a value ", ".png", _png(16, 16, pixels, depth=3)
    yield "no pixels ", ".png", _png(16, 16)
    yield "a loop of pages ", ".tif", _tiff(following=8)
    yield "digits ", ".ppm", b"P3 " + b"9" * 5000
    yield "comment without end ", ".ppm", b"P6 #" + b"a" * 100_000


def _tiff(width: int = 9, strip: int = 8, count: int = 1, following: int = 0) -> bytes:
    tags = ((256, 4, 1, width), (257, 4, 1, 9), (258, 3, count, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    tags += ((273, 4, 1, strip), (277, 3, 1, 1), (278, 4, 1, 9), (279, 4, 1, 81))
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + bytes(81)


def _no_images() -> Iterator[tuple[str, str, bytes]]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", b"1")
    array = io.BytesIO()
    np.save(array, np.zeros((9, 9)))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/x) (w) file\n%%EOF\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
    for what, content in (
        *(("empty ", b""), ("a byte ", b"\0"), ("zeros ", bytes(5000)), ("ones ", b"\xff" * 5000)),
        *(("zip ", archive.getvalue()), ("numpy ", array.getvalue()), ("postscript ", postscript), ("svg ", svg)),
        *(("html ", b"<html><body>404 Not Found</body></html>"), ("json ", json.dumps({"a": [1] * 99}).encode())),
        *(("program ", b"\x7fELF" + bytes(range(256)) * 4), ("pickle ", b"\x80\x04cos\nsystem\n(S'id'\ntR.")),
        *(("text ", "Prüfbericht\n".encode() * 20), ("PNG's first bytes ", b"\x89PNG\r\n\x1a\n")),
        *(("JPEG's first bytes ", b"\xff\xd8\xff\xe0"), ("GIF's first bytes ", b"GIF89a")),
    ):
        for ending in (".png", ".jpg", ".tif"):
            yield what, ending, content

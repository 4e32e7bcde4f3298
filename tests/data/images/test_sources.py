"""Only regular files are read, whatever their names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from altub.data import read_image, read_mask
from altub.data.category import image_files
from altub.errors import ImageError
from tests.data.images.encoding import encoded, photo, png_of

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


@posix
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=r"a\.png is a pipe, socket or device"):
            read(tmp_path / "a.png")
    assert image_files(tmp_path) == []


@posix
def test_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        with pytest.raises(ImageError, match="cannot be opened as a file"):
            read_image(tmp_path / "s.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(ImageError, match="pipe, socket or device"):
        read_image(tmp_path / "zero.png")


@posix
def test_a_name_that_is_no_text_is_shown_replaced(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(b"nothing")
    with pytest.raises(ImageError, match="caf\ufffd") as caught:
        read_image(path)
    str(caught.value).encode()
    path.write_bytes(encoded(photo()))
    assert read_image(path).size == photo().size


@pytest.mark.parametrize("size", [(90_000_000, 1), (1, 300_000)])
def test_a_side_of_millions_is_an_image_error(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"a side may have 250,000"):
        read_image(png_of(*size))


def test_names_that_no_file_has(tmp_path: Path) -> None:
    for name in ("a\0b.png", "x" * 5000 + ".png"):
        with pytest.raises(ImageError):
            read_image(tmp_path / name)

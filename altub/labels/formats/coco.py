"""COCO: annotations.json and a folder of images.

A defect with a mask is one annotation with packed run lengths; its category is the defect's type. What COCO has no
place for (verdicts, defects without a mask, notes, people, times) stands in the image's own entry `altub`, which other
tools ignore. Files of other tools are read too: an image with annotations is a defect, its mask the union of theirs,
polygons drawn by Pillow; one without any is good.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from altub.data import opened
from altub.errors import DataError, LabelError
from altub.files import read_json
from altub.labels.formats.folder import ExportFolder
from altub.labels.formats.item import Item, details, inside, item_from_details
from altub.labels.formats.rle import decode_rle, encode_rle
from altub.labels.records import check_defect_type

__all__ = ["FILE", "matches", "read", "write"]

FILE = "annotations.json"
_OWN = "altub"


def matches(folder: Path) -> bool:
    """Is there an annotations.json?"""
    return (folder / FILE).is_file()


def write(items: Iterable[Item], out: ExportFolder) -> tuple[str, ...]:
    """Writes images and annotations."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    kinds: dict[str, int] = {}
    for number, item in enumerate(items, start=1):
        path, size = out.add_image(item, "images"), _size(item)
        images.append({"id": number, "file_name": path.as_posix(), "width": size[0], "height": size[1]})
        images[-1][_OWN] = details(item)
        if item.verdict == "defect":
            kind = kinds.setdefault(str(item.defect_type), len(kinds) + 1)
            if item.mask is not None:
                annotations.append(_annotation(len(annotations) + 1, number, kind, item.mask))
    categories = [{"id": number, "name": name, "supercategory": "defect"} for name, number in kinds.items()]
    content = {"info": {"description": "AltUB labels"}, "images": images}
    content |= {"annotations": annotations, "categories": categories}
    out.add(FILE, json.dumps(content, allow_nan=False).encode())
    return ()


def read(folder: Path) -> Iterator[Item]:
    """The images of annotations.json.

    Raises:
        DataError: it is damaged, or names files that are not there.
    """
    path = folder / FILE
    try:
        content = read_json(path)
        images, annotations = list(content["images"]), list(content.get("annotations") or [])
        names = {str(entry["id"]): str(entry["name"]) for entry in content.get("categories") or []}
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in annotations:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        described = [(image["file_name"], by_image.get(image["id"], []), image.get(_OWN)) for image in images]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no COCO file, or damaged: export it again.") from error
    for name, found, own in described:
        where = f"{FILE}, image {str(name)[:200]!r},"
        yield _item(inside(folder, name, where), found, own, names, where)


def _item(path: Path, found: list[dict[str, Any]], own: Any, names: dict[str, str], where: str) -> Item:
    with opened(path) as picture:
        size = picture.size
    masks = [_mask(annotation.get("segmentation"), size) for annotation in found]
    drawn = [mask for mask in masks if mask is not None]
    mask = np.logical_or.reduce(drawn) if drawn else None
    if isinstance(own, dict):
        return item_from_details(path, own, mask, where)
    if not found:
        return Item(path, path.name, "good", size)
    areas = [0 if mask is None else int(mask.sum()) for mask in masks]
    largest = found[areas.index(max(areas))]
    return Item(path, path.name, "defect", size, _type(names.get(str(largest.get("category_id")), "")), mask)


def _size(item: Item) -> tuple[int, int]:
    if item.size is not None:
        return item.size
    with opened(item.path) as picture:
        return picture.size


def _annotation(number: int, image: int, kind: int, mask: np.ndarray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0, 0, 0, 0]
    if rows.size:
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    values = {"id": number, "image_id": image, "category_id": kind, "segmentation": encode_rle(mask)}
    return values | {"area": int(mask.sum()), "bbox": box, "iscrowd": 0}


def _mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray | None:
    if isinstance(segmentation, dict):
        return decode_rle(segmentation, size)
    if not segmentation:
        return None
    canvas = Image.new("1", size)
    try:
        for polygon in segmentation:
            corners = np.array(polygon, float)
            if not np.isfinite(corners).all():
                raise ValueError("a corner that is nowhere")
            ImageDraw.Draw(canvas).polygon(np.clip(corners, -1, max(size)).tolist(), fill=1)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"A polygon in {FILE} is damaged: export it again.") from error
    return np.array(canvas, bool)


def _type(name: str) -> str | None:
    """A category's name as a defect type, or None where it cannot be one."""
    try:
        return check_defect_type(name)
    except LabelError:
        return None

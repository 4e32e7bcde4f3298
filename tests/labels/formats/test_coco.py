"""COCO: round trips, run lengths beside pycocotools, and files of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as oracle
from pycocotools.coco import COCO

from altub.errors import DataError
from altub.labels.formats import export_labels, import_labels
from altub.labels.formats.rle import decode_rle, encode_rle
from altub.labels.store import LabelStore
from tests.labels.conftest import picture
from tests.labels.formats.round_trip import assert_same_labels, fill, there_and_back


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    blob = np.zeros((700, 900), bool)
    blob[100:650, 200:800] = True
    noise = [rng.random((rng.integers(1, 40), rng.integers(1, 40))) < share for share in (0.02, 0.3, 0.5, 0.9)]
    return [np.zeros((5, 7), bool), np.ones((5, 7), bool), np.ones((1, 1), bool), blob, ~blob, *noise]


@pytest.mark.parametrize("number", range(len(masks())))
def test_run_lengths_are_those_of_pycocotools(number: int) -> None:
    mask = masks()[number]
    expected = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    mine = encode_rle(mask)
    assert mine == {"size": expected["size"], "counts": expected["counts"].decode()}
    size = mask.shape[::-1]
    assert np.array_equal(decode_rle(mine, size), mask)
    flat = mask.ravel(order="F")
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(np.r_[False, flat].astype(int))), [flat.size]]))
    assert np.array_equal(decode_rle({"size": list(mask.shape), "counts": runs.tolist()}, size), mask)


@pytest.mark.parametrize(
    "damaged",
    [
        {"size": [5, 7], "counts": ";2300"},
        {"size": [5, 7], "counts": "P" * 30},
        {"size": [7, 5], "counts": "S1"},
        {"size": [5, 7], "counts": [-1, 36]},
        {"size": [5, 7], "counts": [1e999]},
        {"size": [5, 7], "counts": "\u00e9"},
        {"size": [5, 7]},
        "S1",
    ],
)
def test_damaged_run_lengths_are_refused(damaged: object) -> None:
    with pytest.raises(DataError, match="run lengths"):
        decode_rle(damaged, (7, 5))


def test_what_comes_back_is_what_was_there(store: LabelStore, tmp_path: Path) -> None:
    fill(store)
    exported, imported, copy = there_and_back(store, "coco", tmp_path)
    assert (exported.images, imported.added) == (13, 13)
    assert_same_labels(store, copy)


def test_pycocotools_reads_an_export(store: LabelStore, tmp_path: Path) -> None:
    fill(store)
    export_labels(store, tmp_path / "out", "coco")
    read = COCO(str(tmp_path / "out" / "annotations.json"))
    drawn = [label for label in store.labels.all().values() if label.mask_sha256 is not None]
    assert len(read.getImgIds()) == 13 and len(read.getAnnIds()) == len(drawn) == 4
    names = {entry["id"]: entry["name"] for entry in read.loadCats(read.getCatIds())}
    for label, annotation in zip(drawn, read.loadAnns(read.getAnnIds()), strict=True):
        mask = store.labels.mask(label)
        assert np.array_equal(read.annToMask(annotation), mask)
        assert names[annotation["category_id"]] == label.defect_type
        assert annotation["area"] == mask.sum() == oracle.area(annotation["segmentation"])
        assert annotation["bbox"] == oracle.toBbox(annotation["segmentation"]).tolist()


def test_a_file_of_another_tool(store: LabelStore, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(picture(number, (20, 10)))
    square = {"image_id": 7, "category_id": 3, "segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]]}
    line = {"image_id": 7, "category_id": 4, "segmentation": {"size": [10, 20], "counts": [0, 1, 199]}}
    images = [{"id": 7, "file_name": "0.png"}, {"id": 8, "file_name": "1.png"}]
    categories = [{"id": 3, "name": "dent"}, {"id": 4, "name": "line"}]
    content = {"images": images, "annotations": [line, square], "categories": categories}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    import_labels(store, tmp_path, "ann", source="cvat")
    defect, good = store.labels.all().values()
    assert (defect.verdict, defect.defect_type, defect.who, good.verdict) == ("defect", "dent", "ann", "good")
    mask = store.labels.mask(defect)
    assert mask[0, 0] and mask[3:6, 3:6].all() and 16 <= mask.sum() <= 26
    square["segmentation"] = [[2, 2, 1e300, 2, 1e300, 1e300]]
    square["category_id"] = ["unhashable"]
    (tmp_path / "annotations.json").write_text(json.dumps(content | {"annotations": [square]}))
    import_labels(store, tmp_path, "ann")
    assert store.labels.of(defect.image).defect_type == "defect"
    for broken, words in (({"images": [{}]}, "no COCO file, or damaged"), ([], "no COCO file, or damaged")):
        (tmp_path / "annotations.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match=words):
            import_labels(store, tmp_path, "ann")
    square["segmentation"] = [[2, float("nan"), 3, 3]]
    (tmp_path / "annotations.json").write_text(json.dumps(content | {"annotations": [square]}))
    with pytest.raises(DataError, match=r"polygon in .* is damaged"):
        import_labels(store, tmp_path, "ann")

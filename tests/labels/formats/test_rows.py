"""CSV, JSON lines and image folders: round trips, and tables that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from altub.errors import DataError
from altub.labels.formats import export_labels, import_labels
from altub.labels.store import LabelStore
from tests.labels.conftest import picture
from tests.labels.formats.round_trip import assert_same_labels, fill, there_and_back


@pytest.mark.parametrize("kind", ["csv", "jsonl", "imagefolder"])
def test_what_comes_back_is_what_was_there(store: LabelStore, tmp_path: Path, kind: str) -> None:
    fill(store)
    exported, imported, copy = there_and_back(store, kind, tmp_path)
    assert (exported.images, exported.notes, imported.added) == (13, (), 13)
    assert_same_labels(store, copy)


def test_datasets_loads_an_image_folder(store: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets  # takes seconds, and reads the variable

    fill(store)
    export_labels(store, tmp_path / "out", "imagefolder")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    table = loaded["train"]
    assert len(table) == 13 and {"image", "mask", "verdict", "defect_type", "note"} <= set(table.column_names)
    by_note = {(row["verdict"], row["at"]): row for row in table}
    for label in store.labels.all().values():
        row = by_note[label.verdict, label.at]
        assert row["image"].size == store.images.get(label.image).size and row["note"] == label.note
        mask = store.labels.mask(label)
        assert (row["mask"] is None) == (mask is None)
        if mask is not None:
            assert list(row["mask"].get_flattened_data()) == (255 * mask).ravel().tolist()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": "../outside.png", "verdict": "good"}, "outside of"),
        ({"image": "gone.png", "verdict": "good"}, "which is not in"),
        ({"image": "a\0.png", "verdict": "good"}, "which is not in"),
        ({"image": "a" * 5000, "verdict": "good"}, "which is not in"),
        ({"image": "a.png", "verdict": "good", "at": 1e999}, "time that is no number"),
        ({"image": "a.png", "verdict": ["good"]}, "no verdict that is known"),
        ({"image": "a.png", "verdict": "ok"}, "no verdict that is known"),
        ({"image": "a.png", "verdict": "good", "at": "today"}, "time that is no number"),
        ({"image": "a.png", "verdict": "defect", "defect_type": "../x"}, "cannot be a defect type"),
        ({"image": "a.png", "verdict": "defect", "mask": "b.png"}, "13 x 8 pixels"),
        ({"verdict": "good"}, "names no image"),
        ("no object", "names no image"),
    ],
)
def test_rows_that_cannot_be_read_say_why(store: LabelStore, tmp_path: Path, row: object, words: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(0))
    (folder / "b.png").write_bytes(picture(1, (13, 8)))
    (tmp_path / "outside.png").write_bytes(picture(2))
    (folder / "labels.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=words):
        import_labels(store, folder, "ann")
    assert store.labels.all() == {}


def test_a_table_with_an_endless_cell_is_refused(store: LabelStore, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text('image,verdict\n"' + "a" * 200_000)
    with pytest.raises(DataError, match="no table that can be read"):
        import_labels(store, tmp_path, "ann")


def test_what_is_no_export_is_refused(store: LabelStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labels to export"):
        export_labels(store, tmp_path / "out", "csv")
    fill(store)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("x")
    with pytest.raises(DataError, match="exists already"):
        export_labels(store, tmp_path / "used", "csv")
    with pytest.raises(DataError, match="no format of labels: use mvtec, coco"):
        export_labels(store, tmp_path / "out", "xml")
    with pytest.raises(DataError, match="of no format that is known"):
        import_labels(store, tmp_path / "used", "ann")
    store.images.path(store.images.all()[8].sha256).unlink()
    with pytest.raises(FileNotFoundError):
        export_labels(store, tmp_path / "out", "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*{path.name for path in tmp_path.glob("labels*")}, "used"]
    ), "nothing half is left"

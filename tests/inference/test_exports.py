"""Files that predictions are written to: folder, archive, table."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from altub.errors import DataError
from altub.inference.calibration import Calibration
from altub.inference.exports import (
    PredictionArchive,
    PredictionWriter,
    UniqueNames,
    collect_images,
)
from altub.inference.folder import predict_to_folder
from altub.inference.prediction import Prediction
from altub.inference.table import COLUMNS, table_to_csv
from altub.inference.threshold import Threshold

CALIBRATION = Calibration(scores=np.array([-0.5, -0.4, -0.3]), colour_low=-0.9, colour_high=0.1)
THRESHOLD = Threshold.fixed(-0.4, -0.4)


def make_prediction(height: int = 20, width: int = 30) -> Prediction:
    values = np.linspace(-1, 0, height * width, dtype=np.float32).reshape(height, width)
    peak = float(values.max())
    return Prediction(values, values[None], peak, 0.25)


def make_image(height: int = 20, width: int = 30) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), 90, np.uint8))


class StubDetector:
    """The detector's interface with a map that follows from the picture's brightness."""

    threshold = CALIBRATION.threshold()
    config = SimpleNamespace(pixel_range=None)
    device = torch.device("cpu")

    @staticmethod
    def require_calibration() -> Calibration:
        return CALIBRATION

    def __init__(self) -> None:
        self.calls: list[int] = []

    def fingerprint(self) -> str:
        return "stub"

    def predict_many(self, images, *, image_size, sizes):
        self.calls.append(len(images))
        for image in images:
            values = np.full((image.height, image.width), np.asarray(image).mean() / 255 - 1, np.float32)
            yield Prediction(values, values[None], float(values.max()), 0.5)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_gets_pictures_at_the_image_s_own_size_and_the_exact_map(tmp_path):
    prediction = make_prediction()
    with PredictionWriter(tmp_path / "out", CALIBRATION, THRESHOLD) as writer:
        writer.add("part.jpg", make_image(), prediction)
    (row,) = read_csv(tmp_path / "out" / "predictions.csv")
    assert tuple(row) == COLUMNS
    assert float(row["score"]) == prediction.score
    assert (row["is_anomalous"], row["p_value"], row["error"]) == ("true", "0.25", "")
    assert float(row["anomalous_area"]) == pytest.approx((prediction.anomaly_map > -0.4).mean())

    folder = tmp_path / "out"
    assert np.array_equal(np.asarray(Image.open(folder / row["map"])), prediction.anomaly_map)
    assert np.array_equal(np.asarray(Image.open(folder / row["mask"])) == 255, prediction.at(THRESHOLD).mask)
    with Image.open(folder / row["overlay"]) as shown:
        assert shown.size == (30, 20) and shown.mode == "RGB"
    assert (row["overlay"], row["mask"]) == ("overlays/part.png", "masks/part_mask.png")


def test_names_that_collide_are_made_unique_and_no_name_leads_out_of_the_folder(tmp_path):
    names = [
        "a/000.png",
        "b/000.png",
        "000.JPG",
        "../../etc/passwd",
        "..\\up.png",
        "con:1?.png",
        ".hidden",
        "",
        "000_2",
    ]
    unique = UniqueNames()
    given = [unique(name) for name in names]
    assert given[:3] == ["000", "000_2", "000_3"]
    assert given[3:5] == ["passwd", "up"]
    assert len({name.casefold() for name in given}) == len(names)
    assert not any(set(name) & set('/\\:?"<>|*') or name.startswith(".") or not name for name in given)

    with PredictionWriter(tmp_path, CALIBRATION, THRESHOLD) as writer:
        for name in ("x/A.png", "y/a.png"):
            writer.add(name, make_image(), make_prediction())
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["A.tiff", "a_2.tiff"]


def test_cells_that_a_spreadsheet_would_run_are_made_text_but_numbers_stay_numbers():
    names = ["=cmd|'/c calc'!A1.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png", "plain.png"]
    rows = [dict.fromkeys(COLUMNS) | {"image": name, "score": -0.5} for name in names]
    table = list(csv.DictReader(io.StringIO(table_to_csv(rows))))
    assert [row["image"] for row in table] == [f"'{name}" for name in names[:4]] + ["'\t'=1.png", "plain.png"]
    assert all(float(row["score"]) == -0.5 for row in table)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("column", ["image", "error"])
def test_no_cell_is_run_where_another_character_separates_columns(separator, column):
    names = [f"a{separator}{between}{start}1+1.png" for start in "=+-@＝" for between in ("", " ", '"', "\n")]
    rows = [dict.fromkeys(COLUMNS, "") | {column: name, "score": 0.5} for name in [*names, f"a{separator}b, -1.png"]]
    text = table_to_csv(rows, [column for column in COLUMNS if column in ("image", "score", "error")])
    starts = [cell[:1] for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
    assert not set(starts) & set("=+-@＝")
    assert f"a{separator}b, -1.png" in text


def test_names_with_commas_quotes_and_line_breaks_survive_the_table():
    name = 'odd, "very"\nodd ü.png'
    rows = [dict.fromkeys(COLUMNS) | {"image": name}]
    assert next(csv.DictReader(io.StringIO(table_to_csv(rows))))["image"] == name


def test_the_archive_holds_the_same_files_as_the_folder(tmp_path):
    for writer in (
        PredictionWriter(tmp_path / "out", CALIBRATION, THRESHOLD),
        PredictionArchive(tmp_path / "a.zip", CALIBRATION, THRESHOLD),
    ):
        with writer:
            writer.add("one.png", make_image(), make_prediction())
            writer.add_error("two.txt", "two.txt is not an image.")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    written = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert packed == written and len(packed) == 4


def test_an_archive_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), PredictionArchive(tmp_path / "a.zip", CALIBRATION, THRESHOLD) as writer:
        writer.add("one.png", make_image(), make_prediction())
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_folder_keeps_the_table_of_what_was_done(tmp_path):
    with pytest.raises(KeyboardInterrupt), PredictionWriter(tmp_path, CALIBRATION, THRESHOLD) as writer:
        writer.add("one.png", make_image(), make_prediction())
        raise KeyboardInterrupt
    assert [row["image"] for row in read_csv(tmp_path / "predictions.csv")] == ["one.png"]


def test_images_are_collected_recursively_sorted_without_hidden_ones_and_once(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tif", ".hidden.png", ".git/d.png", "notes.txt", "out/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = collect_images([tmp_path, tmp_path / "b.png", tmp_path / "notes.txt"], skip=tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.JPG", "b.png", "sub/c.tif", "notes.txt"]


def test_nothing_to_predict_is_said(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        collect_images([tmp_path / "missing.png"])
    with pytest.raises(DataError, match="no image in"):
        collect_images([tmp_path])


def test_an_unreadable_image_becomes_a_row_and_the_others_are_done_in_order(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(11):
        Image.new("RGB", (8, 6), (k * 20,) * 3).save(folder / f"{k:02d}.png")
    (folder / "03.png").write_bytes(b"no picture at all")
    detector, seen, rows = StubDetector(), [], []
    before = predict_to_folder(
        detector,
        collect_images([folder]),
        tmp_path / "out",
        on_row=rows.append,
        progress=lambda done, n: seen.append((done, n)),
    )
    assert before == 0
    assert [Path(row["image"]).name for row in rows] == [f"{k:02d}.png" for k in range(11)]
    assert "03.png" in rows[3]["error"] and rows[3]["score"] is None
    assert [row["score"] for row in rows if row["error"] is None] == pytest.approx(
        [k * 20 / 255 - 1 for k in range(11) if k != 3]
    )
    assert seen == [(k, 11) for k in range(1, 12)]
    assert sum(detector.calls) == 10 and max(detector.calls) <= 8
    assert len(read_csv(tmp_path / "out" / "predictions.csv")) == 11


def test_a_large_image_is_drawn_reduced_and_its_mask_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("altub.inference.exports.LARGE_PIXELS", 10_000)
    monkeypatch.setattr("altub.inference.exports.SHOWN_PIXELS", 2_500)
    small = make_prediction(20, 30)
    prediction = Prediction(small.model_map, small.scale_maps, small.score, small.p_value, (300, 200))
    image, sizes = Image.new("RGB", (300, 200), (90, 90, 90)), {}
    for reduce_large in (True, False):
        folder = tmp_path / str(reduce_large)
        row = PredictionWriter(folder, CALIBRATION, THRESHOLD, reduce_large=reduce_large).add(
            "a.png", image, prediction
        )
        sizes[reduce_large] = [Image.open(folder / row[name]).size for name in ("overlay", "map", "mask")]
        assert row["anomalous_area"] == (prediction.anomaly_map > -0.4).mean()
    assert sizes[False] == [(300, 200)] * 3
    assert sizes[True] == [(61, 41), (61, 41), (300, 200)]


def test_without_masks_the_area_is_the_same(tmp_path):
    rows = [
        PredictionWriter(tmp_path / str(masks), CALIBRATION, THRESHOLD, masks=masks).add(
            "a.png", make_image(), make_prediction()
        )
        for masks in (True, False)
    ]
    assert rows[0]["anomalous_area"] == rows[1]["anomalous_area"] and rows[1]["mask"] is None
    assert not (tmp_path / "False" / "masks").exists()


@pytest.mark.parametrize("letter", ["x", "\u6f22", "\U0001f600"])
def test_the_longest_names_fit_a_file_system(tmp_path, letter):
    name = letter * (240 // len(letter.encode()))
    with PredictionWriter(tmp_path, CALIBRATION, THRESHOLD) as writer:
        row = writer.add(f"{name}.png", make_image(), make_prediction())
    assert all((tmp_path / row[kind]).is_file() for kind in ("overlay", "map", "mask"))

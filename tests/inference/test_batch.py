"""Many inspected images: any threshold, exports, and what happens when files go away."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.errors import RunError
from altub.inference.batch import Batch, Source, Unreadable, inspect_images
from altub.inference.detector import AnomalyDetector
from altub.inference.table import COLUMNS, PICTURE_COLUMNS, VALUE_COLUMNS
from altub.inference.threshold import Labels, Threshold


@pytest.fixture
def batch(detector: AnomalyDetector, pictures: list[Path], tmp_path: Path) -> Batch:
    """The test images, one of them large, and a file that is no image."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    Image.open(pictures[0]).resize((150, 90)).save(tmp_path / "large.png")
    paths = [*pictures, tmp_path / "notes.txt", tmp_path / "large.png"]
    sources = [Source(path, f"{index} {path.name}") for index, path in enumerate(paths)]
    items = inspect_images(detector, sources, tmp_path / "maps")
    return Batch(calibration=detector.calibration, folder=tmp_path / "maps", items=tuple(items))


def any_thresholds(batch: Batch) -> list[Threshold]:
    """Of the calibration, by hand (below, between and above all peaks and pixels), from labels."""
    scores, peaks = batch.calibration.scores, batch.calibration.peaks
    between = [float(value) for value in (peaks[:-1] + peaks[1:]) / 2]
    pixels = np.concatenate([batch.prediction(item).anomaly_map.ravel() for item in batch.inspected])
    return [
        *(batch.calibration.threshold(rate) for rate in (0.001, 0.2, 0.5, 0.999)),
        *(Threshold.fixed(scores[0], value) for value in (*between, peaks[0] - 0.1, peaks[-1] + 0.01, -1e6, 1e6)),
        *(Threshold.fixed(scores[-1], value) for value in np.quantile(pixels, [0.01, 0.3, 0.6, 0.9, 0.999])),
        Threshold(float(scores[1]), float(pixels[100]), Labels(8, 4, "recall", 0.9, 0.95)),
    ]


def test_the_marked_area_is_right_at_any_threshold(batch: Batch) -> None:
    """Not only at the calibration's peaks: anything else raised IndexError or gave another threshold's area."""
    for threshold in any_thresholds(batch):
        for item in batch.inspected:
            verdict, wanted = batch.verdict(item, threshold), batch.prediction(item).at(threshold)
            assert verdict.marked_area == wanted.marked_area == wanted.mask.mean(), (item.number, threshold)
            assert verdict.is_anomalous == wanted.is_anomalous == (item.score > threshold.value)
            assert verdict.pixel_value == wanted.pixel_value and verdict.kind == wanted.kind
            assert not verdict.is_anomalous or verdict.marked_area > 0, "a defect shows where"
            assert verdict.threshold is threshold


def test_the_table_and_the_archive_say_the_same_at_any_threshold(batch: Batch, tmp_path: Path) -> None:
    for threshold in any_thresholds(batch)[::5]:
        table = list(csv.DictReader(batch.write_csv(threshold).open(encoding="utf-8")))
        path = batch.write_zip(threshold, opacity=0.5, colour_map="viridis", contour=True)
        with zipfile.ZipFile(path) as archive:
            packed = list(csv.DictReader(archive.read("predictions.csv").decode().splitlines()))
            for row in packed:
                if not row["error"]:
                    archive.extract(row["mask"], tmp_path)
                    mask = np.asarray(Image.open(tmp_path / row["mask"])) == 255
                    assert float(row["anomalous_area"]) == mask.mean()
                    assert row["verdict"] == "good" or mask.any() or float(row["score"]) <= threshold.value
                    assert float(row["marked_above"]) <= threshold.pixel_value
        assert tuple(table[0]) == VALUE_COLUMNS and tuple(packed[0]) == COLUMNS
        assert table == [{name: row[name] for name in VALUE_COLUMNS} for row in packed]
        assert {float(row["threshold"]) for row in table if not row["error"]} == {threshold.value}
        assert {float(row["pixel_threshold"]) for row in table if not row["error"]} == {threshold.pixel_value}
    assert set(COLUMNS) - set(VALUE_COLUMNS) == set(PICTURE_COLUMNS)


def test_predictions_are_the_detector_s_bit_for_bit(batch: Batch, detector: AnomalyDetector) -> None:
    sources = [item.source.path for item in batch.inspected]
    for item, expected in zip(batch.inspected, detector.predict_many(sources), strict=True):
        found = batch.prediction(item)
        assert found.anomaly_map.shape == expected.anomaly_map.shape == item.size[::-1]
        np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-5)  # other neighbours in its batch
    alone = inspect_images(detector, [batch.item(1).source], batch.folder, first_number=50)[0]
    expected = detector.predict(batch.item(1).source.path)
    found = Batch(calibration=batch.calibration, folder=batch.folder, items=(alone,)).prediction(alone)
    assert np.array_equal(found.anomaly_map, expected.anomaly_map)
    assert np.array_equal(found.scale_maps, expected.scale_maps)
    assert (found.score, found.p_value) == (expected.score, expected.p_value)


def test_a_file_that_is_no_image_keeps_its_place(batch: Batch) -> None:
    assert [item.number for item in batch.items] == list(range(1, 11)) and len(batch.inspected) == 9
    assert isinstance(batch.items[8], Unreadable) and "not an image" in batch.items[8].error
    row = batch.rows(batch.calibration.threshold())[8]
    assert row["error"] == batch.items[8].error and row["score"] is row["is_anomalous"] is row["anomalous_area"] is None
    for number, words in ((9, "not an image"), (11, "no image number 11")):
        with pytest.raises(RunError, match=words):
            batch.item(number)


def test_photos_are_handed_on_with_their_numbers(
    detector: AnomalyDetector, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    seen = []
    sources = [Source(path, path.name) for path in (pictures[0], tmp_path / "notes.txt", pictures[1])]
    inspect_images(
        detector, sources, tmp_path, first_number=7, on_photo=lambda number, photo: seen.append((number, photo.size))
    )
    assert seen == [(7, (64, 64)), (9, (64, 64))]
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["7.npy", "9.npy"]


def test_an_earlier_export_is_removed(batch: Batch) -> None:
    threshold = batch.calibration.threshold()
    first, second = batch.write_csv(threshold), batch.write_csv(threshold)
    assert not first.exists() and second.exists() and first.parent != second.parent


def test_maps_that_were_cleaned_away_are_an_error_in_words_and_known_areas_stay(batch: Batch) -> None:
    item, known = batch.item(1), batch.calibration.threshold(0.5)
    expected = batch.verdict(item, known)
    shutil.rmtree(batch.folder)
    assert batch.verdict(item, known) == expected
    middle = (item.areas.lowest + item.areas.highest) / 2
    for ask in (lambda: batch.verdict(item, Threshold.fixed(0, middle)), lambda: batch.prediction(item)):
        with pytest.raises(RunError, match="no longer kept"):
            ask()

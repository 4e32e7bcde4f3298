"""From files to batches and to what the browser draws of them, without the page."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.errors import DataError, ModelError, RunError
from altub.inference.batch import Inspected, Source, Unreadable, inspect_images
from altub.inference.detector import AnomalyDetector
from altub.line.statistics import measure
from altub.ui.dropped import dedupe_names, dropped_sources, shown_name
from altub.ui.inspect import views
from altub.ui.inspect.batch import SCREEN_SIDE, for_screen
from altub.ui.inspect.blend import blend_value
from altub.ui.inspect.inspection import (
    Look,
    add_to_batch,
    threshold_at,
)
from altub.ui.inspect.sessions import MAX_BATCH
from altub.ui.offers import find_model


def test_a_batch_says_bit_for_bit_what_the_detector_predicts(batch, runs_folder, sources, tmp_path, services):
    large = tmp_path / "large.png"
    Image.open(sources[0].path).resize((150, 90)).save(large)
    batch, _ = add_to_batch(services, "me", batch.run_id, [Source(large, "large.png")])
    detector = AnomalyDetector.load(find_model(batch.run_id).model_dir, "cpu", for_scoring=True)
    assert batch.calibration.rates() == (1 / 5, 2 / 5), "all that four held-out images tell apart"
    for position, rate in enumerate(batch.calibration.rates()):
        threshold = threshold_at(batch, position)
        assert threshold == detector.calibration.threshold(rate)
        first = next(detector.predict_many([source.path for source in sources]))
        last = detector.predict(large)
        for item, expected in ((batch.item(1), first), (batch.item(len(batch.items)), last)):
            found = batch.prediction(item)
            assert np.array_equal(found.anomaly_map, expected.anomaly_map)
            assert np.array_equal(found.scale_maps, expected.scale_maps)
            assert (found.score, found.p_value) == (expected.score, expected.p_value)
            verdict, wanted = batch.verdict(item, threshold), expected.at(threshold)
            assert found.at(threshold).is_anomalous == verdict.is_anomalous == wanted.is_anomalous
            assert verdict.marked_area == pytest.approx(wanted.mask.mean(), abs=1e-12)
    assert batch.prediction(batch.item(len(batch.items))).anomaly_map.shape == (90, 150)


def test_the_inspection_log_gets_every_image_at_the_models_own_threshold(batch, services, runs_folder, tmp_path):
    model = services.models.get(runs_folder / batch.run_id / "model")
    found = [one for _, one in services.recorder.log.of_model(batch.weights_sha256)]
    assert [(one.source, one.name, one.score) for one in found] == [
        ("page", item.source.name, item.score) for item in batch.inspected
    ]
    for one, item in zip(found, batch.inspected, strict=True):
        assert one.sha256 == hashlib.sha256(item.source.path.read_bytes()).hexdigest()
        with Image.open(item.source.path) as photo:
            expected = measure(photo, batch.maps(item)[0]).to_dict()
        assert one.statistics == expected and one.verdict == batch.verdict(item, model.detector.threshold).kind


def test_files_that_are_no_images_are_named_and_the_others_done(batch, tmp_path, sources, services):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.png").touch()
    odd = [Source(tmp_path / name, name) for name in ("notes.txt", "empty.png")]
    grown, new = add_to_batch(services, "me", batch.run_id, [odd[0], sources[0], odd[1]])
    assert [type(item) for item in new] == [Unreadable, Inspected, Unreadable]
    assert [item.number for item in grown.items] == list(range(1, len(sources) + 4))
    text = views.problems([item for item in new if isinstance(item, Unreadable)])
    assert "notes.txt is not an image" in text and "empty.png is empty" in text
    with pytest.raises(RunError, match=r"notes\.txt"):
        grown.item(len(sources) + 1)


def test_many_images_go_through_in_order_with_progress(batch, services, runs_folder, sources, tmp_path):
    detector = services.models.get(find_model(batch.run_id).model_dir).detector
    seen = []
    items = inspect_images(
        detector, sources * 3, batch.folder, first_number=100, progress=lambda done, of: seen.append((done, of))
    )
    assert [item.source for item in items] == sources * 3
    assert seen[0] == (0, 24) and seen[-1] == (24, 24) and seen == sorted(seen)
    first = {item.source: item.score for item in batch.inspected}
    assert all(item.score == pytest.approx(first[item.source], abs=1e-5) for item in items)


def test_another_model_means_the_whole_batch_again_in_a_new_folder(
    batch, runs_folder, sessions, forward_passes, services
):
    again, new = add_to_batch(services, "me", batch.run_id, [batch.sources[0]])
    assert (sum(forward_passes), len(new)) == (1, 1)  # the same model: only the new one
    other = runs_folder / "other-run"
    shutil.copytree(runs_folder / batch.run_id, other)
    forward_passes.clear()
    moved, new = add_to_batch(services, "me", "other-run", [batch.sources[1]])
    assert sum(forward_passes) == len(moved.items) == len(again.items) + 1
    assert len(new) == 1 and moved.run_id == "other-run"
    assert not batch.folder.exists() and moved.folder.exists()


def test_a_batch_has_an_end(batch, services):
    with pytest.raises(DataError, match=str(MAX_BATCH)):
        add_to_batch(services, "me", batch.run_id, [batch.sources[0]] * MAX_BATCH)


def test_a_failure_leaves_no_folder_behind(runs_folder, sessions, sources, monkeypatch, services):
    def broken(self, images, image_size=None):
        raise ModelError("no finite score")

    monkeypatch.setattr(AnomalyDetector, "raw_maps", broken)
    with pytest.raises(ModelError):
        add_to_batch(services, "me", next(runs_folder.iterdir()).name, sources)
    assert list(sessions.root.iterdir()) == [] and sessions.get("me") is None


def test_large_images_are_shown_small():
    assert for_screen(Image.new("RGB", (5000, 2000))).size == (SCREEN_SIDE, round(2000 * SCREEN_SIDE / 5000))
    small = Image.new("RGB", (90, 40))
    assert for_screen(small) is small


def test_the_browser_gets_the_map_once_and_with_16_bits(batch):
    item, low_rate = batch.item(1), threshold_at(batch, 0)
    value = blend_value(batch, item, low_rate, Look(colour_map="viridis"))
    file = batch.map_file(item)
    made = file.stat().st_mtime_ns
    pixels = np.asarray(Image.open(file), dtype=np.float64)
    decoded = value["low"] + (256 * pixels[..., 0] + pixels[..., 1]) / 65535 * (value["high"] - value["low"])
    np.testing.assert_allclose(decoded, batch.maps(item)[0], atol=(value["high"] - value["low"]) / 65535)
    assert value["line"] == batch.verdict(item, low_rate).pixel_value
    assert len(base64.b64decode(value["colours"])) == 3 * 256
    again = blend_value(batch, item, threshold_at(batch, 1), Look())
    assert file.stat().st_mtime_ns == made and again["line"] != value["line"] and again["map"] == value["map"]


def test_equal_names_become_unique(batch, sources, services):
    assert [source.name for source in dedupe_names([Source(Path(), "a.png")] * 3, ["b.png", "a (2).png"])] == [
        "a.png",
        "a (3).png",
        "a (4).png",
    ]
    assert [
        source.name for source in dedupe_names([Source(Path(), name) for name in (".", ".", "good/1", "good/1")])
    ] == [
        ".",
        ". (2)",
        "good/1",
        "good/1 (2)",
    ]
    grown, new = add_to_batch(services, "me", batch.run_id, sources[:2])
    assert [item.source.name for item in new] == ["blot/000 (2).png", "blot/001 (2).png"]
    assert len({source.name for source in grown.sources}) == len(grown.items)


def test_files_keep_the_names_that_they_have_at_the_visitors():
    stored = ["/tmp/a/Teil 1.png"] * 5
    names = ["Teil #1: lid.png", "", "C:\\parts\\<b>.png", "\u202e/\n", 7]
    found = dropped_sources(stored, names)
    assert [source.name for source in found] == [
        "Teil #1: lid.png",
        "Teil 1.png",
        "<b>.png",
        "Teil 1.png",
        "Teil 1.png",
    ]
    assert {source.path for source in found} == {Path(stored[0])}
    for odd in (None, "x", names[:2], {"0": "a"}):
        assert [source.name for source in dropped_sources(stored, odd)] == ["Teil 1.png"] * 5
    assert shown_name("x" * 500 + ".tiff") == "x" * 114 + "….tiff"
